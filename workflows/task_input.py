"""Text files as inputs of tasks."""

from __future__ import annotations

from pathlib import Path

from workflows.errors import InvalidTask
from workflows.task import TaskInput
from workflows.text_file import read_text

__all__ = ["as_input", "read_input"]


def read_input(path: Path) -> TaskInput:
    """Read a text file as an input, named after the file.

    Raises:
        InvalidTask: It is missing, unreadable, no text, empty or larger than a million bytes.
    """
    try:
        text = read_text(path)
    except ValueError as error:
        raise InvalidTask(f"input {path} {error}") from error
    if "\0" in text or not text.strip():
        raise InvalidTask(f"input {path} is {'binary' if text else 'empty'}; give a text file")
    return TaskInput(name=path.name, text=text)


def as_input(given: TaskInput | Path | str) -> TaskInput:
    """Return what was given as an input; of a path the file. Raises as `read_input`."""
    return given if isinstance(given, TaskInput) else read_input(Path(given))
