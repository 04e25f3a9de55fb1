"""The OpenAPI document: what the framework knows of the routes, and what it cannot know.

Invariant: every status that a route may answer with stands in it, and every error is a `Problem`.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from celery_app.api import artifacts, problems, streams
from celery_app.api.replies import Problem
from celery_app.api.routes import EVENTS, MEDIA, PUBLIC, ROUTES, Address

__all__ = ["describe"]

_WORDS = {
    "401": "No token, or one that lets nobody in.",
    "403": "The policy does not allow it.",
    "404": "There is no such thing.",
    "409": "It cannot be done in the present state.",
    "413": "The body is too large.",
    "422": "Something is wrong with what was sent; `detail` says where and what.",
    "429": "Too many requests; Retry-After says when to ask again.",
    "503": "A server that is needed does not answer.",
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for address in (*PUBLIC, *ROUTES):
            _complete(document["paths"][address.path][address.method.lower()], address)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(operation: dict[str, Any], address: Address) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    if "security" in operation:
        # The user of this machine may ask without a token, where the servers are embedded.
        operation["security"].append({})
    for status in _errors_of(address):
        if status not in responses:
            schema = {"$ref": "#/components/schemas/Problem"}
            content = {problems.MEDIA: {"schema": schema}}
            responses[status] = {"description": _WORDS[status], "content": content}
    if address.path in EVENTS and address.method == "GET":
        content = responses["200"].setdefault("content", {})
        content[streams.MEDIA] = {"schema": {"type": "string"}}
        if "{" in address.path:
            responses["204"] = {"description": "The run is over, and nothing is left to tell."}
        if address.path == "/events":
            content.pop("application/json", None)
    if address.path in MEDIA and address.method == "GET":
        known = responses["200"].get("content", {}) if address.gives else {}
        responses["200"]["content"] = {
            media: known.get(media, {"schema": {"type": "string"}}) for media in MEDIA[address.path]
        }
    if address.answer is artifacts.add_artifact:
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"content": content}
    if address.method == "GET" and address not in PUBLIC:
        responses["304"] = {"description": "It is as the caller has it (`If-None-Match`)."}


def _errors_of(address: Address) -> list[str]:
    if address.path in ("/healthz", "/readyz"):
        return []
    found = ["401", "403", "422", "429", "503"]
    if "{" in address.path:
        found.append("404")
    if address.method != "GET":
        found += ["404", "409", "413"]
    return sorted(set(found))
