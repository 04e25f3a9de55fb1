"""Reading a graph of tasks from a JSON or YAML file.

Invariant: whatever is wrong with the file is told with its name and the place in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from celery_app.cli.options import JsonObject
from workflows.errors import InvalidTask
from workflows.json_text import read_json
from workflows.problem import shown
from workflows.source import Source
from workflows.text_file import LONGEST_FILE, read_text

__all__ = ["LONGEST_GRAPH", "read_graph"]

#: Bytes of a file of tasks in JSON: some ten thousand of them. YAML takes far longer to read.
LONGEST_GRAPH = 16_000_000
_MOST_VALUES = 1_000_000


def read_graph(path: Path) -> list[JsonObject]:
    """Return the tasks of a graph file, each a mapping; their fields are not looked at here.

    Raises:
        InvalidTask: It cannot be read, or is no list of mappings.
    """
    try:
        text = read_text(path, LONGEST_GRAPH if path.suffix == ".json" else LONGEST_FILE)
    except ValueError as error:
        raise InvalidTask(f"{path} {error}") from error
    tasks = _parse_json(path, text) if path.suffix == ".json" else _parse_yaml(path, text)
    if not isinstance(tasks, list) or not tasks:
        raise InvalidTask(
            f"{path}: a list of tasks is expected, and this is {type(tasks).__name__};"
            ' write [{"id": ..., "description": ..., "dependencies": []}, ...]'
        )
    for index, task in enumerate(tasks):
        if not isinstance(task, dict):
            raise InvalidTask(
                f"{path}: tasks[{index}] is {shown(task)}; write a mapping with id and description"
            )
    return tasks


def _parse_json(path: Path, text: str) -> Any:
    try:
        return read_json(text)
    except json.JSONDecodeError as error:
        raise InvalidTask(
            f"{path}:{error.lineno}:{error.colno}: this is not JSON: {error.msg}"
        ) from error
    except ValueError as error:
        raise InvalidTask(f"{path}: {error}") from error


def _parse_yaml(path: Path, text: str) -> Any:
    source = Source.read(text, str(path), max_size=LONGEST_FILE, max_nodes=_MOST_VALUES)
    if source.problems:
        raise InvalidTask(str(source.problems[0]))
    return source.values
