"""Text files as inputs of tasks."""

from __future__ import annotations

from pathlib import Path

from workflows.errors import InvalidTask
from workflows.task import TaskInput
from workflows.text_file import read_text, text_of

__all__ = ["as_input", "input_of", "read_input"]


def read_input(path: Path) -> TaskInput:
    """Read a text file as an input, named after the file.

    Raises:
        InvalidTask: It is missing, unreadable, no text, empty or larger than a million bytes.
    """
    try:
        text = read_text(path)
    except ValueError as error:
        raise InvalidTask(f"input {path} {error}") from error
    return _named(path.name, text, str(path))


def input_of(name: str, content: bytes) -> TaskInput:
    """Return the bytes of a text file as an input. Raises as `read_input`."""
    try:
        text = text_of(content)
    except ValueError as error:
        raise InvalidTask(f"input {name} {error}") from error
    return _named(name, text, name)


def _named(name: str, text: str, place: str) -> TaskInput:
    if "\0" in text or not text.strip():
        raise InvalidTask(
            f"input {place} is {'binary' if text.strip() else 'empty'}; give a text file"
        )
    return TaskInput(name=name, text=text)


def as_input(given: TaskInput | Path | str) -> TaskInput:
    """Return what was given as an input; of a path the file. Raises as `read_input`."""
    return given if isinstance(given, TaskInput) else read_input(Path(given))
