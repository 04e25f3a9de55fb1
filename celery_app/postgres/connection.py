"""Connections to Postgres: one engine a process, safe after a fork.

Invariants
  * A connection is never used on the other side of a fork: engines are keyed by process id.
  * Single statements run in autocommit (one round trip, one transaction); what belongs together is
    one SQL function, or runs inside `transaction()`.
  * Work that the server refused for a passing reason (connection lost, deadlock) is tried again here
    and nowhere else; every statement of ours may therefore run twice.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg2
from sqlalchemy import Connection, Engine, Row, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from celery_app.errors import LeaseLost, ServiceUnavailable

T = TypeVar("T")

#: Raised by the functions in schema/0001_graph.sql when a fencing token is old.
FENCED_OUT = "AG001"
_DEADLOCK = "40P01"
#: Seconds before each new try: about half a minute, enough for a restart of Postgres.
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 8.0)

_engines: dict[tuple[int, str], Engine] = {}
_engines_lock = threading.Lock()


def _engine(url: str) -> Engine:
    key = (os.getpid(), url)
    with _engines_lock:
        if key not in _engines:
            _engines[key] = create_engine(
                url,
                isolation_level="AUTOCOMMIT",
                pool_size=8,
                max_overflow=32,
                pool_reset_on_return=None,
                connect_args={"connect_timeout": 5, "application_name": "ai-agent"},
            )
        return _engines[key]


def _is_passing(error: DBAPIError) -> bool:
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    code = getattr(error.orig, "pgcode", None)
    # No code at all: the connection broke before the server could answer.
    return isinstance(error, OperationalError) and (
        code is None or code[:2] in {"57", "08", "53", "40"}
    )


class Database:
    """A Postgres database.

    Args:
        url: An SQLAlchemy URL. A bare ``postgresql://`` is taken to mean psycopg2.
        patience: Whether to keep trying for half a minute while the server is away.
    """

    def __init__(self, url: str, *, patience: bool = True) -> None:
        parsed = make_url(url)
        if parsed.drivername != "postgresql+psycopg2":
            parsed = parsed.set(drivername="postgresql+psycopg2")
        self._url = parsed.render_as_string(hide_password=False)
        self._shown = parsed.render_as_string(hide_password=True)
        self._pauses: Sequence[float] = _PAUSES if patience else ()

    def __repr__(self) -> str:
        return f"Database({self._shown!r})"

    def impatient(self) -> Database:
        """Return the same database for a caller who wants to know at once that it is away."""
        return Database(self._url, patience=False)

    def rows(self, sql: str, **values: Any) -> Sequence[Row[Any]]:
        """Run one statement and return its rows (none for a statement without any)."""

        def work() -> Sequence[Row[Any]]:
            with _engine(self._url).connect() as connection:
                found = connection.execute(text(sql), values)
                return found.all() if found.returns_rows else ()

        return self._retrying(work)

    def row(self, sql: str, **values: Any) -> Row[Any] | None:
        """Run one statement and return its first row, if any."""
        found = self.rows(sql, **values)
        return found[0] if found else None

    def transaction(self, work: Callable[[Connection], T]) -> T:
        """Run `work(connection)` in one transaction; all of it again if the connection is lost."""

        def attempt() -> T:
            engine = _engine(self._url).execution_options(isolation_level="READ COMMITTED")
            with engine.begin() as connection:
                return work(connection)

        return self._retrying(attempt)

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """Give a connection of one's own, for advisory locks that live as long as it does."""
        with _engine(self._url).connect() as connection:
            yield connection

    def listening_connection(self) -> Any:
        """Open a raw psycopg2 connection outside the pool, in autocommit, for LISTEN."""
        dialect = _engine(self._url).dialect
        args, kwargs = dialect.create_connect_args(make_url(self._url))
        connection = psycopg2.connect(*args, **{"connect_timeout": 5, **kwargs})
        connection.autocommit = True
        return connection

    def dispose(self) -> None:
        """Close this process's pooled connections."""
        with _engines_lock:
            engine = _engines.pop((os.getpid(), self._url), None)
        if engine is not None:
            engine.dispose()

    def _retrying(self, work: Callable[[], T]) -> T:
        for pause in (*self._pauses, None):
            try:
                return work()
            except DBAPIError as error:
                code = getattr(error.orig, "pgcode", None)
                if code == FENCED_OUT:
                    raise LeaseLost(
                        "another worker owns this task now; nothing was written"
                    ) from error
                if not _is_passing(error):
                    raise
                if pause is None:
                    raise ServiceUnavailable(
                        f"Postgres at {self._shown} does not answer: {_first_line(error)}; "
                        "check that it runs and that components.database points to it"
                    ) from error
                if code != _DEADLOCK:
                    _engine(self._url).dispose()
                time.sleep(pause)
        raise AssertionError("unreachable")


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if error.orig else str(error)
