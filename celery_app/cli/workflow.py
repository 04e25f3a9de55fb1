"""`ai-agent workflow ...`: start, follow and steer runs of workflows.

Invariant: starting needs no worker; only a command that waits for a result looks for one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from celery_app.cli import options
from celery_app.cli.waiting import RUN, see_through
from celery_app.cli.workflow_paper import graph, schema, validate
from celery_app.cli.workflow_triggers import emit, triggers

if TYPE_CHECKING:
    from celery_app.client import Client
    from celery_app.handles import RunHandle
    from workflows.workflow import Workflow

__all__ = ["workflow"]


@click.group()
def workflow() -> None:
    """Workflows in YAML: check them, run them, and steer their runs.

    NAME is a file of config/workflows without its ending; RUN is an id or the beginning of one.

    \b
    Examples:
      ai-agent workflow run market-report --input topic="electric bicycles"
      ai-agent workflow show 1f2e3d4c
      ai-agent workflow approve 1f2e3d4c approval
    """


for _command in (validate, graph, schema, triggers, emit):
    workflow.add_command(_command)

_inputs = click.option(
    "--input", "inputs", type=options.NAMED_INPUT, multiple=True, metavar="NAME=VALUE",
    help="An input: JSON, or text as it is; @FILE reads a file. May be given several times.",
)  # fmt: skip
_detach = click.option("--detach", is_flag=True, help="Print the id of the run and do not wait.")
_timeout = click.option(
    "--timeout", type=options.SECONDS, metavar="SECONDS",
    help="Stop waiting after so long (30, 15m, 2h); the run itself goes on.",
)  # fmt: skip


@workflow.command()
@click.argument("name", metavar="NAME|FILE")
@_inputs
@options.priority
@options.resources
@_detach
@_timeout
@options.as_json
def run(
    name: str,
    inputs: tuple[tuple[str, Any], ...],
    priority: str,
    project: str | None,
    detach: bool,
    timeout: float | None,
    as_json: bool,
    **resources: Any,
) -> None:
    """Run a workflow and print its outputs.

    Its steps are shown on stderr. The run keeps the definition and the inputs that it starts with.

    \b
    Examples:
      ai-agent workflow run market-report
      ai-agent workflow run triage --input tickets=@tickets.json --json
      ai-agent workflow run ./my-flow.yaml --detach
    """
    from celery_app.cli.system import open_client

    client = open_client()
    handle = client.start_workflow(
        _named_or_file(client, name),
        dict(inputs),
        project=project,
        priority=priority,
        resources=options.resources_of(resources),
    )
    _print_started(handle, detach, timeout, as_json)


@workflow.command()
@click.argument("run_id", metavar="RUN")
@_detach
@_timeout
@options.as_json
def resume(run_id: str, detach: bool, timeout: float | None, as_json: bool) -> None:
    """Go on with a run that failed or was cancelled; results that still hold are kept.

    \b
    Example:
      ai-agent workflow resume 1f2e3d4c
    """
    handle = _find(run_id)
    handle.resume()
    _print_started(handle, detach, timeout, as_json)


@workflow.command()
@click.argument("run_id", metavar="RUN")
@click.option("--from", "step", metavar="STEP", help="Run this step and all after it again.")
@_inputs
@click.option(
    "--file", "path", type=click.Path(path_type=Path), help="Use this definition instead."
)
@_detach
@_timeout
@options.as_json
def fork(
    run_id: str,
    step: str | None,
    inputs: tuple[tuple[str, Any], ...],
    path: Path | None,
    detach: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Start a new run that reuses the results of RUN wherever nothing has changed.

    \b
    Examples:
      ai-agent workflow fork 1f2e3d4c --from review
      ai-agent workflow fork 1f2e3d4c --input depth=5
      ai-agent workflow fork 1f2e3d4c --file config/workflows/market-report.yaml
    """
    from celery_app.cli.system import open_client

    handle = _find(run_id)
    definition: Workflow | None = None
    if path is not None:
        definition = open_client().read_workflow(path)
    forked = handle.fork(step, inputs=dict(inputs), workflow=definition)
    _print_started(forked, detach, timeout, as_json)


