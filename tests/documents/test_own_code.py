"""What is written about this repository's own code is true: every name can be imported."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import workflows
from celery_app.orchestrator.documentation_manager import DocumentationManager
from tests.documents.conftest import Study

FOLDER = Path(workflows.__file__).parent
MODULES = sorted(
    "workflows" if path.name == "__init__.py" else f"workflows.{path.stem}"
    for path in FOLDER.glob("*.py")
)

_HEADING = re.compile(r"^## (workflows[\w.]*)$")
_CLASS = re.compile(r"^\*\*class\*\* `(\w+)")
_METHOD = re.compile(r"^- (?:(property|async|classmethod|staticmethod) )?`(\w+)")
_FUNCTION = re.compile(r"^(?:async )?\*\*function\*\* `(\w+)(\(.*)`")


@pytest.mark.usefixtures("worker")
def test_every_name_of_the_reference_exists(manager: DocumentationManager, study: Study) -> None:
    document = manager.generate(study.name, "api_reference", FOLDER, timeout=110)
    seen: dict[str, int] = {"module": 0, "class": 0, "method": 0, "function": 0}
    module: Any = None
    kind: Any = None
    for line in document.content.splitlines():
        if found := _HEADING.match(line):
            module = importlib.import_module(found[1])
            seen["module"] += 1
        elif found := _CLASS.match(line):
            kind = getattr(module, found[1])
            assert inspect.isclass(kind), line
            seen["class"] += 1
        elif found := _METHOD.match(line):
            assert hasattr(kind, found[2]), (kind, line)
            held = inspect.getattr_static(kind, found[2])
            is_property = isinstance(held, property | functools.cached_property)
            assert is_property == (found[1] == "property"), line
            seen["method"] += 1
        elif found := _FUNCTION.match(line):
            function = getattr(module, found[1])
            assert callable(function), line
            names = list(inspect.signature(function).parameters)
            assert all(name in found[2] for name in names), line
            seen["function"] += 1
    assert [line[3:] for line in document.content.splitlines() if _HEADING.match(line)] == MODULES
    assert seen["class"] > 50
    assert seen["method"] > 50
    assert seen["function"] > 50


def test_everything_public_stands_in_the_reference(
    manager: DocumentationManager, study: Study
) -> None:
    from workflows.code_map import read_module

    for name in MODULES:
        module = importlib.import_module(name)
        path = Path(inspect.getfile(module))
        read = read_module(name, path.read_text(), is_package=path.name == "__init__.py")
        named = {each.name for each in read.classes} | {each.name for each in read.functions}
        own = {
            key
            for key, value in vars(module).items()
            if not key.startswith("_")
            and callable(value)
            and getattr(value, "__module__", "") == name
            and hasattr(value, "__qualname__")
        }
        assert own == named, name


def test_the_picture_of_imports_is_that_of_the_code() -> None:
    import ast

    from agents.tools.folder import package_of, read_folder
    from workflows.code_map import module_name, read_module

    files = read_folder(FOLDER)
    assert package_of(FOLDER) == "workflows"
    known = set(MODULES) - {"workflows"}
    for path, text in files.items():
        if not path.endswith(".py"):
            continue
        name = module_name(path, "workflows")
        assert name is not None
        wanted = {
            node.module
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ImportFrom) and node.module in known
        }
        found = set(read_module(name, text).imported_from(known))
        assert found >= wanted - {name}
