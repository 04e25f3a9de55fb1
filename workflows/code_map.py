"""`Module`: what a Python file says of itself, read by `ast` and never run.

Invariant: every name that is given stands in the file and is to be had from it: functions and classes that
are public, methods that are public, with their signatures as they are written.
"""

from __future__ import annotations

import ast
import re
import threading
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Class", "Function", "Module", "first_sentence", "module_name", "read_module"]

# While it makes a tree, CPython counts its depth for all threads together, and so do warnings their filters.
_parsing = threading.Lock()

_SENTENCE = re.compile(r".+?[.!?](?=\s+[^\Wa-z]|\s*$)", re.DOTALL)
_LONGEST_SAYING = 300
_LONGEST_SIGNATURE = 240

Definition = ast.FunctionDef | ast.AsyncFunctionDef


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Function(_Frozen):
    """A function or a method: `kind` is async, property, classmethod, staticmethod or empty."""

    name: str
    signature: str
    says: str = ""
    kind: str = ""


class Class(_Frozen):
    """A class with its public methods."""

    name: str
    bases: list[str] = Field(default_factory=list)
    says: str = ""
    functions: list[Function] = Field(default_factory=list)


Named = TypeVar("Named", Class, Function)


class Module(_Frozen):
    """A Python file; `imports` are the modules and names it imports, in full. A `fault` is why it is none."""

    name: str
    lines: int
    says: str = ""
    imports: list[str] = Field(default_factory=list)
    classes: list[Class] = Field(default_factory=list)
    functions: list[Function] = Field(default_factory=list)
    fault: str = ""

    def imported_from(self, known: Collection[str]) -> list[str]:
        """Return which of the known modules it imports."""
        found = {one for name in self.imports if (one := _owner(name, known)) is not None}
        return sorted(found - {self.name})


def module_name(path: str, package: str = "") -> str | None:
    """Return what a file below a folder is imported as; None for a path that cannot be imported.

    Args:
        path: As seen from the folder, with slashes.
        package: What the folder itself is imported as, if it is a package.
    """
    parts = [*PurePosixPath(path).with_suffix("").parts]
    if parts[-1] == "__init__":
        parts.pop()
    parts = [*filter(None, package.split(".")), *parts]
    return ".".join(parts) if parts and all(part.isidentifier() for part in parts) else None


def read_module(name: str, text: str, *, is_package: bool = False) -> Module:
    """Read a module; what is not Python has a fault that says so."""
    lines = len(text.splitlines())
    try:
        tree = _parsed(text)
        return Module(
            name=name,
            lines=lines,
            says=first_sentence(ast.get_docstring(tree)),
            imports=_imports(tree, name if is_package else name.rpartition(".")[0]),
            classes=_only_last(_class(node) for node in _classes(tree.body)),
            functions=_only_last(_function(node) for node in _functions(tree.body)),
        )
    except SyntaxError as error:
        return Module(name=name, lines=lines, fault=f"line {error.lineno or 1}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return Module(name=name, lines=lines, fault=str(error) or type(error).__name__)


def _parsed(text: str) -> ast.Module:
    with _parsing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def first_sentence(text: str | None) -> str:
    """Return the first sentence of a text, on one line."""
    block = (text or "").strip().split("\n\n", 1)[0]
    words = " ".join(block.split())
    found = _SENTENCE.match(words)
    sentence = found[0] if found else words
    return sentence if len(sentence) <= _LONGEST_SAYING else f"{sentence[: _LONGEST_SAYING - 1]}…"


def _top(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield what a module or a class defines, also under `if` and `try`, but for type checkers only."""
    for node in body:
        if isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from _top([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _top([*node.body, *node.orelse, *node.finalbody])
        else:
            yield node


def _classes(body: Sequence[ast.stmt]) -> Iterator[ast.ClassDef]:
    return (node for node in _top(body) if isinstance(node, ast.ClassDef) and _public(node.name))


def _functions(body: Sequence[ast.stmt]) -> Iterator[Definition]:
    return (
        node
        for node in _top(body)
        if isinstance(node, Definition) and _public(node.name) and not _sets(node)
    )


def _sets(node: Definition) -> bool:
    return any(
        isinstance(mark, ast.Attribute) and mark.attr in ("setter", "deleter")
        for mark in node.decorator_list
    )


def _public(name: str) -> bool:
    return not name.startswith("_")


def _class(node: ast.ClassDef) -> Class:
    return Class(
        name=node.name,
        bases=[ast.unparse(base) for base in node.bases],
        says=first_sentence(ast.get_docstring(node)),
        functions=_only_last(_function(each) for each in _functions(node.body)),
    )


def _function(node: Definition) -> Function:
    marks = {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}
    kinds = ("property", "cached_property", "classmethod", "staticmethod")
    found = next((kind for kind in kinds if kind in marks), "")
    if not found and isinstance(node, ast.AsyncFunctionDef):
        found = "async"
    kind = found.removeprefix("cached_")
    return Function(
        name=node.name,
        signature=_returns(node) if kind == "property" else _signature(node),
        says=first_sentence(ast.get_docstring(node)),
        kind=kind,
    )


def _signature(node: Definition) -> str:
    written = f"({ast.unparse(node.args)}){_returns(node)}"
    if len(written) > _LONGEST_SIGNATURE:
        written = f"({', '.join(_argument_names(node.args))})"
    return " ".join(written.split())


def _returns(node: Definition) -> str:
    return f" -> {' '.join(ast.unparse(node.returns).split())}" if node.returns else ""


def _argument_names(args: ast.arguments) -> Iterator[str]:
    yield from (arg.arg for arg in [*args.posonlyargs, *args.args])
    if args.vararg:
        yield f"*{args.vararg.arg}"
    elif args.kwonlyargs:
        yield "*"
    yield from (arg.arg for arg in args.kwonlyargs)
    if args.kwarg:
        yield f"**{args.kwarg.arg}"


def _only_last(found: Iterator[Named]) -> list[Named]:
    """Of several definitions of a name (overloads, setters) keep the last, as Python does."""
    return list({each.name: each for each in found}.values())


def _imports(tree: ast.Module, package: str) -> list[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = _absolute(node, package)
            found.update(f"{start}.{alias.name}".strip(".") for alias in node.names)
    return sorted(found)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *filter(None, [node.module])])


def _owner(name: str, known: Collection[str]) -> str | None:
    """Return the module that an import takes a name from: itself, or what it stands in."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None
