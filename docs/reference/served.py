"""What the system serves, for the reference: the addresses of the API, and the metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery_app.api.app import make_app
from celery_app.observe.families import FAMILIES
from docs.reference.tables import MADE, Schema, cell, keys, type_of

__all__ = ["api", "metrics"]

_METHODS = ("get", "post", "put", "patch", "delete")


def api() -> Iterator[str]:
    """Yield the page of the API."""
    document = make_app().openapi()
    schemas = document["components"]["schemas"]
    whole = {"$defs": schemas, "linked": True}
    yield f"# Addresses of the API\n\n{MADE}\n"
    yield "What the API does is told in [api.md](../api.md); `/openapi.json` says the same as this page,\n"
    yield "with examples and with every error. Errors are [Problem](#problem) documents.\n"
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                yield from _operation(f"{method.upper()} {path}", operations[method], whole)
    for name, each in sorted(schemas.items()):
        if "properties" in each:
            yield from keys(name, each, whole)


def metrics() -> Iterator[str]:
    """Yield the page of the metrics."""
    yield f"# Metrics\n\n{MADE}\n"
    yield "What `/metrics` gives to Prometheus; [metrics.md](../metrics.md) tells how they are taken.\n"
    yield "\n| metric | kind | labels | meaning |\n|---|---|---|---|\n"
    for each in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        yield f"| `{each.name}` | {each.kind} | {labels} | {cell(each.help)} |\n"


def _operation(title: str, operation: dict[str, Any], whole: Schema) -> Iterator[str]:
    yield f"\n## {title}\n\n{operation['description']}\n"
    parameters = operation.get("parameters", ())
    if parameters:
        yield "\n| parameter | in | type |\n|---|---|---|\n"
    for each in parameters:
        needed = ", required" if each.get("required") else ""
        kind = cell(type_of(each["schema"], whole))
        yield f"| `{each['name']}` | {each['in']}{needed} | {kind} |\n"
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"\nBody (`{media}`): {type_of(body.get('schema', {}), whole)}.\n"
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            kinds = [
                f"`{media}`: {type_of(each.get('schema', {}), whole)}"
                for media, each in answer.get("content", {}).items()
            ]
            yield f"\nAnswers {status}{', ' if kinds else ''}{', '.join(kinds)}.\n"
