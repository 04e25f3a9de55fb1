"""`ai-agent init`: a new folder with one of everything, which works as it stands.

Invariant: no file that is there is written over; either all files are new or nothing is made.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from celery_app.cli import options

__all__ = ["init"]


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@options.as_json
def init(folder: Path, as_json: bool) -> None:
    """Make FOLDER with settings, an agent, a workflow, Celery tasks and a test to begin with.

    It has embedded servers of its own, with their data in FOLDER/.ai-agent, and commands that are run
    in it read its config/system.yaml.

    \b
    Example:
      ai-agent init garden && cd garden && ai-agent workflow run digest
    """
    from celery_app.cli.screen import print_json

    files = _files(folder)
    standing = [path for path in files if path.exists()]
    if standing:
        raise click.BadParameter(
            f"{standing[0]} is there already: name a folder without it", param_hint="FOLDER"
        )
    try:
        for path, source in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read_bytes())
        (folder / ".ai-agent").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(
            f"{folder} cannot be written ({error.strerror})", param_hint="FOLDER"
        ) from error
    if as_json:
        print_json([str(path) for path in files])
        return
    for path in files:
        click.echo(path)
    click.echo(f"now: cd {folder} && ai-agent workflow run digest", err=True)


def _files(folder: Path) -> dict[Path, Traversable]:
    """Return what is to be written where."""
    template = resources.files("celery_app.cli") / "project_template"
    found: dict[Path, Traversable] = {}

    def look(into: Traversable, path: Path) -> None:
        for entry in sorted(into.iterdir(), key=lambda each: each.name):
            # A `.gitignore` here would be one of this repository.
            name = ".gitignore" if entry.name == "gitignore" else entry.name
            if entry.is_dir():
                if name != "__pycache__":
                    look(entry, path / name)
            else:
                found[path / name] = entry

    look(template, folder)
    return found
