"""Tables of the reference: what keys there are, and what may stand behind them.

A schema is JSON Schema; where its whole says `linked`, names of parts lead to their tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["MADE", "Schema", "cell", "keys", "type_of"]

MADE = "<!-- Made by `make docs` from the code; do not write here. -->\n"

Schema = Mapping[str, Any]


def keys(title: str, described: Schema, whole: Schema) -> Iterator[str]:
    """Yield a section about the keys of an object."""
    yield f"\n## {title}\n"
    if words := described.get("description"):
        yield f"\n{words}\n"
    yield "\n| key | type | default |\n|---|---|---|\n"
    needed = described.get("required", ())
    for name, each in described["properties"].items():
        default = f"`{json.dumps(each['default'])}`" if "default" in each else ""
        default = "required" if name in needed else default
        yield f"| `{name}` | {cell(type_of(each, whole))} | {cell(default)} |\n"


def type_of(described: Schema, whole: Schema) -> str:
    """Return what a value may be, in few words."""
    if "$ref" in described:
        name = described["$ref"].rsplit("/", 1)[-1]
        found = whole["$defs"][name]
        if "properties" not in found:
            return type_of(found, whole)
        return f"[{name}](#{name.lower()})" if whole.get("linked") else name
    if "enum" in described or "const" in described:
        choices = described.get("enum") or [described["const"]]
        return ", ".join(f"`{choice}`" for choice in choices)
    several = described.get("anyOf") or described.get("oneOf")
    if several:
        return " or ".join(dict.fromkeys(type_of(each, whole) for each in several))
    return _plain_type(described, whole)


def _plain_type(described: Schema, whole: Schema) -> str:
    kind = str(described.get("type", "any value"))
    if kind == "array":
        return f"list of {type_of(described.get('items', {}), whole)}"
    if kind == "object" and isinstance(described.get("additionalProperties"), dict):
        return f"keys with {type_of(described['additionalProperties'], whole)}"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {described[name]:g}" for name, sign in bounds.items() if name in described]
    return " ".join([{"null": "nothing", "object": "keys"}.get(kind, kind), *limits])


def cell(text: str) -> str:
    """Return a text as it stands in a cell."""
    return " ".join(text.split()).replace("|", "\\|")
