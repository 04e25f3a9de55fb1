"""How a task of a graph is run: claim, hold the lease, run the body, commit, publish.

Invariants
  * The outcome is committed inside the task's body, before Celery sends anything that follows.
  * A task that is already over returns at once, so that the rest of its chain goes on; one that is
    running elsewhere, not ready, or cancelled is dropped.
  * Only the holder of the newest fencing token commits; everybody else is fenced out and silent.
"""

from __future__ import annotations

import logging
import random
import time
import traceback as traceback_module
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn

from celery.exceptions import Ignore, Reject, Retry

from celery_app.crash_points import crash_point
from celery_app.errors import (
    AgentSystemError,
    BudgetSpent,
    LeaseLost,
    ServiceUnavailable,
    TaskFailed,
    UnfitResult,
)
from celery_app.queues import PriorityQueue
from celery_app.redaction import redacted
from celery_app.security.vault import decode, encode
from celery_app.store.execution import ExecutionStore, Released, Standing
from celery_app.store.records import Claim
from celery_app.worker.leases import OWNER, Lease, LeaseKeeper
from workflows.schemas import mismatch

logger = logging.getLogger(__name__)

#: Longest pause before an error is tried again, in seconds.
_LONGEST_PAUSE = 300.0
#: Seconds between two looks at the backlog by those who start tasks; whoever ends one looks anyway.
_SUPPLY_SECONDS = 0.05
#: Pauses of a task that met somebody who was away; its queue is not served until he is back.
_OUTAGE_PAUSES = (1.0, 2.0, 4.0, 8.0)


@dataclass
class Execution:
    """What the body of a running task may know and report.

    Attributes:
        lease: Its lease; `lease.ended` is set when it must stop.
        publish: Sends what was released while it goes on.
        tokens: (prompt, generated) tokens that it has used, to be kept with the outcome.
        delegated: What the body released itself instead of finishing (an expanded plan).
    """

    lease: Lease
    publish: Callable[[Released], None]
    tokens: tuple[int, int] = (0, 0)
    delegated: Released | None = field(default=None)

    @property
    def claim(self) -> Claim:
        """The claim under which the task runs."""
        return self.lease.claim


_current: ContextVar[Execution | None] = ContextVar("execution", default=None)


def current_execution() -> Execution | None:
    """Return the execution of the graph task that is running here, if one is."""
    return _current.get()


def this_execution() -> Execution:
    """Return the execution of the graph task that is running here, which one must be."""
    execution = current_execution()
    assert execution is not None, "this task runs only as a step of a graph"
    return execution


