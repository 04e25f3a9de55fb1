"""The form of an answer that a task types itself, by the JSON schema of its `output`.

Every schema travels inside an object with the one key `answer`: small models write a bare string or
number much worse, servers that ignore schemas can be read too, and a schema may refer to its root.

Invariant: a value that is read fits the task's own schema, whatever the server made of it.
"""

from __future__ import annotations

from typing import Any

from agents.answers import Form
from workflows.schemas import mismatch

__all__ = ["output_form"]

_KEY = "answer"


def output_form(schema: dict[str, Any]) -> Form[Any]:
    """Return the form of answers whose value is as a sound JSON schema says."""

    def read(data: Any) -> Any:
        if not isinstance(data, dict) or _KEY not in data:
            raise ValueError(f'it is not a JSON object with the key "{_KEY}"')
        if why := mismatch(data[_KEY], schema):
            raise ValueError(why)
        return data[_KEY]

    wrapped = {
        "type": "object",
        "properties": {_KEY: _moved(schema)},
        "required": [_KEY],
        "additionalProperties": False,
    }
    return Form(wrapped, read)


def _moved(value: Any) -> Any:
    """Return a part of the schema with its references as they are from inside the object."""
    if isinstance(value, list):
        return [_moved(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    moved = {key: _moved(inner) for key, inner in value.items()}
    reference = value.get("$ref")
    if reference == "#" or (isinstance(reference, str) and reference.startswith("#/")):
        moved["$ref"] = f"#/properties/{_KEY}{reference[1:]}"
    return moved
