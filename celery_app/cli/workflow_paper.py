"""`ai-agent workflow validate`, `graph` and `schema`: workflows on paper; nothing runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from workflows.problem import Problem
    from workflows.workflow import Workflow

__all__ = ["graph", "schema", "validate"]


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE...]", type=click.Path(path_type=Path))
@options.as_json
def validate(files: tuple[Path, ...], as_json: bool) -> int:
    """Tell everything that is wrong with workflow files; without FILE with those of config/workflows.

    Each mistake is a line with file, line and step. The exit code is 2 if there is any.

    \b
    Examples:
      ai-agent workflow validate
      ai-agent workflow validate my-flow.yaml --json
    """
    from celery_app.cli.screen import print_json
    from celery_app.orchestrator.workflow_files import WorkflowFiles
    from workflows.errors import InvalidWorkflow

    known = WorkflowFiles()
    problems: list[Problem] = []
    paths = files or tuple(known.paths())
    for path in paths:
        try:
            known.read(path)
        except InvalidWorkflow as invalid:
            problems += invalid.problems
    if as_json:
        print_json([{**vars(each), "message": str(each)} for each in problems])
    else:
        for each in problems:
            click.echo(str(each), err=True)
        if not problems:
            click.echo(f"{len(paths)} {'file is' if len(paths) == 1 else 'files are'} well")
    return 2 if problems else 0


@click.command()
@click.argument("name", metavar="NAME|FILE|RUN")
@click.option(
    "--format", "form", type=click.Choice(["mermaid", "svg"]), default="mermaid", show_default=True
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it there.")
def graph(name: str, form: str, output: Path | None) -> None:
    """Draw a workflow, or a run with the states of its steps as colours.

    \b
    Examples:
      ai-agent workflow graph market-report
      ai-agent workflow graph market-report --format svg --output market-report.svg
    """
    from workflows.drawing import mermaid
    from workflows.state import StepStatus
    from workflows.svg import svg

    workflow, states = _found(name)
    shown = {step: StepStatus(state) for step, state in states.items()}
    text = (svg if form == "svg" else mermaid)(workflow, shown)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{output} cannot be written: {error.strerror}") from error


def _found(name: str) -> tuple[Workflow, dict[str, str]]:
    from celery_app.cli.system import find_task, open_client
    from celery_app.orchestrator.workflow_files import WorkflowFiles

    files = WorkflowFiles()
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or os.path.isfile(path):
        return files.read(path), {}
    if name in files.names or not options.is_id(name):
        return files.named(name), {}
    client = open_client()
    handle = client.run(find_task(client, name).id)
    return handle.workflow, {step["id"]: step["state"] for step in handle.tree()["steps"]}


@click.command()
def schema() -> None:
    """Print the JSON schema of workflow files, for editors that complete and check YAML.

    In VS Code with the YAML extension, write it beside the files and begin each of them with
    `# yaml-language-server: $schema=workflow.schema.json`.

    \b
    Example:
      ai-agent workflow schema > config/workflows/workflow.schema.json
    """
    from celery_app.cli.screen import print_json
    from workflows.definitions import schema as described

    print_json(described())