@workflow.command("list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the workflows that there are; files with mistakes are named on stderr.

    \b
    Example:
      ai-agent workflow list --json | jq -r '.[].name'
    """
    from celery_app.cli.screen import print_json, print_table
    from celery_app.orchestrator.workflow_files import WorkflowFiles

    files = WorkflowFiles()
    found = files.readable()
    if as_json:
        print_json([each.model_dump(mode="json", by_alias=True) for each in found])
        return
    rows = [(w.name, len(w.steps), len(w.triggers), w.description) for w in found]
    print_table(("name", "steps", "triggers", "description"), rows)


@workflow.command()
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@options.as_json
def runs(name: str | None, limit: int, as_json: bool) -> None:
    """List the runs that were started last, newest first: all, or those of NAME.

    \b
    Example:
      ai-agent workflow runs market-report --json | jq -r '.[].id'
    """
    from celery_app.cli.screen import print_json, print_table
    from celery_app.cli.system import open_client

    found = open_client().runs(name, limit)
    if as_json:
        print_json(found)
        return
    rows = [
        (each["id"][:8], each["workflow"], each["state"], each["created_at"][:19], each["error"] or "")
        for each in found
    ]  # fmt: skip
    print_table(("id", "workflow", "state", "started", "error"), rows)


@workflow.command()
@click.argument("run_id", metavar="RUN")
@options.as_json
def show(run_id: str, as_json: bool) -> None:
    """Show a run: its steps with their states and times, and what it waits for.

    \b
    Example:
      ai-agent workflow show 1f2e3d4c
    """
    from celery_app.cli.screen import print_json
    from celery_app.cli.workflow_sheet import print_run

    handle = _find(run_id)
    document = handle.tree()
    if as_json:
        print_json(document)
    else:
        print_run(document, handle.workflow)


@workflow.command()
@click.argument("run_id", metavar="RUN")
@options.as_json
def cancel(run_id: str, as_json: bool) -> None:
    """Cancel a run; what runs of it stops at once. `resume` goes on with it.

    \b
    Example:
      ai-agent workflow cancel 1f2e3d4c
    """
    handle = _find(run_id)
    handle.cancel()
    _print_standing(handle, as_json)


_answer = click.option(
    "--answer", type=options.INPUT, metavar="VALUE", help="JSON, or text as it is."
)
_by = click.option("--by", metavar="NAME", help="Who answers; by default the user of this machine.")


@workflow.command()
@click.argument("run_id", metavar="RUN")
@click.argument("step")
@_answer
@_by
@options.as_json
def approve(run_id: str, step: str, answer: Any, by: str | None, as_json: bool) -> None:
    """Answer the question of STEP with yes.

    \b
    Examples:
      ai-agent workflow approve 1f2e3d4c approval
      ai-agent workflow approve 1f2e3d4c channel --answer newsletter --by ann
    """
    handle = _find(run_id)
    handle.approve(step, answer=answer, by=by)
    _print_standing(handle, as_json)


@workflow.command()
@click.argument("run_id", metavar="RUN")
@click.argument("step")
@_answer
@_by
@options.as_json
def reject(run_id: str, step: str, answer: Any, by: str | None, as_json: bool) -> None:
    """Answer the question of STEP with no.

    \b
    Example:
      ai-agent workflow reject 1f2e3d4c approval --by bob
    """
    handle = _find(run_id)
    handle.reject(step, answer=answer, by=by)
    _print_standing(handle, as_json)


def _named_or_file(client: Client, name: str) -> Path | str:
    path = Path(name)
    # Of a name that no file can have, pathlib says so with an error.
    return path if path.suffix in (".yaml", ".yml") or os.path.isfile(path) else name


def _find(given: str) -> RunHandle:
    from celery_app.cli.system import find_task, open_client

    client = open_client()
    return client.run(find_task(client, given).id)


def _print_started(handle: RunHandle, detach: bool, timeout: float | None, as_json: bool) -> None:
    from celery_app.cli.screen import print_json
    from celery_app.cli.workflow_sheet import look_of

    if detach:
        print_json(handle.tree()) if as_json else click.echo(handle.id)
        return
    see_through(handle, RUN, timeout, as_json, look_of(handle.workflow))


def _print_standing(handle: RunHandle, as_json: bool) -> None:
    from celery_app.cli.screen import print_json

    if as_json:
        print_json(handle.tree())
    else:
        click.echo(f"run {handle.id} is {handle.state}")
