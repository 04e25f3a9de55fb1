"""`ai-agent logs`: what was said, by whom, about which task."""

from __future__ import annotations

from datetime import datetime

import click

from celery_app.cli import options
from celery_app.cli.options import JsonObject

__all__ = ["logs"]

_LEVELS = ("debug", "info", "warning", "error", "critical")
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


@click.command()
@click.option("--task", metavar="ID", help="What was said within this task.")
@click.option("--run", "run", metavar="ID", help="What was said within this run.")
@click.option("--agent", metavar="NAME", help="What was said while this agent worked.")
@click.option(
    "--level",
    type=click.Choice(_LEVELS, case_sensitive=False),
    default="debug",
    help="What is at least so bad.",
)
@click.option(
    "--since",
    type=options.PAST,
    metavar="WHEN",
    help="Not before: 15m, 2h, 1d ago, or 2030-01-31T12:00:00Z.",
)
@click.option("--follow", is_flag=True, help="Go on with what is being said, until interrupted.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="At most so many.",
)
@options.as_json
def logs(
    task: str | None,
    run: str | None,
    agent: str | None,
    level: str,
    since: datetime | None,
    follow: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Show what was said: the newest events of the log, oldest first.

    That is what our own loggers say, and what tasks do, as monitoring.logging.store says (docs/logs.md).
    With --json each event is one line of JSON.

    \b
    Examples:
      ai-agent logs --level warning --since 1h
      ai-agent logs --task 3f2a --json
      ai-agent logs --run 3f2a --follow
    """
    from celery_app.cli.system import prepare
    from celery_app.observe.log_reader import LogReader
    from celery_app.store.logs import LogFilter

    prepare()
    wanted = LogFilter(_id(task), _id(run), agent, level.upper(), since)
    reader = LogReader()
    found = reader.follow(wanted, limit) if follow else reader.find(wanted, limit)
    for event in found:
        (_print_json if as_json else _print)(event.as_json())


def _id(beginning: str | None) -> str | None:
    """Return the whole id of a task that is known by its beginning; what is no task stays as it is."""
    from celery_app.cli.system import open_store

    if beginning is None:
        return None
    given = beginning.strip().lower()
    if not options.is_id(given):
        raise click.BadParameter(f"{beginning!r} is no task id; `ai-agent task list` shows them")
    found = open_store().find(given)
    if len(found) > 1 and given not in found:
        raise click.BadParameter(f"{beginning!r} is the beginning of several ids; give more of it")
    return found[0] if len(found) == 1 else given


def _print_json(event: JsonObject) -> None:
    import json

    click.echo(json.dumps(event, ensure_ascii=False))


def _print(event: JsonObject) -> None:
    level = click.style(f"{event['level']:<8}", fg=_COLOURS.get(event["level"]))
    at = datetime.fromisoformat(event["timestamp"]).isoformat(timespec="milliseconds")
    details = "".join(f" {key}={value!r}" for key, value in event["details"].items())
    within = f"  [{event['task_id']}]" if event["task_id"] else ""
    message = event["message"].rstrip().replace("\n", "\n    ")
    click.echo(f"{at}  {level} {event['logger']}: {message}{details}{within}")
    if event["exception"]:
        click.echo("    " + event["exception"].replace("\n", "\n    "))
