"""The journals that are audited, and how their rows come as values that can be hashed.

Invariant: the columns of a journal are hashed as they stand here; their list and order never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from celery_app.security.chain import Value

__all__ = ["JOURNALS", "MICROSECONDS", "NUMBER", "Journal", "Row", "id_of"]

Row = Sequence[Value]
"""The values of a row, in the order of its journal's columns; the id is the first."""


def id_of(row: Row) -> int:
    """Return the id of a row."""
    found = row[0]
    assert isinstance(found, int)
    return found


#: SQL for a moment and a transaction. As texts: somebody may have put there what is too large for a
#: number here, or 'infinity'.
MICROSECONDS = "round((extract(epoch FROM {0}) * 1000000)::numeric)::text AS {0}"
NUMBER = "{0}::text AS {0}"


@dataclass(frozen=True)
class Journal:
    """A table whose rows are only ever added.

    Attributes:
        table: Its name.
        columns: All its columns; the first three are id, at and xact.
        in_use: SQL that tells whether retention must leave a row `j` of it for now.
    """

    table: str
    columns: tuple[str, ...]
    in_use: str = "false"

    @property
    def selected(self) -> str:
        """What to select so that rows come as values that can be hashed."""
        forms = {"at": MICROSECONDS, "xact": NUMBER}
        return ", ".join(forms.get(name, "{0}").format(name) for name in self.columns)


JOURNALS = (
    Journal(
        "event",
        ("id", "at", "xact", "task_id", "root_id", "kind", "cause"),
        in_use="""
        EXISTS (SELECT FROM task t WHERE t.root_id = j.root_id
                   AND t.state NOT IN ('succeeded', 'failed', 'cancelled', 'skipped'))
        """,
    ),
    Journal("access_log", ("id", "at", "xact", "subject", "action", "resource", "rule", "why")),
)
