"""The toolbox of a running task: its policy, the texts of its run, and the record of its calls.

Invariant: a tool is called only under a lease that is surely held, and what came of it is recorded
before anything is made of it; a repetition calls nothing that was recorded.
"""

from __future__ import annotations

from collections.abc import Iterator

from kombu.utils.json import dumps

from agents.model import ToolCall
from agents.profile import AgentProfile
from agents.toolbox import LONGEST_ARGUMENTS, Toolbox, ToolResult
from agents.tools.library import Artifact, TextLibrary
from celery_app.celery import database, store, tool_catalogue
from celery_app.errors import LeaseLost
from celery_app.store.records import TaskRecord
from celery_app.store.tool_calls import ToolCallStore
from celery_app.worker.leases import Lease
from celery_app.worker.permissions import why_denied
from workflows.state import TaskState
from workflows.task import SecurityLevel, SecurityRequirements, Task

_LEVELS = list(SecurityLevel)


def toolbox_of(task: Task, profile: AgentProfile, lease: Lease) -> Toolbox:
    """Return what a task may use in the hands of an agent.

    Raises:
        InvalidTool: A tool of the user's that it may use cannot be imported.
    """
    level = task.security_requirements.level
    return tool_catalogue().toolbox(
        profile.tools,
        task.security_requirements,
        denied=lambda tool: why_denied(task, profile.name, tool),
        library=TextLibrary(lambda: _texts_of_run(lease.claim.root_id, level)),
        ledger=JournalledCalls(ToolCallStore(database), lease),
        cancel=lease.ended,
    )


class JournalledCalls:
    """The calls of one try of a task.

    Args:
        calls: Where they are kept.
        lease: The right of the task that calls.
    """

    def __init__(self, calls: ToolCallStore, lease: Lease) -> None:
        self._calls = calls
        self._lease = lease

    def find(self, number: int, digest: str) -> ToolResult | None:
        """Return what was recorded of this call at this place.

        Raises:
            LeaseLost: Nothing was, and another worker has the task.
        """
        claim = self._lease.claim
        recorded = self._calls.find(claim.id, claim.tries, number, digest)
        if recorded is not None:
            return ToolResult.from_json(recorded)
        self._lease.assure()
        if self._lease.reason == "lost":
            raise LeaseLost(f"task {claim.id} belongs to another worker: its tools are not called")
        return None

    def keep(self, number: int, digest: str, call: ToolCall, result: ToolResult) -> None:
        """Record what came of a call."""
        claim = self._lease.claim
        arguments = call.arguments[:LONGEST_ARGUMENTS]
        self._calls.record(
            claim.id, claim.tries, number, digest, call.name, arguments, result.to_json()
        )


def _texts_of_run(root_id: str, level: SecurityLevel) -> Iterator[Artifact]:
    """Yield the inputs and the results of all tasks of a run that are kept no more closely than this."""
    seen: set[tuple[str, str]] = set()
    for record in store.tree(root_id):
        policy = SecurityRequirements.model_validate(record.spec.get("security_requirements", {}))
        if _LEVELS.index(policy.level) > _LEVELS.index(level):
            continue
        for given in record.spec.get("inputs", ()):
            # Steps of a plan are given parts of what the job was given.
            if (given["name"], given["text"]) not in seen:
                seen.add((given["name"], given["text"]))
                yield Artifact(given["name"], given["text"])
        if record.state is TaskState.SUCCEEDED and record.result is not None:
            yield Artifact(title_of(record), text_of(record), record.id)


def title_of(record: TaskRecord) -> str:
    """Return the name of a task's result."""
    title = record.spec.get("metadata", {}).get("title")
    return str(title or record.spec.get("description") or record.id)


def text_of(record: TaskRecord) -> str:
    """Return the result of a task as a text."""
    return record.result if isinstance(record.result, str) else str(dumps(record.result, indent=2))
