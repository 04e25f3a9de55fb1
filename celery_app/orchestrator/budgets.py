"""Give more to what waits for it."""

from __future__ import annotations

from celery_app.celery import database, queue
from celery_app.store.budgets import Budget, BudgetStore
from workflows.errors import InvalidTask

__all__ = ["book", "give", "set_limits", "standing"]

_store = BudgetStore(database)


def standing(budget_id: str) -> Budget:
    """Return how a budget stands: that of a task (its id), or of a project (`project:NAME`).

    Raises:
        InvalidTask: There is none.
    """
    found = _store.of((budget_id,))
    if not found:
        raise InvalidTask(
            f"{budget_id} has no budget of its own: `ai-agent task show` names those that count"
        )
    return found[0]


def give(budget_id: str, *, tokens: int = 0, calls: int = 0, seconds: float = 0) -> Budget:
    """Add to the limits of a budget, and let go on what waited for it. Raises `InvalidTask`."""
    standing(budget_id)
    queue.publish(_store.give(budget_id, tokens, calls, seconds))
    return standing(budget_id)


def book(budget_id: str, *, tokens: int, calls: int) -> None:
    """Count model calls that no task has made, if there is such a budget."""
    _store.book(budget_id, tokens, calls)


def set_limits(
    budget_id: str, *, tokens: int | None, calls: int | None, seconds: float | None
) -> Budget:
    """Set the limits of a budget; None is no limit. What waited for it looks again."""
    _store.set(budget_id, tokens, calls, seconds)
    return give(budget_id)
