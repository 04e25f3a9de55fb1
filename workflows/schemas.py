"""JSON schemas of inputs and answers: whether one is sound, and whether a value is as it says.

Invariant: jsonschema, which takes as long to import as all the rest of this package, is imported by the
first question (`schema_check`): most programs that hand in work never ask one.
"""

from __future__ import annotations

from typing import Any

__all__ = ["mismatch", "schema_fault"]


def schema_fault(schema: Any) -> str | None:
    """Return what is wrong with a JSON schema (draft 2020-12) in one sentence, or None."""
    from workflows import schema_check

    return schema_check.schema_fault(schema)


def mismatch(value: Any, schema: Any) -> str | None:
    """Return where and why `value` is not as the schema says, or None."""
    from workflows import schema_check

    return schema_check.mismatch(value, schema)
