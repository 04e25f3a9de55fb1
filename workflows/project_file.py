"""Projects as YAML: text to `ProjectSpec`, with every problem and its line.

Invariant: `load` gives a `ProjectSpec` or raises `InvalidProject`, whatever the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from workflows.definitions import WRITE, model_in
from workflows.errors import InvalidProject
from workflows.problem import Problem, nearest, shown
from workflows.project import ProjectSpec
from workflows.source import Source
from workflows.step_rules import Path

__all__ = ["load"]


def load(text: str, file: str = "project") -> ProjectSpec:
    """Return the project that YAML (or JSON) text describes; `file` stands for it in messages.

    Raises:
        InvalidProject: It has mistakes; all of them are told.
    """
    source = Source.read(text, file)
    if source.problems:
        raise _refused(source.problems)
    if not isinstance(source.values, dict):
        said = "it is empty" if source.values is None else f"it is {shown(source.values)}"
        words = f"{said}: write keys, at least name, description and goals"
        raise _refused([Problem(file, 1, "", words)])
    try:
        return ProjectSpec.model_validate(source.values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        raise _refused(sorted(_problems(source, details), key=_line)) from error


def _line(problem: Problem) -> int:
    return problem.line


def _refused(problems: list[Problem]) -> InvalidProject:
    return InvalidProject("\n".join(str(problem) for problem in problems), problems)


def _problems(source: Source, details: list[ErrorDetails]) -> Iterator[Problem]:
    for detail in details:
        path = detail["loc"]
        words = f"{_place(source, path)}{_words(detail)}"
        yield Problem(source.file, source.line(path), "", words)


def _words(detail: ErrorDetails) -> str:
    path = detail["loc"]
    key = ".".join(str(part) for part in path if not isinstance(part, int) and part != "goals")
    if detail["type"] == "extra_forbidden":
        return f"{path[-1]} is no known key: {nearest(str(path[-1]), _known(path))}"
    if detail["type"] == "missing":
        return f"{path[-1]} is missing: add it"
    said = detail["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    advice = WRITE.get(detail["type"], said[:1].lower() + said[1:])
    given = detail["input"]
    if not key or isinstance(given, dict | BaseModel):
        return f"{key}: {advice}" if key else advice
    return f"{key} is {shown(given)}: {advice}"


def _place(source: Source, path: Path) -> str:
    """Return which goal a path leads into, as the beginning of a sentence."""
    if len(path) < 2 or path[0] != "goals" or not isinstance(path[1], int):
        return ""
    goal: Any = source.values["goals"][path[1]]
    name = goal.get("name") if isinstance(goal, dict) else None
    return f"goal {name if isinstance(name, str) and name else f'#{path[1] + 1}'}: "


def _known(path: Path) -> list[str]:
    """Return the keys that are known where the one at the end of a path stands."""
    model: type[BaseModel] | None = ProjectSpec
    for part in path[:-1]:
        if isinstance(part, str) and model is not None:
            field = model.model_fields.get(part)
            model = None if field is None else model_in(field.annotation)
    return [] if model is None else list(model.model_fields)
