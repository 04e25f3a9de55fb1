"""`ai-agent run`: hand in a job, watch it, print its result.

Invariant: stdout holds the result (or the one JSON document) and nothing else; whatever is told on
the way goes to stderr.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from celery_app.cli import options
from celery_app.cli.waiting import TASK, see_through

if TYPE_CHECKING:
    from celery_app.client import Client

__all__ = ["run"]


@click.command()
@click.argument("job")
@options.inputs
@click.option("--plan-only", is_flag=True, help="Print the plan and its price; run nothing.")
@click.option(
    "--plan/--no-plan", default=True, show_default=True, help="Let a planner break it up."
)
@options.priority
@options.deadline
@options.output
@options.tools
@click.option(
    "--timeout",
    type=options.SECONDS,
    metavar="SECONDS",
    help="Stop waiting after so long (30, 15m, 2h); the job itself goes on.",
)
@options.as_json
def run(
    job: str,
    inputs: tuple[Path, ...],
    plan_only: bool,
    plan: bool,
    priority: str,
    deadline: datetime | None,
    output: options.JsonObject | None,
    tools: tuple[str, ...],
    network: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Have JOB planned and done, and print its result.

    The planner breaks the job into subtasks; they run in parallel where they can, and their tree is
    shown on stderr. Ctrl-C leaves the job running or cancels it, as you choose.

    \b
    Examples:
      ai-agent run "Summarise both reports and compare them" --input a.md --input b.md
      ai-agent run "Plan a conference" --plan-only
      ai-agent run "List ten risks" --json --timeout 10m | jq .result
    """
    from celery_app.cli.system import open_client

    client = open_client()
    client.check_models()
    if plan_only:
        _print_plan(client, job, inputs, as_json)
        return
    handle = client.submit(
        job,
        inputs=list(inputs),
        priority=priority,
        deadline=deadline,
        plan=plan,
        output=output,
        tools=tools,
        network=network,
    )
    see_through(handle, TASK, timeout, as_json)


def _print_plan(client: Client, job: str, inputs: tuple[Path, ...], as_json: bool) -> None:
    from celery_app.cli.plan_table import print_plan
    from celery_app.cli.screen import print_json

    plan = client.plan(job, inputs=list(inputs))
    (print_json if as_json else print_plan)(plan)
