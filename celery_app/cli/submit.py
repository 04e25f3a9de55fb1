"""`ai-agent task submit`: hand in a job in words, a registered Celery task, or a graph.

Invariant: what the command line itself gets wrong is refused before any server is started.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from celery_app.client import Client
    from celery_app.handles import TaskHandle

__all__ = ["print_state", "submit"]


@click.command()
@click.argument("description", required=False)
@click.option("--task", "name", metavar="NAME", help="A registered Celery task to run.")
@click.option("--arg", "args", multiple=True, type=options.JSON, metavar="JSON", help="For --task.")
@click.option(
    "--kwarg", "kwargs", multiple=True, type=options.NAMED_JSON, metavar="NAME=JSON",
    help="For --task.",
)  # fmt: skip
@click.option(
    "--graph", "graph", type=click.Path(path_type=Path), metavar="FILE",
    help="A JSON or YAML file with a list of tasks: id, description or task, dependencies.",
)  # fmt: skip
@options.inputs
@click.option("--plan/--no-plan", default=None, help="By default the job decides.")
@options.priority
@options.deadline
@click.option("--key", metavar="TEXT", help="Handing in twice under one key gives the same task.")
@click.option(
    "--concurrency-key", metavar="TEXT", help="Of tasks with one such key one runs at a time."
)
@options.output
@options.tools
@options.resources
@options.as_json
def submit(
    description: str | None,
    name: str | None,
    args: tuple[Any, ...],
    kwargs: tuple[tuple[str, Any], ...],
    graph: Path | None,
    inputs: tuple[Path, ...],
    plan: bool | None,
    priority: str,
    deadline: datetime | None,
    key: str | None,
    concurrency_key: str | None,
    output: options.JsonObject | None,
    tools: tuple[str, ...],
    network: bool,
    project: str | None,
    as_json: bool,
    **resources: Any,
) -> None:
    """Hand in a task and print its id at once; nothing is waited for.

    \b
    Examples:
      ai-agent task submit "Summarise the minutes" --input minutes.md --priority high
      ai-agent task submit --task chore.sleep --arg 2.5
      ai-agent task submit --graph graph.json
      ai-agent task submit "Name five rivers" --output '{"type": "array", "maxItems": 5}'
      ai-agent task submit "What is 12.5 % of 840?" --tool calculate
    """
    _check_choice(description, name, graph, bool(args or kwargs))
    if output is not None and graph is not None:
        raise click.UsageError("--output goes to one task; write output into the tasks of --graph")
    if (tools or network) and (graph is not None or name is not None):
        raise click.UsageError("--tool and --network go to a job in words; give a DESCRIPTION")
    from celery_app.cli.system import open_client

    client = open_client()
    asked = options.resources_of(resources)
    if graph is not None:
        handle = _submit_graph(
            client, graph, description=description, project=project, resources=asked
        )
    elif name is not None:
        fields: options.JsonObject = {"task": name, "args": list(args), "kwargs": dict(kwargs)}
        fields |= {"priority": priority, "deadline": deadline, "idempotency_key": key}
        fields |= {"project": project, "concurrency_key": concurrency_key, "output": output}
        fields["resource_requirements"] = asked
        handle = _submit_named(client, fields)
    else:
        handle = client.submit(
            description or "",
            inputs=list(inputs),
            plan=plan,
            priority=priority,
            deadline=deadline,
            idempotency_key=key,
            project=project,
            concurrency_key=concurrency_key,
            resources=asked,
            output=output,
            tools=tools,
            network=network,
        )
    if as_json:
        print_state(handle, as_json=True)
    else:
        click.echo(handle.id)


def print_state(handle: TaskHandle, as_json: bool) -> None:
    """Print how a task stands: in words, or as its document."""
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import open_store

    record = open_store().get(str(handle.id))
    if as_json:
        print_json(record.as_json())
    else:
        click.echo(f"{record.id} is {record.state}")


def _check_choice(
    description: str | None, name: str | None, graph: Path | None, arguments: bool
) -> None:
    if graph is not None and name is not None:
        raise click.UsageError("give --graph FILE or --task NAME, not both")
    if description is None and name is None and graph is None:
        raise click.UsageError("give a DESCRIPTION, --task NAME or --graph FILE")
    if description is not None and name is not None:
        raise click.UsageError(f"give --task {name} or a DESCRIPTION, not both")
    if arguments and name is None:
        raise click.UsageError("--arg and --kwarg go to a Celery task; name it with --task")


def _submit_graph(client: Client, path: Path, **options: Any) -> TaskHandle:
    from celery_app.cli.graph_file import read_graph
    from workflows.errors import InvalidTask

    try:
        return client.submit_graph(read_graph(path), **options)
    except InvalidTask as error:
        if str(error).startswith(str(path)):
            raise
        raise type(error)(f"{path}: {error}") from error


def _submit_named(client: Client, fields: options.JsonObject) -> TaskHandle:
    from celery_app.orchestrator.task_manager import TaskManager
    from workflows.task import Task

    return client.task(TaskManager().submit(Task.read(fields)))
