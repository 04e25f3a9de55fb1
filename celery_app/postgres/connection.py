"""Connections to Postgres: one engine a process, safe after a fork.

Invariants
  * A connection is never used on the other side of a fork: engines are keyed by process id.
  * Single statements run in autocommit (one round trip, one transaction); what belongs together is
    one SQL function, or runs inside `transaction()`.
  * Work that the server refused for a passing reason (connection lost, deadlock) is tried again here
    and nowhere else; every statement of ours may therefore run twice.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NoReturn, TypeVar

import psycopg2
from psycopg2.extras import NamedTupleCursor, execute_values
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from celery_app.errors import ConfigurationError, LeaseLost, ServiceUnavailable, Unstorable
from celery_app.security.vault import Vault

T = TypeVar("T")

#: Raised by the functions in schema/0001_graph.sql when a fencing token is old.
FENCED_OUT = "AG001"
_DEADLOCK = "40P01"
#: A value that no index, row or message of the protocol can hold.
_TOO_LONG = "54000"
#: A table, function or column that is not there: the schema is not ours, or not the newest.
_UNDEFINED = {"42P01", "42883", "42703"}
#: Seconds before each new try: about half a minute, enough for a restart of Postgres.
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 8.0)

_DIALECT = make_url("postgresql+psycopg2://").get_dialect()()

_engines: dict[tuple[int, str], Engine] = {}
_engines_lock = threading.Lock()


def _engine(url: str) -> Engine:
    key = (os.getpid(), url)
    with _engines_lock:
        if key not in _engines:
            _engines[key] = create_engine(
                url,
                isolation_level="AUTOCOMMIT",
                # As many as the threads of an API or a worker, for what is beyond is opened for one call:
                # a new process of the server each time.
                pool_size=24,
                max_overflow=16,
                pool_reset_on_return=None,
                # Its errors name what was stored otherwise.
                hide_parameters=True,
                connect_args={"connect_timeout": 5, "application_name": "ai-agent"},
            )
        return _engines[key]


@functools.lru_cache(maxsize=64)
def _transactional(engine: Engine) -> Engine:
    """Return the same engine, and the same connections, for what is to be committed together."""
    return engine.execution_options(isolation_level="READ COMMITTED")


@functools.lru_cache(maxsize=512)
def _driver_sql(sql: str) -> str:
    """Return a statement with `:name` parameters in the driver's own style."""
    return str(text(sql).compile(dialect=_DIALECT))


def run_statement(connection: Any, sql: str, values: dict[str, Any]) -> Sequence[Any]:
    """Run one statement on a driver's connection; return its rows as named tuples."""
    with closing(connection.cursor(cursor_factory=NamedTupleCursor)) as cursor:
        cursor.execute(_driver_sql(sql), values)
        return cursor.fetchall() if cursor.description else ()


def insert_rows(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    conflict: str,
) -> None:
    """Insert many rows with few statements, which `executemany` does with one for each.

    Args:
        connection: Of SQLAlchemy, in a transaction.
        table: The table.
        columns: Its columns that are given.
        rows: A value for each of them.
        conflict: What stands behind ``ON CONFLICT``.
    """
    with closing(connection.connection.cursor()) as cursor:
        execute_values(
            cursor,
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES %s ON CONFLICT {conflict}",  # noqa: S608
            rows,
            page_size=1000,
        )


def _is_passing(error: psycopg2.Error) -> bool:
    if error.pgcode is None:
        # No code at all: the connection broke before the server could answer.
        return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) or (
            type(error) is psycopg2.DatabaseError
        )
    return error.pgcode[:2] in {"57", "08", "53", "40"}


class Database:
    """A Postgres database.

    Args:
        url: An SQLAlchemy URL. A bare ``postgresql://`` is taken to mean psycopg2.
        vault: What seals the payloads of its rows; by default they are in clear.
        patience: Whether to keep trying for half a minute while the server is away.
    """

    def __init__(self, url: str, vault: Vault | None = None, *, patience: bool = True) -> None:
        parsed = make_url(url)
        if parsed.drivername != "postgresql+psycopg2":
            parsed = parsed.set(drivername="postgresql+psycopg2")
        self._url = parsed.render_as_string(hide_password=False)
        self._shown = parsed.render_as_string(hide_password=True)
        self._pauses: Sequence[float] = _PAUSES if patience else ()
        self.vault = vault or Vault()

    def __repr__(self) -> str:
        return f"Database({self._shown!r})"

    def impatient(self) -> Database:
        """Return the same database for a caller who wants to know at once that it is away."""
        return Database(self._url, self.vault, patience=False)

    def rows(self, sql: str, **values: Any) -> Sequence[Any]:
        """Run one statement and return its rows as named tuples (none for a statement without any).

        The pool is SQLAlchemy's; the statement goes straight to the driver, which takes a quarter of
        the time.
        """

        def work() -> Sequence[Any]:
            connection = _engine(self._url).raw_connection()
            try:
                return run_statement(connection, sql, values)
            except psycopg2.Error as error:
                if _is_passing(error):
                    connection.invalidate(error)
                raise
            except ValueError as error:
                # The driver's own words for a NUL character, or half of a surrogate pair.
                raise Unstorable(f"a value cannot be stored: {error}; remove that") from error
            finally:
                connection.close()

        return self._retrying(work)

    def row(self, sql: str, **values: Any) -> Any:
        """Run one statement and return its first row, or None."""
        found = self.rows(sql, **values)
        return found[0] if found else None

    def transaction(self, work: Callable[[Connection], T]) -> T:
        """Run `work(connection)` in one transaction; all of it again if the connection is lost."""

        def attempt() -> T:
            with _transactional(_engine(self._url)).begin() as connection:
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
            except (psycopg2.Error, DBAPIError) as raised:
                error = _driver_error(raised)
                if not _is_passing(error):
                    self._explain(error, raised)
                if pause is None:
                    raise ServiceUnavailable(
                        f"Postgres at {self._shown} does not answer: {_first_line(error)}; "
                        "check that it runs and that components.database points to it"
                    ) from raised
                if error.pgcode != _DEADLOCK:
                    _engine(self._url).dispose()
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _explain(self, error: psycopg2.Error, raised: Exception) -> NoReturn:
        if error.pgcode == FENCED_OUT:
            raise LeaseLost("another worker owns this task now; nothing was written") from raised
        if isinstance(error, psycopg2.DataError) or error.pgcode == _TOO_LONG:
            raise Unstorable(f"a value cannot be stored: {_first_line(error)}") from raised
        if error.pgcode in _UNDEFINED:
            raise ConfigurationError(
                f"the database at {self._shown} lacks our newest schema ({_first_line(error)}); "
                "run `celery -A YOUR_APP agentpg migrate`"
            ) from raised
        raise raised


def _driver_error(error: Exception) -> psycopg2.Error:
    found = error.orig if isinstance(error, DBAPIError) else error
    assert isinstance(found, psycopg2.Error)
    return found


def _first_line(error: psycopg2.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
