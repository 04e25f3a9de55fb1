"""Reading a graph of tasks from a JSON or YAML file.

Invariant: whatever is wrong with the file is told with its name and the place in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from celery_app.cli.options import JsonObject
from workflows.errors import InvalidTask

__all__ = ["read_graph"]


def read_graph(path: Path) -> list[JsonObject]:
    """Return the tasks of a graph file, each a mapping; their fields are not looked at here.

    Raises:
        InvalidTask: It cannot be read, or is no list of mappings.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidTask(f"{path} cannot be read: {error}") from error
    tasks = _parse_json(path, text) if path.suffix == ".json" else _parse_yaml(path, text)
    if not isinstance(tasks, list) or not tasks:
        raise InvalidTask(
            f"{path}: a list of tasks is expected, and this is {type(tasks).__name__};"
            ' write [{"id": ..., "description": ..., "dependencies": []}, ...]'
        )
    for index, task in enumerate(tasks):
        if not isinstance(task, dict):
            raise InvalidTask(
                f"{path}: tasks[{index}] is {task!r:.60}; write a mapping with id and description"
            )
    return tasks


def _parse_json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidTask(
            f"{path}:{error.lineno}:{error.colno}: this is not JSON: {error.msg}"
        ) from error


def _parse_yaml(path: Path, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise InvalidTask(f"{place}: this is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise InvalidTask(f"{path}: this is not YAML: {error}") from error
