"""Suites as YAML: a file to `TestSuite`, with every problem told at once.

Invariant: `read_suite` gives a suite or raises `InvalidSuite` with file and line, whatever the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from celery_app.testing.results import InvalidSuite
from celery_app.testing.suite import Part, TestCase, TestCheck, TestStep, TestSuite
from workflows.problem import Problem, nearest, shown
from workflows.schemas import schema_fault
from workflows.source import Source
from workflows.text_file import read_text

__all__ = ["SUFFIX", "find_suites", "read_suite", "schema"]

SUFFIX = ".agenttest.yaml"

_KEYS: dict[str, type[BaseModel]] = {"cases": TestCase, "steps": TestStep, "checks": TestCheck}


def find_suites(paths: Iterable[Path]) -> list[Path]:
    """Return the suites that are given, and those in the folders that are given.

    Raises:
        InvalidSuite: A path is not there, or holds no suite.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not inside or not path.exists():
            text = f"there is no *{SUFFIX} in it" if path.is_dir() else "there is no such file"
            raise InvalidSuite([Problem(str(path), 0, "", f"{text}: correct the path")])
        found += inside
    return list(dict.fromkeys(found))


def read_suite(path: Path) -> TestSuite:
    """Read a suite. Raises `InvalidSuite` with all that is wrong with it."""
    try:
        text = read_text(path)
    except ValueError as error:
        raise InvalidSuite([Problem(str(path), 0, "", f"it {error}")]) from error
    source = Source.read(text, str(path))
    if not source.problems and not isinstance(source.values, dict):
        said = "it is empty" if source.values is None else f"it is {shown(source.values, 40)}"
        source.problems.append(Problem(str(path), 1, "", f"{said}: write keys, name and cases"))
    if source.problems:
        raise InvalidSuite(source.problems)
    try:
        suite = TestSuite.model_validate(source.values, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidSuite(_problems(error, source)) from error
    if faults := list(_faulty_schemas(suite, source)):
        raise InvalidSuite(faults)
    return suite.written_at(path, source.lines)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a suite's file, for editors."""
    described = TestSuite.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def _problems(error: ValidationError, source: Source) -> list[Problem]:
    found = [_problem(detail, source) for detail in error.errors(include_url=False)]
    unlike = {(each.line, each.text): each for each in found}
    return sorted(unlike.values(), key=lambda problem: problem.line)


def _problem(detail: ErrorDetails, source: Source) -> Problem:
    path = _as_written(detail["loc"], source.values)
    key = path[-1] if path else "it"
    if detail["type"] == "missing":
        text = f"{detail['loc'][-1]} is missing: add it"
    elif detail["type"] == "extra_forbidden":
        known = _known_keys(path)
        text = f"{key} is no known key: {nearest(str(key), known)}"
    else:
        said = detail["msg"].removeprefix("Value error, ").replace("Input should", "it must")
        value = detail["input"]
        text = said if isinstance(value, dict) else f"{key} is {shown(value)}: {said}"
    return Problem(source.file, source.line(path), "", f"{_words(path, source.values)}{text}")


def _as_written(loc: tuple[str | int, ...], values: Any) -> Part:
    """Return the way to what a complaint is about; the names of a union's branches are no keys."""
    path: Part = ()
    for part in loc:
        inside = isinstance(values, dict) and part in values
        if inside or (isinstance(values, list) and isinstance(part, int) and part < len(values)):
            values = values[part]
            path = (*path, part)
    return path


def _known_keys(path: Part) -> list[str]:
    kinds = [part for part in path[:-1] if part in _KEYS]
    model: type[BaseModel] = _KEYS[str(kinds[-1])] if kinds else TestSuite
    return [field.alias or name for name, field in model.model_fields.items()]


def _words(path: Part, values: Any) -> str:
    """Return which case, and which step or check of it, a way leads through."""
    if len(path) < 2 or path[0] != "cases":
        return ""
    case = values["cases"][path[1]]
    name = case.get("name") if isinstance(case, dict) else None
    words = f"case {name or f'#{int(path[1]) + 1}'}: "
    if len(path) > 3 and path[2] in ("steps", "checks"):
        words += f"{str(path[2])[:-1]} {int(path[3]) + 1}: "
    return words


def _faulty_schemas(suite: TestSuite, source: Source) -> Iterable[Problem]:
    for number, case in enumerate(suite.test_cases):
        steps = [(("steps", n, "output"), step.output) for n, step in enumerate(case.steps)]
        checks = [(("checks", n, "schema"), check.schema_) for n, check in enumerate(case.checks)]
        for part, given in [*steps, *checks]:
            if given is not None and (fault := schema_fault(given)):
                path: Part = ("cases", number, *part)
                words = _words(path, source.values)
                yield Problem(source.file, source.line(path), "", f"{words}{fault}")
