"""Every column that holds a payload: under which keys its values are, and how they come under another.

Invariant: a value is replaced only by the same value, sealed anew, and only while it is what was read:
whoever writes to the row at the same time wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extras import execute_values
from sqlalchemy import Connection

from celery_app.errors import Unsealed
from celery_app.postgres.connection import Database
from celery_app.security.keys import key_id_of

__all__ = ["SEALED", "Column", "Resealed", "SealedStore"]

_BATCH = 500
#: The id of the key that a value is sealed under, as `key_id_of` finds it.
_KEY = "CASE WHEN substr({name}, 1, 1) = '\\x01' THEN encode(substr({name}, 2, 4), 'hex') END"


@dataclass(frozen=True)
class Column:
    """A column with payloads.

    Attributes:
        table: Its table.
        name: Its name.
        row: The primary key.
        place: What values are sealed for: by default this column and the primary key.
        bound: The columns of the key that they are sealed for.
    """

    table: str
    name: str
    row: tuple[str, ...]
    place: str = ""
    bound: tuple[str, ...] = ()

    def sealed_for(self, key: Sequence[Any]) -> tuple[str, ...]:
        """Return the place that the value of the row with this primary key is sealed for."""
        named = dict(zip(self.row, key, strict=True))
        bound = (str(named[name]) for name in self.bound or self.row)
        return (self.place or f"{self.table}.{self.name}", *bound)


def _columns(table: str, row: Sequence[str], *names: str) -> Iterator[Column]:
    for name in names:
        yield Column(table, name, tuple(row))


SEALED = (
    *_columns("task", ["id"], "spec", "result", "error"),
    *_columns("plan", ["task_id", "version"], "body"),
    *_columns("model_call", ["task_id", "try", "number"], "reply"),
    *_columns("tool_call", ["task_id", "try", "number"], "payload"),
    *_columns("definition", ["digest"], "body"),
    *_columns("run", ["id"], "context", "inputs", "event"),
    *_columns("project", ["id"], "spec", "plan"),
    *_columns("goal", ["project_id", "name"], "checks"),
    *_columns("content", ["id"], "secret"),
    *_columns("artifact", ["id"], "origin"),
    *_columns("document_version", ["document_id", "version"], "digest", "content", "metadata"),
    *_columns("document_section", ["id"], "key", "body"),
    *_columns("approval", ["task_id"], "question", "late_result", "late_error"),
    *_columns("trigger", ["workflow", "id"], "body", "error"),
    *_columns("result", ["task_id"], "meta"),
    *_columns("chord", ["id"], "body", "header"),
    # A copy of the task's result.
    Column("part", "value", ("chord_id", "task_id"), "result.meta", ("task_id",)),
    *_columns("group_result", ["group_id"], "meta"),
    *_columns("log", ["source", "number"], "body"),
    *_columns("alert", ["id"], "body"),
    *_columns("notification", ["id"], "body", "error"),
    *_columns("request_key", ["subject", "key"], "body"),
)


@dataclass
class Resealed:
    """What came of it: how many values were sealed anew, and the places of those that do not open."""

    done: int = 0
    refused: list[str] = field(default_factory=list)


class SealedStore:
    """Payloads, whatever they are about.

    Args:
        database: Where they lie.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def counts(self) -> dict[str | None, int]:
        """Return how many values are sealed under each key; under None those in clear."""
        each = " UNION ALL ".join(
            f"SELECT {_KEY.format(name=column.name)} AS key_id FROM {column.table} "
            f"WHERE {column.name} IS NOT NULL"
            for column in SEALED
        )
        rows = self.database.rows(f"SELECT key_id, count(*) AS n FROM ({each}) AS found GROUP BY 1")
        return {row.key_id: row.n for row in rows}

    def reseal(
        self, *, plain: bool = False, on_done: Callable[[int], None] = lambda _: None
    ) -> Resealed:
        """Seal everything under the newest key that is not under it yet.

        Args:
            plain: Also seal what is in clear. Only whoever knows where that comes from can say so.
            on_done: Called with the number of values looked at, batch by batch.
        """
        outcome = Resealed()
        for column in SEALED:
            for rows in self._others(column, plain=plain):
                fresh = list(self._sealed_anew(column, rows, outcome))
                outcome.done += self.database.transaction(
                    lambda connection, column=column, fresh=fresh: _replace(  # type: ignore[misc]
                        connection, column, fresh
                    )
                )
                on_done(len(rows))
        return outcome

    def _others(self, column: Column, *, plain: bool) -> Iterator[Sequence[Any]]:
        """Yield the rows that are not under the present key, in batches."""
        names = ", ".join(column.row)
        shown = ", ".join(f"{name} AS key_{n}" for n, name in enumerate(column.row))
        key = _KEY.format(name=column.name)
        last: tuple[Any, ...] = ()
        while True:
            ring = self.database.vault.ring
            current = ring.current if ring is not None else None
            after = ", ".join(f":after_{n}" for n, _ in enumerate(last))
            rows = self.database.rows(
                f"""
                SELECT {shown}, {column.name} AS value FROM {column.table}
                 WHERE {column.name} IS NOT NULL AND {key} IS DISTINCT FROM :current
                   AND (:plain OR {key} IS NOT NULL)
                   {f"AND ({names}) > ({after})" if last else ""}
                 ORDER BY {names} LIMIT {_BATCH}
                """,
                current=current.id if current else None,
                plain=plain,
                **{f"after_{n}": value for n, value in enumerate(last)},
            )
            if not rows:
                return
            yield rows
            last = rows[-1][:-1]

    def _sealed_anew(
        self, column: Column, rows: Sequence[Any], outcome: Resealed
    ) -> Iterator[tuple[Any, ...]]:
        vault = self.database.vault
        for row in rows:
            *key, stored = row
            place, old = column.sealed_for(key), bytes(stored)
            try:
                clear = old if key_id_of(old) is None else vault.open(old, *place)
            except Unsealed as error:
                outcome.refused.append(str(error))
                continue
            yield (*key, old, vault.seal(clear, *place))


def _replace(connection: Connection, column: Column, fresh: Sequence[tuple[Any, ...]]) -> int:
    if not fresh:
        return 0
    same = " AND ".join(f"t.{name} = v.{name}" for name in column.row)
    with closing(connection.connection.cursor()) as cursor:
        replaced = execute_values(
            cursor,
            f"""
            UPDATE {column.table} t SET {column.name} = v.fresh
              FROM (VALUES %s) AS v ({", ".join(column.row)}, old, fresh)
             WHERE {same} AND t.{column.name} = v.old RETURNING 1
            """,
            fresh,
            page_size=_BATCH,
            fetch=True,
        )
    return len(replaced)
