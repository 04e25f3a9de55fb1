"""`ai-agent policy`: is the policy right, and what does it say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from celery_app.security.policy import Policy

__all__ = ["policy"]


@click.group()
def policy() -> None:
    """Who may do what: check the policy file, and ask it.

    The file is security.permissions.policy_file; config/policies.yaml shows how it is written.

    \b
    Examples:
      ai-agent policy check config/policies.yaml
      ai-agent policy explain user:ann task.submit agent:writer
    """


@policy.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(file: Path | None) -> None:
    """Read FILE, or the policy in force, and tell the first mistake with its line.

    \b
    Example:
      ai-agent policy check config/policies.yaml
    """
    from celery_app.security.policy import Policy

    if file is not None:
        Policy.load(file)
    else:
        _in_force()
    click.echo(f"ok: {file or 'the policy in force'}")


@policy.command()
@click.argument("subject")
@click.argument("action")
@click.argument("resource")
@click.option("--capability", "capabilities", multiple=True, help="What the task asks for.")
@click.option(
    "--level",
    type=click.Choice(["public", "internal", "confidential", "secret"]),
    default="internal",
    show_default=True,
    help="How closely the task is kept.",
)
@options.as_json
def explain(
    subject: str,
    action: str,
    resource: str,
    capabilities: tuple[str, ...],
    level: str,
    as_json: bool,
) -> None:
    """Say whether SUBJECT may do ACTION on RESOURCE, which rule decides, and why none before it did.

    The exit code is 0 if it is allowed and 3 if it is denied.

    \b
    Examples:
      ai-agent policy explain user:ann task.submit agent:writer --level secret
      ai-agent policy explain token:ci workflow.run workflow:market-report --json
    """
    from celery_app.security.policy import request
    from workflows.task import SecurityLevel

    wanted = request(action, resource, capabilities, SecurityLevel(level))
    told = _in_force().explain(subject, wanted)
    if as_json:
        from celery_app.cli.screen import print_json

        print_json(told)
    else:
        for each in told["passed_over"]:
            click.echo(f"  {each['rule']}: {each['why']}")
        click.echo(f"{'allowed' if told['allowed'] else 'denied'}: {told['why']}")
    sys.exit(0 if told["allowed"] else 3)


@policy.command()
@options.as_json
def actions(as_json: bool) -> None:
    """List what rules can be about: all actions, with the resources of each.

    \b
    Example:
      ai-agent policy actions
    """
    from celery_app.cli.screen import print_json, print_table
    from celery_app.security.policy import ACTIONS

    if as_json:
        print_json(ACTIONS)
    else:
        print_table(("action", "what it is"), list(ACTIONS.items()))


def _in_force() -> Policy:
    from celery_app import celery

    return celery.policy()
