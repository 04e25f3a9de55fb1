"""What is to be done, on paper: tasks, their graphs and plans, workflows, and states.

Nothing here knows a database, a broker or a network. The one module that speaks Celery,
`workflows.canvas`, is left out of this front door, so that paper is read without importing Celery.
"""

from workflows.acceptance import AcceptanceCheck
from workflows.artifact import ArtifactType, ProjectArtifact
from workflows.document import Document, DocumentationType
from workflows.error_handling import ErrorHandlingConfig, Fallback
from workflows.errors import (
    AgentSystemError,
    CycleError,
    IllegalTransition,
    InvalidDocument,
    InvalidExpression,
    InvalidInputs,
    InvalidPlan,
    InvalidProject,
    InvalidTask,
    InvalidWorkflow,
    UnknownCapability,
    UnknownDependency,
    WorkflowError,
)
from workflows.graph import TaskGraph
from workflows.plan import CallEstimate, Plan, PlanStep, PlanTokens, Price
from workflows.problem import Problem
from workflows.progress import Outlook
from workflows.project import GoalStanding, Project, ProjectGoal, ProjectResources, ProjectSpec
from workflows.project_plan import ProjectPlan
from workflows.rules import Registry
from workflows.state import StateManager, StepStatus, TaskState
from workflows.step import Approval, Compensation, Loop
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
from workflows.timeline import Timeline
from workflows.triggers import WorkflowTrigger
from workflows.validation import check_task, is_complex, task_graph
from workflows.workflow import SkipReason, StepResult, Workflow, WorkflowInstance, WorkflowStep

__all__ = [
    "AcceptanceCheck",
    "AgentSystemError",
    "Approval",
    "ArtifactType",
    "CallEstimate",
    "Capability",
    "Compensation",
    "CycleError",
    "Document",
    "DocumentationType",
    "ErrorHandlingConfig",
    "Fallback",
    "GoalStanding",
    "IllegalTransition",
    "InvalidDocument",
    "InvalidExpression",
    "InvalidInputs",
    "InvalidPlan",
    "InvalidProject",
    "InvalidTask",
    "InvalidWorkflow",
    "Loop",
    "Outlook",
    "Plan",
    "PlanStep",
    "PlanTokens",
    "Price",
    "Priority",
    "Problem",
    "Project",
    "ProjectArtifact",
    "ProjectGoal",
    "ProjectPlan",
    "ProjectResources",
    "ProjectSpec",
    "Registry",
    "ResourceRequirements",
    "RetryPolicy",
    "SecurityLevel",
    "SecurityRequirements",
    "SkipReason",
    "StateManager",
    "StepResult",
    "StepStatus",
    "Task",
    "TaskGraph",
    "TaskInput",
    "TaskState",
    "TaskType",
    "Timeline",
    "UnknownCapability",
    "UnknownDependency",
    "Workflow",
    "WorkflowError",
    "WorkflowInstance",
    "WorkflowStep",
    "WorkflowTrigger",
    "check_task",
    "is_complex",
    "task_graph",
]
