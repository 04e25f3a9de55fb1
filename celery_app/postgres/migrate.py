"""Bring a database to the newest schema.

Invariant: the files of schema/ are applied in order, each once, all under one advisory lock, so that
any number of processes may call this at the same moment.
"""

from __future__ import annotations

from importlib import resources

from sqlalchemy import Connection, text

from celery_app.errors import ConfigurationError
from celery_app.postgres.connection import Database

#: An arbitrary number that only this program's migrations use.
_LOCK = 0x41474E54


def schema_files() -> list[tuple[str, str]]:
    """Return (name, SQL) of every migration, oldest first."""
    folder = resources.files("celery_app.postgres") / "schema"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=str)
    return [(entry.name, entry.read_text(encoding="utf-8")) for entry in files]


def pending(database: Database) -> list[str]:
    """Return the names of the migrations that this database still lacks.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    known = _applied(database)
    return [name for name, _ in schema_files() if name not in known]


def check_schema(database: Database) -> None:
    """Compare the database's schema with that of this program.

    Raises:
        ConfigurationError: One of the two is older than the other.
        ServiceUnavailable: Postgres does not answer.
    """
    _refuse_newer(_applied(database))
    missing = pending(database)
    if missing:
        raise ConfigurationError(
            f"the database lacks {', '.join(missing)}: "
            "run `celery -A YOUR_APP agentpg migrate`, then start again"
        )


def _applied(database: Database) -> set[str]:
    row = database.row("SELECT to_regclass('schema_migration') IS NOT NULL AS there")
    if row is None or not row.there:
        return set()
    return {row.name for row in database.rows("SELECT name FROM schema_migration")}


def _refuse_newer(applied: set[str]) -> None:
    unknown = sorted(applied - {name for name, _ in schema_files()})
    if unknown:
        raise ConfigurationError(
            f"the database has {', '.join(unknown)}, which this version does not know: "
            "install the version that made it, or a newer one"
        )


def migrate(database: Database) -> list[str]:
    """Apply what is missing; return the names of the files that were applied.

    Raises:
        ConfigurationError: The database's schema is newer than this program.
        ServiceUnavailable: Postgres does not answer.
    """

    def apply(connection: Connection) -> list[str]:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(
            text(
                "CREATE TABLE IF NOT EXISTS schema_migration "
                "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            )
        )
        known = set(connection.scalars(text("SELECT name FROM schema_migration")))
        _refuse_newer(known)
        missing = [(name, sql) for name, sql in schema_files() if name not in known]
        for name, sql in missing:
            connection.exec_driver_sql(sql.replace("%", "%%"))
            connection.execute(
                text("INSERT INTO schema_migration (name) VALUES (:name)"), {"name": name}
            )
        return [name for name, _ in missing]

    return database.transaction(apply)
