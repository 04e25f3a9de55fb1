"""`ai-agent project timeline`: a plan in time, as a chart in the terminal, Mermaid, SVG or JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from workflows.timeline import Timeline

__all__ = ["timeline"]


@click.command()
@click.argument("name")
@click.option("--mermaid", "as_mermaid", is_flag=True, help="Print a Gantt diagram in Mermaid.")
@click.option(
    "--svg",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a picture.",
)
@options.as_json
def timeline(name: str, as_mermaid: bool, svg: Path | None, as_json: bool) -> None:
    """Draw the timeline of a project: what is done, what the end waits for, when it is likely to be done.

    Estimates begin with what is known of each agent and follow what is measured. Of many likely
    courses, half end by P50 and nine of ten by P90; a deadline that too many of them miss is at risk.

    \b
    Examples:
      ai-agent project timeline library-study
      ai-agent project timeline library-study --mermaid
      ai-agent project timeline library-study --svg timeline.svg
    """
    from celery_app.cli.screen import print_json
    from celery_app.cli.system import open_client
    from workflows.gantt import mermaid
    from workflows.gantt_svg import gantt_svg

    found = open_client().project(name).timeline
    if svg is not None:
        _write(svg, gantt_svg(found, name))
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif as_mermaid:
        click.echo(mermaid(found, name), nl=False)
    elif svg is None:
        _draw(found)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be written: {error.strerror}") from error


def _draw(found: Timeline) -> None:
    from rich.console import Console

    from celery_app.cli.project_chart import chart

    # Where nobody looks, the width is always the same.
    width = None if sys.stdout.isatty() else 110
    console = Console(width=width, highlight=False)
    for line in chart(found, console.width):
        console.print(line, no_wrap=True, overflow="crop", soft_wrap=not sys.stdout.isatty())
