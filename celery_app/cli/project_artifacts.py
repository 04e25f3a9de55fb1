"""`ai-agent project artifacts`, `artifact` and `attach`: what work has brought forth."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from celery_app.cli import options

__all__ = ["artifact", "artifacts", "attach"]


@click.command()
@click.argument("name")
@options.as_json
def artifacts(name: str, as_json: bool) -> None:
    """List the artifacts of a project, the newest first, each with its hash and its run.

    With --json also the task that brought it forth, and the hashes of what that was given.

    \b
    Example:
      ai-agent project artifacts library-study --json
    """
    from celery_app.cli.project_sheet import print_artifacts
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import open_client

    found = open_client().project(name).artifacts()
    shown = [each.model_dump(mode="json") for each in found]
    (print_json if as_json else print_artifacts)(shown)


@click.command()
@click.argument("name")
@click.argument("artifact")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it there instead."
)
def artifact(name: str, artifact: str, output: Path | None) -> None:
    """Print the newest content of ARTIFACT, which is a goal, an input or what was attached.

    \b
    Examples:
      ai-agent project artifact library-study overview
      ai-agent project artifact library-study overview --output overview.md
    """
    from celery_app.cli.system import open_client

    content = open_client().project(name).artifact(artifact)
    if output is None:
        sys.stdout.buffer.write(content)
        if sys.stdout.isatty():
            click.echo()
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise click.BadParameter(f"{output} cannot be written: {error.strerror}") from error


@click.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--as", "title", metavar="ARTIFACT", help="Its name; by default that of the file.")
@options.as_json
def attach(name: str, file: Path, title: str | None, as_json: bool) -> None:
    """Keep FILE as an artifact of a project: a text, JSON, a table, an image, or any file.

    \b
    Example:
      ai-agent project attach library-study floor-plan.png
    """
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import open_client

    kept = open_client().project(name).add_artifact(file, title)
    if as_json:
        print_json(kept.model_dump(mode="json"))
    else:
        click.echo(f"{kept.name} is kept: {kept.type}, {kept.size} bytes, sha256 {kept.sha256}")
