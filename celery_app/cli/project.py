"""`ai-agent project ...`: what belongs together, and what it may use up."""

from __future__ import annotations

from dataclasses import asdict

import click

from celery_app.cli import options

__all__ = ["project"]


@click.group()
def project() -> None:
    """Look after projects: everything that was handed in under one name.

    \b
    Example:
      ai-agent project budget market-watch
    """


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
