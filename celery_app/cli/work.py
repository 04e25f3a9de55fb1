"""`ai-agent task ...`: hand in, look at and end single tasks.

Invariant: handing in needs no worker; only a command that waits for a result looks for one.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from celery_app.cli import options
from celery_app.cli.submit import print_state, submit

__all__ = ["task"]


@click.group()
def task() -> None:
    """Hand in, look at and end single tasks. An ID may be the beginning of one.

    \b
    Examples:
      ai-agent task submit "Write a haiku about rivers"
      ai-agent task list --state failed
      ai-agent task wait 1f2e3d4c
    """


task.add_command(submit)


@task.command("list")
@click.option("--state", type=click.Choice(options.STATES), help="Only tasks in this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@options.as_json
def list_(state: str | None, limit: int, as_json: bool) -> None:
    """List the tasks that were handed in last, newest first.

    The seconds are those from handing in to the end, or to now; subtasks are in `task show`, and so are
    results of more than some kilobytes (`result_omitted` is then true).

    \b
    Examples:
      ai-agent task list --state running
      ai-agent task list --limit 100 --json | jq -r '.[].id'
    """
    from celery_app.cli.screen import one_line, print_json, print_table, tokens_of
    from celery_app.cli.system import open_client
    from celery_app.orchestrator.task_manager import TaskManager

    client = open_client()
    records = TaskManager(permissions=client.permissions).newest(limit, state)
    if as_json:
        print_json([record.as_json() for record in records])
        return
    rows = []
    for record in records:
        document = record.as_json()
        end = record.finished_at or datetime.now(UTC)
        age = f"{(end - record.created_at).total_seconds():.1f}"
        title = one_line(document["description"] or record.name)
        rows.append((record.id, record.state, age, tokens_of(document), title))
    print_table(("id", "state", "seconds", "tokens", "description"), rows)


@task.command()
@click.argument("task_id", metavar="ID")
@options.as_json
def show(task_id: str, as_json: bool) -> None:
    """Show a task with its subtasks, dependencies, attempts, error and result.

    \b
    Example:
      ai-agent task show 1f2e3d4c --json | jq .tasks
    """
    from celery_app.cli.screen import print_json, timed
    from celery_app.cli.system import find_task, open_client
    from celery_app.cli.task_sheet import print_task

    document = find_task(open_client(), task_id).tree()
    if as_json:
        print_json(document)
    else:
        print_task(timed(document))


@task.command()
@click.argument("task_id", metavar="ID")
@options.as_json
def cancel(task_id: str, as_json: bool) -> None:
    """Cancel a task and everything below it; what runs is stopped at once.

    \b
    Example:
      ai-agent task cancel 1f2e3d4c
    """
    from celery_app.cli.system import find_task, open_client

    handle = find_task(open_client(), task_id)
    handle.cancel()
    print_state(handle, as_json)


@task.command()
@click.argument("task_id", metavar="ID")
@options.as_json
def retry(task_id: str, as_json: bool) -> None:
    """Run a failed or cancelled task again; what succeeded below it is kept.

    \b
    Example:
      ai-agent task retry 1f2e3d4c && ai-agent task wait 1f2e3d4c
    """
    from celery_app.cli.system import find_task, open_client
    from celery_app.orchestrator.task_manager import TaskManager

    handle = find_task(open_client(), task_id)
    TaskManager().retry(handle.id)
    print_state(handle, as_json)


@task.command()
@click.argument("task_id", metavar="ID")
@click.option("--tokens", type=click.IntRange(min=0), default=0, help="Tokens more.")
@click.option("--calls", type=click.IntRange(min=0), default=0, help="Model calls more.")
@click.option("--seconds", type=options.SECONDS, help="Time at work more.")
@options.as_json
def give(task_id: str, tokens: int, calls: int, seconds: float | None, as_json: bool) -> None:
    """Add to a task's budget; what waited for it goes on.

    \b
    Example:
      ai-agent task give 1f2e3d4c --tokens 20000
    """
    if not (tokens or calls or seconds):
        raise click.UsageError("give --tokens, --calls or --seconds")
    from celery_app.cli.system import find_task, open_client

    handle = find_task(open_client(), task_id)
    handle.give(tokens=tokens, calls=calls, seconds=seconds or 0)
    print_state(handle, as_json)


@task.command()
@click.argument("task_id", metavar="ID")
@click.option(
    "--timeout", type=options.SECONDS, metavar="SECONDS",
    help="Stop waiting after so long (30, 15m, 2h); the task itself goes on.",
)  # fmt: skip
@options.as_json
def wait(task_id: str, timeout: float | None, as_json: bool) -> None:
    """Wait for a task and print its result; the exit code is 1 if it did not succeed.

    \b
    Example:
      ai-agent task wait 1f2e3d4c --timeout 10m
    """
    from celery_app.cli.background import ensure_worker
    from celery_app.cli.progress import FINAL
    from celery_app.cli.screen import print_json, print_result
    from celery_app.cli.system import find_task, open_client
    from celery_app.errors import TaskFailed

    handle = find_task(open_client(), task_id)
    if handle.state not in FINAL:
        ensure_worker()
    try:
        result = handle.result(timeout)
    except TaskFailed:
        if as_json:
            print_json(handle.tree())
        raise
    if as_json:
        print_json(handle.tree())
    else:
        print_result(result)


@task.command()
@click.argument("task_id", metavar="ID")
@click.option("--follow", is_flag=True, help="Go on until the whole run is over.")
@click.option("--text", is_flag=True, help="With what the models say while they say it; follows.")
@options.as_json
def events(task_id: str, follow: bool, text: bool, as_json: bool) -> None:
    """Print what happened in the run that a task belongs to, oldest first.

    With --json one list is printed; with --follow and --json one JSON object a line.

    \b
    Examples:
      ai-agent task events 1f2e3d4c --follow
      ai-agent task events 1f2e3d4c --text
    """
    from celery_app.cli.event_lines import EventLines
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import find_task, open_client

    handle = find_task(open_client(), task_id)
    follow = follow or text
    if as_json and not follow:
        print_json(handle.events())
        return
    lines = EventLines()
    for event in handle.events(follow=True, text=text) if follow else handle.events():
        if as_json:
            _print_compact(event)
        else:
            lines.print(event)
    lines.end()


def _print_compact(event: options.JsonObject) -> None:
    click.echo(json.dumps(event, ensure_ascii=False))
