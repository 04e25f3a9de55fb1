"""`ai-agent workflow triggers` and `emit`: what starts workflows, and when it does so next."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from celery_app.cli import options

__all__ = ["emit", "triggers"]


@click.group(invoke_without_command=True)
@click.option("--workflow", "name", metavar="NAME", help="Only those of one workflow.")
@options.as_json
@click.pass_context
def triggers(context: click.Context, name: str | None, as_json: bool) -> None:
    """Show what starts workflows, and the next times of what follows a clock.

    They are in force once beat has seen the workflow's file (`ai-agent up` runs beat); a changed file
    counts within seconds. ID may be the beginning of one.

    \b
    Examples:
      ai-agent workflow triggers
      ai-agent workflow triggers pause nightly-docs 1f2e
      ai-agent workflow triggers add nightly-docs 'interval=6h'
    """
    if context.invoked_subcommand is not None:
        return
    from celery_app.cli.screen import print_json, print_table

    found = _triggers().listed(name)
    if as_json:
        print_json(found)
        return
    rows = [
        (each["workflow"], each["id"][:8], _said(each["says"]), *_standing(each)) for each in found
    ]
    print_table(("workflow", "id", "trigger", "next", "error"), rows)


@triggers.command()
@click.argument("name")
@click.argument("trigger_id", metavar="ID")
def pause(name: str, trigger_id: str) -> None:
    """Stop a trigger until it is resumed.

    \b
    Example:
      ai-agent workflow triggers pause nightly-docs 1f2e
    """
    _triggers().pause(name, trigger_id)


@triggers.command()
@click.argument("name")
@click.argument("trigger_id", metavar="ID")
def resume(name: str, trigger_id: str) -> None:
    """Let a paused trigger go on; what was due in the meantime is not made up for.

    \b
    Example:
      ai-agent workflow triggers resume nightly-docs 1f2e
    """
    _triggers().resume(name, trigger_id)


@triggers.command()
@click.argument("name")
@click.argument("said", nargs=-1, required=True, metavar="KEY=VALUE...", type=options.NAMED_INPUT)
def add(name: str, said: tuple[tuple[str, Any], ...]) -> None:
    """Add a trigger to a registered workflow, with the keys of a file, and print its id.

    \b
    Examples:
      ai-agent workflow triggers add triage cron="*/10 * * * *" timezone=Europe/Berlin
      ai-agent workflow triggers add triage event=ticket with='{"tickets": "{{ [run.event] }}"}'
    """
    click.echo(_triggers().add(name, dict(said)).id)


@triggers.command()
@click.argument("name")
@click.argument("trigger_id", metavar="ID")
def remove(name: str, trigger_id: str) -> None:
    """Take a trigger away; one that stands in a file comes back when the file changes.

    \b
    Example:
      ai-agent workflow triggers remove nightly-docs 1f2e
    """
    _triggers().remove(name, trigger_id)


@click.command()
@click.argument("event")
@click.option(
    "--data", type=options.INPUT, metavar="VALUE", help="JSON, or text; @FILE reads a file."
)
@click.option("--key", help="The same event under the same key starts each workflow once.")
@options.as_json
def emit(event: str, data: Any, key: str | None, as_json: bool) -> None:
    """Tell that EVENT has happened, and print the ids of the runs that this starts.

    \b
    Example:
      ai-agent workflow emit ticket --data '{"text": "The printer is on fire"}'
    """
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import note, open_client

    started = [str(handle.id) for handle in open_client().emit(event, data, key=key)]
    if as_json:
        print_json(started)
        return
    if not started:
        note(f"no registered workflow waits for {event!r}")
    for run_id in started:
        click.echo(run_id)


def _triggers() -> Any:
    from celery_app.cli.system import prepare

    prepare()
    from celery_app.orchestrator.triggers import Triggers

    return Triggers()


def _said(says: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in says.items() if key != "with")


def _standing(trigger: dict[str, Any]) -> tuple[str, str]:
    times = [datetime.fromisoformat(time) for time in trigger["next"]]
    shown = ", ".join(f"{time:%Y-%m-%d %H:%M %Z}".strip() for time in times)
    return ("paused" if trigger["paused"] else shown, trigger["error"] or "")
