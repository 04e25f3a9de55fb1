"""Budgets: what tasks and projects may use up of tokens, model calls and seconds at work."""

from __future__ import annotations

from dataclasses import dataclass

from celery_app.errors import BudgetHeld, BudgetSpent
from celery_app.postgres.connection import Database
from celery_app.store.execution import Released, released
from celery_app.store.records import Claim


@dataclass(frozen=True)
class Budget:
    """A budget as it stands; None is no limit."""

    id: str
    tokens: int | None
    calls: int | None
    seconds: float | None
    used_tokens: int
    used_calls: int
    used_seconds: float


class BudgetStore:
    """Reads budgets, holds them back for calls, and adds to them.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def hold(self, claim: Claim, tokens: int) -> None:
        """Hold back what the next model call of a running task may use at most.

        Raises:
            BudgetSpent: It could exceed a budget.
            BudgetHeld: It could, if calls that are under way take all that they may.
        """
        row = self.database.row(
            "SELECT * FROM hold_budget(:id, :fence, :tokens)",
            id=claim.id,
            fence=claim.fence,
            tokens=tokens,
        )
        if row is not None:
            raise (BudgetHeld if row.passes else BudgetSpent)(
                f"the budget stands against it: {row.against}"
            )

    def of(self, budget_ids: tuple[str, ...]) -> list[Budget]:
        """Return those of the budgets that exist."""
        if not budget_ids:
            return []
        rows = self.database.rows(
            """
            SELECT id, tokens, calls, seconds, used_tokens, used_calls, used_seconds FROM budget
             WHERE id = ANY (:ids) ORDER BY id
            """,
            ids=list(budget_ids),
        )
        return [Budget(**row._asdict()) for row in rows]

    def set(
        self, budget_id: str, tokens: int | None, calls: int | None, seconds: float | None
    ) -> None:
        """Set the limits of a budget, whatever they were; what is used stays as it is."""
        self.database.rows(
            """
            INSERT INTO budget (id, tokens, calls, seconds) VALUES (:id, :tokens, :calls, :seconds)
            ON CONFLICT (id) DO UPDATE SET tokens = excluded.tokens, calls = excluded.calls,
                                           seconds = excluded.seconds
            """,
            id=budget_id,
            tokens=tokens,
            calls=calls,
            seconds=seconds,
        )

    def book(self, budget_id: str, tokens: int, calls: int) -> None:
        """Add what was used without a task to a budget, if there is one."""
        self.database.rows(
            """
            UPDATE budget SET used_tokens = used_tokens + :tokens, used_calls = used_calls + :calls
             WHERE id = :id
            """,
            id=budget_id,
            tokens=tokens,
            calls=calls,
        )

    def give(self, budget_id: str, tokens: int, calls: int, seconds: float) -> Released:
        """Add to the limits of a budget; return what may go on and is to be published."""
        rows = self.database.rows(
            "SELECT * FROM give_budget(:id, :tokens, :calls, :seconds)",
            id=budget_id,
            tokens=tokens,
            calls=calls,
            seconds=seconds,
        )
        return released(rows)
