"""What is to be done, on paper: tasks, their graphs, plans and states.

Nothing here knows a database, a broker or a network. The one module that speaks Celery,
`workflows.canvas`, is left out of this front door, so that paper is read without importing Celery.
"""

from workflows.errors import (
    AgentSystemError,
    CycleError,
    IllegalTransition,
    InvalidPlan,
    InvalidTask,
    UnknownCapability,
    UnknownDependency,
)
from workflows.graph import TaskGraph
from workflows.plan import CallEstimate, Plan, PlanStep, PlanTokens, Price
from workflows.state import StateManager, StepStatus, TaskState
from workflows.task import (
    Capability,
    Priority,
    ResourceRequirements,
    RetryPolicy,
    SecurityLevel,
    SecurityRequirements,
    Task,
    TaskInput,
    TaskType,
)
from workflows.validation import check_task, is_complex, task_graph

__all__ = [
    "AgentSystemError",
    "CallEstimate",
    "Capability",
    "CycleError",
    "IllegalTransition",
    "InvalidPlan",
    "InvalidTask",
    "Plan",
    "PlanStep",
    "PlanTokens",
    "Price",
    "Priority",
    "ResourceRequirements",
    "RetryPolicy",
    "SecurityLevel",
    "SecurityRequirements",
    "StateManager",
    "StepStatus",
    "Task",
    "TaskGraph",
    "TaskInput",
    "TaskState",
    "TaskType",
    "UnknownCapability",
    "UnknownDependency",
    "check_task",
    "is_complex",
    "task_graph",
]
