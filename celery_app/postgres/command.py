"""`celery -A YOUR_APP agentpg ...`: the result backend's tables, for any Celery project.

Invariant: every `celery` command loads this module, so it imports nothing of the system; commands do
when they run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from celery_app.postgres.connection import Database

T = TypeVar("T")


@click.group()
def agentpg() -> None:
    """Look after the tables of the Postgres result backend."""


@agentpg.command("migrate")
@click.pass_context
def migrate_command(context: click.Context) -> None:
    """Create the tables, or bring them to the newest schema.

    Any number of processes may do so at the same moment; every step is done once.
    """
    from celery_app.postgres.migrate import migrate

    applied = _guarded(lambda: migrate(_database(context)))
    click.echo("\n".join(f"applied {name}" for name in applied) or "the schema is the newest")


@agentpg.command("check")
@click.pass_context
def check_command(context: click.Context) -> None:
    """Tell whether the tables fit this version; exit 2 if they do not."""
    from celery_app.postgres.migrate import check_schema

    _guarded(lambda: check_schema(_database(context)))
    click.echo("the schema is the newest")


def _database(context: click.Context) -> Database:
    from celery_app.errors import ConfigurationError
    from celery_app.postgres.backend import PostgresBackend

    backend = context.obj.app.backend
    if not isinstance(backend, PostgresBackend):
        raise ConfigurationError(
            f"this app's result backend is {backend.as_uri()}; set result_backend to agentpg://..."
        )
    return backend.database.impatient()


def _guarded(work: Callable[[], T]) -> T:
    from celery_app.errors import AgentSystemError

    try:
        return work()
    except AgentSystemError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(error.exit_code) from error
