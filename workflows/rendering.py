"""Templates of sections: facts in, Markdown out, and nothing else.

Invariant: a template that asks for what is not there is an error, never a gap; whatever stands in facts
stays text: it ends no table, line or code.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from importlib import resources
from typing import Any

from jinja2 import FunctionLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from workflows.code_map import read_module
from workflows.document import Source

__all__ = ["render", "template_digest"]

_TICKS = re.compile(r"`+")


def render(template: str, sources: Mapping[str, Source]) -> str:
    """Return what a template makes of sources.

    ``facts:NAME`` is the variable NAME, a ``module:NAME`` the variable `module`, any other `text`.
    """
    return _environment().get_template(template).render(_variables(sources)).strip("\n")


@functools.cache
def template_digest(template: str) -> str:
    """Return what tells whether a template has changed."""
    return hashlib.sha256(_text(template).encode()).hexdigest()


def _text(template: str) -> str:
    return (resources.files("workflows") / "templates" / f"{template}.md").read_text("utf-8")


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(_text),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters |= {
        "cell": _cell,
        "clock": lambda text: _at(text, "%H:%M"),
        "code": _code,
        "counted": _counted,
        "block": _block,
        "day": lambda text: _at(text, "%Y-%m-%d"),
        "line": _line,
        "moment": lambda text: _at(text, "%Y-%m-%d %H:%M"),
    }
    return environment


def _variables(sources: Mapping[str, Source]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for source in sources.values():
        kind, _, name = source.name.partition(":")
        if kind == "module":
            found["module"] = read_module(name, source.text)
        elif kind != "facts":
            found["text"] = source.text
        else:
            found[name] = json.loads(source.text)
    return found


def _line(text: Any) -> str:
    return " ".join(str(text).split())


def _cell(text: Any) -> str:
    return _line(text).replace("|", "\\|")


def _code(text: str) -> str:
    """Return text as code on one line, whatever backticks are in it."""
    longest = max((len(found) for found in _TICKS.findall(text)), default=0)
    fence = "`" * (longest + 1)
    room = " " if longest else ""
    return f"{fence}{room}{_line(text)}{room}{fence}"


def _block(text: str, most: int) -> str:
    """Return the beginning of a text as a block of code, which nothing in it ends."""
    shown = text if len(text) <= most else f"{text[:most]}…"
    return "\n".join(f"    {line}".rstrip() for line in shown.strip().splitlines())


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _at(text: str | None, form: str) -> str:
    return "" if text is None else datetime.fromisoformat(text).strftime(form)