class Executor:
    """Runs tasks of graphs for one worker process.

    Args:
        executions: Claims and outcomes.
        queue: Where released tasks are sent.
        keeper: The leases of this process.
        ceiling_for: Limits what a task may take while it runs.
    """

    def __init__(
        self,
        executions: ExecutionStore,
        queue: PriorityQueue,
        keeper: LeaseKeeper,
        ceiling_for: Callable[[Claim], AbstractContextManager[None]],
    ) -> None:
        self._executions = executions
        self._queue = queue
        self._keeper = keeper
        self._ceiling_for = ceiling_for
        self._supplied_at = float("-inf")

    def run(self, task_id: str, name: str, chained: str | None, body: Callable[..., Any]) -> str:
        """Run the body of a graph task; return its id, which is all that Celery needs to know.

        Args:
            task_id: The task.
            name: The Celery task that the message names; a message for another phase is dropped.
            chained: The task that Celery will send next, if this one succeeds.
            body: Called with the stored arguments.

        Raises:
            Ignore: There is nothing to do here, or what follows is not for Celery to send.
            Exception: What the body raised, once it is committed as the task's failure.
        """
        since = time.monotonic()
        claim = self._claim(task_id, name)
        if claim is None:
            return task_id
        with self._keeper.hold(claim, since) as lease:
            if claim.backlog is not None:
                self._supply(claim.backlog)
            execution = Execution(lease, self._queue.publish)
            token = _current.set(execution)
            try:
                with self._ceiling_for(claim):
                    value = body(*claim.spec.get("args", ()), **claim.spec.get("kwargs", {}))
                if execution.delegated is None:
                    _check_output(claim, value)
            except Exception as error:
                self._settle_failure(execution, error)
            finally:
                _current.reset(token)
            if execution.delegated is not None:
                self._queue.publish(execution.delegated)
                raise Ignore(f"task {task_id} goes on as its subtasks")
            if lease.ended.is_set():
                self._settle_failure(execution, TaskFailed(f"stopped: {lease.reason}"))
            self._commit(execution, "succeeded", result=value, chained=chained)
        return task_id

    def _supply(self, queue: str) -> None:
        """Release more of a queue whose window is being emptied, before its workers have nothing to do."""
        now = time.monotonic()
        if now >= self._supplied_at + _SUPPLY_SECONDS:
            self._supplied_at = now
            try:
                self._queue.publish(self._executions.release(queue))
            except ServiceUnavailable:
                logger.debug("queue %s is supplied by the next one", queue, exc_info=True)

    def _claim(self, task_id: str, name: str) -> Claim | None:
        found = self._executions.claim(task_id, name, OWNER, self._keeper.seconds)
        if isinstance(found, Claim):
            return found
        if isinstance(found, Standing) and found.state == "succeeded":
            logger.info("task %s has succeeded already; going on with what follows", task_id)
            return None
        state = found.state if found else "unknown"
        logger.info("task %s is %s: its message is a duplicate or out of date", task_id, state)
        raise Ignore(f"task {task_id} is {state}")

    def _settle_failure(self, execution: Execution, error: Exception) -> NoReturn:
        """Commit why the body did not succeed, or put the task back for another try."""
        claim, lease = execution.claim, execution.lease
        if lease.reason in {"cancelled", "lost"} or isinstance(error, LeaseLost):
            raise Ignore(
                f"task {claim.id} was {lease.reason or 'lost'}: nothing is written"
            ) from error
        if isinstance(error, Ignore | Reject):
            # Celery would keep no outcome, and everything that waits for this task would wait for ever.
            error = TaskFailed(f"a step of a graph may not end with {type(error).__name__}")
        if isinstance(error, BudgetSpent):
            self._executions.wait_for_budget(claim, str(error))
            raise Ignore(f"task {claim.id} waits: {error}") from error
        if lease.reason == "timeout":
            error = TaskFailed(f"deadline: stopped after {claim.seconds_left:.1f} s")
        elif (pause := _pause_before_retry(claim, error)) is not None:
            self._executions.put_back(claim, pause, _told(error), counts=_counts_as_try(error))
            raise Ignore(f"task {claim.id} will be tried again in {pause:.1f} s") from error
        self._commit(execution, "failed", error=_told(error))
        raise error

    def _commit(
        self,
        execution: Execution,
        state: str,
        *,
        result: Any = None,
        error: dict[str, Any] | None = None,
        chained: str | None = None,
    ) -> None:
        crash_point("before-commit")
        try:
            released = self._executions.finish(
                execution.claim,
                state,
                result=result,
                error=error,
                tokens=execution.tokens,
                chained=chained,
            )
        except LeaseLost as lost:
            raise Ignore(f"task {execution.claim.id} is owned by another worker now") from lost
        except AgentSystemError as refused:
            if state == "failed" or isinstance(refused, ServiceUnavailable):
                raise
            self._commit(execution, "failed", error=_told(refused))
            raise
        crash_point("after-commit")
        self._queue.publish(released)


def _check_output(claim: Claim, value: Any) -> None:
    """Refuse a result that is not as the task says; it is looked at as whoever waits will read it."""
    schema = claim.spec.get("output")
    if schema and (why := mismatch(decode(encode(value)), schema)):
        raise UnfitResult(f"the result is not as output says: {why}; correct one of them")


def _told(error: BaseException) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": redacted(str(error)),
        "traceback": redacted("".join(traceback_module.format_exception(error))),
    }


def _pause_before_retry(claim: Claim, error: Exception) -> float | None:
    """Return the seconds to wait before the next try, or None if the error is final."""
    if isinstance(error, Retry):
        # The task has counted its own tries; see AgentTask.retry.
        return max(0.0, float(error.when or 0))
    if not _counts_as_try(error):
        return _OUTAGE_PAUSES[min(claim.attempt, len(_OUTAGE_PAUSES)) - 1] * _jitter()
    policy = claim.spec.get("retry") or {}
    named = {cls.__name__ for cls in type(error).__mro__} & set(policy.get("on") or ["Exception"])
    retryable = getattr(error, "retryable", None)
    if retryable is False or not named or claim.tries >= _most_tries(claim, retryable):
        return None
    pause = float(policy.get("seconds", 1.0))
    if policy.get("backoff", "exponential") == "exponential":
        pause *= 2**claim.tries
    return min(pause, _LONGEST_PAUSE) * _jitter()


def _counts_as_try(error: Exception) -> bool:
    """Whether the task has had its try, or only met somebody who is away."""
    return bool(getattr(error, "counts_as_try", True))


def _jitter() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 - nothing secret


def _most_tries(claim: Claim, retryable: bool | None = None) -> int:
    """How often a task may be tried again: as it says itself, or a few times after a passing fault."""
    policy = claim.spec.get("retry") or {}
    return int(policy.get("max", 0)) or (5 if retryable else 0)
