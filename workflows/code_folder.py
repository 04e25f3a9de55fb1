"""A folder of code as sources of documents: its modules, its other files, and who imports whom.

Pure: the files are given as texts. Modules stand for themselves; what several sections need of all of them
(a table, a picture) is a fact that changes only when that part of them does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workflows.code_map import Module, first_sentence, module_name, read_module
from workflows.document import Source
from workflows.facts import fact

__all__ = ["code_sources"]

#: Modules that are drawn one by one; of more, packages are.
MOST_DRAWN = 60

_COMMENT = re.compile(r"^\s*(?:#+|//|--|;)\s?(?P<text>.*\S)", re.MULTILINE)
_MARKUP = (".md", ".rst", ".txt")


def code_sources(files: Mapping[str, str], package: str = "") -> Iterable[Source]:
    """Yield what documents may be made of a folder.

    Args:
        files: Their texts, by their paths as seen from the folder.
        package: What the folder is imported as, if it is a package.
    """
    modules: list[Module] = []
    others: list[dict[str, Any]] = []
    for path, text in sorted(files.items()):
        name = module_name(path, package) if path.endswith(".py") else None
        if name is None:
            others.append(_other(path, text))
            yield Source(name=f"file:{path}", text=text)
        else:
            modules.append(read_module(name, text, is_package=path.endswith("__init__.py")))
            yield Source(name=f"module:{name}", text=text)
    yield fact("parts", [_part(module) for module in modules])
    yield fact("imports", _picture(modules))
    yield fact("files", others)
    says = [module.says for module in modules if module.says]
    yield Source(name="text:docstrings", text="\n\n".join(dict.fromkeys(says)))


def _part(module: Module) -> dict[str, Any]:
    return {
        "name": module.name,
        "lines": module.lines,
        "says": module.says,
        "fault": module.fault,
        "classes": len(module.classes),
        "functions": len(module.functions),
    }


def _other(path: str, text: str) -> dict[str, Any]:
    if path.endswith(_MARKUP):
        lines = [line.strip() for line in text.splitlines()]
        says = next((line.strip("# ") for line in lines if line.strip("#=- ")), "")
    else:
        found = _COMMENT.match(text)
        says = found["text"] if found else ""
    return {"path": path, "lines": len(text.splitlines()), "says": first_sentence(says)}


def _picture(modules: Sequence[Module]) -> dict[str, Any]:
    """Return the nodes of the picture and its edges, as pairs of their numbers."""
    known = [module.name for module in modules]
    packages = {name: _package(name, known) for name in known}
    grouped = len(known) > MOST_DRAWN and len(set(packages.values())) > 1
    drawn = packages if grouped else {name: name for name in known}
    pairs = {
        (drawn[module.name], drawn[other])
        for module in modules
        for other in module.imported_from(known)
    }
    nodes = sorted(set(drawn.values()))
    numbers = {node: number for number, node in enumerate(nodes)}
    edges = sorted((numbers[one], numbers[other]) for one, other in pairs if one != other)
    return {"nodes": nodes, "edges": edges, "grouped": grouped}


def _package(name: str, known: Sequence[str]) -> str:
    """Return the package that a module is drawn as: itself where it is one, else the one above."""
    inside = any(other.startswith(f"{name}.") for other in known)
    return name if inside else name.rpartition(".")[0] or name
