"""`ai-agent project ...`: goals that become a plan, are worked on, and give results that are kept.

Invariant: creating and planning need a model and no worker; only `run` looks for a worker.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from celery_app.cli import options
from celery_app.cli.project_artifacts import artifact, artifacts, attach
from celery_app.cli.project_timeline import timeline
from celery_app.cli.waiting import PROJECT, see_through, watch

if TYPE_CHECKING:
    from celery_app.project_handle import ProjectHandle
    from workflows.plan import Plan

__all__ = ["project"]


@click.group()
def project() -> None:
    """Projects: goals in a YAML file become a plan with a timeline, are worked on, and are checked.

    \b
    Examples:
      ai-agent project create config/examples/library-study.yaml
      ai-agent project timeline library-study
      ai-agent project run library-study
    """


for _command in (timeline, artifacts, artifact, attach):
    project.add_command(_command)

_spec = click.argument("spec", metavar="SPEC.yaml", type=click.Path(path_type=Path))


@project.command()
@_spec
@options.as_json
def create(spec: Path, as_json: bool) -> None:
    """Create the project that a YAML file describes, and have its goals planned.

    Each goal is told on stderr when it is planned. Nothing runs yet.

    \b
    Examples:
      ai-agent project create config/examples/library-study.yaml
      ai-agent project create config/examples/library-study.yaml --json | jq .timeline.likely
    """
    from celery_app.cli.system import open_client

    client = open_client()
    client.check_models()
    _print_project(client.create_project(spec, on_goal=_tell), as_json)


@project.command()
@click.argument("spec", metavar="SPEC.yaml|NAME")
@options.as_json
def plan(spec: str, as_json: bool) -> None:
    """Change a project to what SPEC.yaml says by now; goals that this does not touch keep their plan.

    With the NAME of a project whose planning was cut short, plan what is not planned yet.

    \b
    Examples:
      ai-agent project plan config/examples/library-study.yaml
      ai-agent project plan library-study
    """
    from celery_app.cli.system import open_client

    client = open_client()
    client.check_models()
    path = Path(spec)
    is_file = path.suffix in (".yaml", ".yml") or os.path.isfile(path)
    given = path if is_file else client.project(spec).get().spec
    _print_project(client.change_project(given, on_goal=_tell), as_json)


@project.command("list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the projects, the newest first: how many of their goals are reached, what is at risk.

    \b
    Example:
      ai-agent project list --json | jq -r '.[].name'
    """
    from celery_app.cli.screen import print_json, print_table
    from celery_app.cli.system import open_client

    found = open_client().projects()
    if as_json:
        print_json([{**asdict(each), "created_at": each.created_at.isoformat()} for each in found])
        return
    rows = [
        (p.name, f"{p.reached} of {p.goals}", f"{p.created_at:%Y-%m-%d %H:%M:%S}", p.risk or "")
        for p in found
    ]
    print_table(("name", "reached", "created", "at risk"), rows)


@project.command()
@click.argument("name")
@options.as_json
def show(name: str, as_json: bool) -> None:
    """Show a project: its goals with their checks, what it has taken, and its artifacts.

    \b
    Example:
      ai-agent project show library-study
    """
    from celery_app.cli.system import open_client

    _print_project(open_client().project(name), as_json)


@project.command()
@click.argument("name")
@click.option(
    "--goal", "goals", metavar="GOAL", multiple=True, help="Only this one, even if reached."
)
@click.option("--detach", is_flag=True, help="Print the id of the run and do not wait.")
@click.option(
    "--timeout", type=options.SECONDS, metavar="SECONDS",
    help="Stop waiting after so long (30, 15m, 2h); the run itself goes on.",
)  # fmt: skip
@options.as_json
def run(
    name: str, goals: tuple[str, ...], detach: bool, timeout: float | None, as_json: bool
) -> None:
    """Work on the goals that have no result, and print how the project then stands.

    Goals that are reached are not worked on again unless --goal names them; what a named goal needs
    and lacks is worked on, too. With --json, the document of the run is printed.

    \b
    Examples:
      ai-agent project run library-study
      ai-agent project run library-study --goal services --detach
    """
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import open_client

    project = open_client().project(name)
    handle = project.run(goals)
    if detach:
        print_json(handle.tree()) if as_json else click.echo(handle.id)
    elif as_json:
        see_through(handle, PROJECT, timeout, as_json)
    else:
        watch(handle, PROJECT, timeout)
        _print_project(project, as_json)
        click.echo(f"\n`ai-agent project artifact {name} GOAL` prints a result")


@project.command()
@click.argument("name")
@click.argument("goal")
@options.as_json
def accept(name: str, goal: str, as_json: bool) -> None:
    """Accept the result of GOAL, which only people can judge (its acceptance has a `person`).

    \b
    Example:
      ai-agent project accept library-study overview
    """
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import open_client

    handle = open_client().project(name)
    handle.accept(goal)
    if as_json:
        print_json(handle.document())
    else:
        click.echo(f"goal {goal} is reached")


@project.command()
@click.argument("name")
@click.option("--tokens", type=click.IntRange(min=1), help="The most tokens of all its tasks.")
@click.option("--calls", type=click.IntRange(min=1), help="The most model calls.")
@click.option("--seconds", type=options.SECONDS, help="The most time at work.")
@click.option("--unlimited", is_flag=True, help="Take all limits away.")
@options.as_json
def budget(
    name: str,
    tokens: int | None,
    calls: int | None,
    seconds: float | None,
    unlimited: bool,
    as_json: bool,
) -> None:
    """Show what a project has used up; with options, set its limits anew.

    Tasks that would exceed it wait, until it is given more.

    \b
    Examples:
      ai-agent project budget market-watch
      ai-agent project budget market-watch --tokens 500000 --calls 2000
    """
    from celery_app.cli.screen import print_json, print_pairs
    from celery_app.cli.system import open_client

    client = open_client()
    limits = {"tokens": tokens, "calls": calls, "seconds": seconds}
    if unlimited or any(limits.values()):
        client.set_project_budget(name, tokens=tokens, calls=calls, seconds=seconds)
    document = asdict(client.project_budget(name))
    if as_json:
        print_json(document)
        return
    print_pairs(
        [(key, f"{document[f'used_{key}']:g} of {document[key] or 'any number'}") for key in limits]
    )


def _tell(goal: str, plan: Plan) -> None:
    from celery_app.cli.system import note

    note(f"goal {goal} is planned: {len(plan.steps)} steps (source: {plan.source})")


def _print_project(handle: ProjectHandle, as_json: bool) -> None:
    from celery_app.cli.project_sheet import print_sheet
    from celery_app.cli.screen import print_json

    document = handle.document()
    (print_json if as_json else print_sheet)(document)
