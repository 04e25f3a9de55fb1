"""Every error of the API as one kind of document: `application/problem+json` (RFC 9457).

Invariants
  * There is one way out for errors; no route makes its own.
  * An error of ours keeps its class's name (`kind`) and exit code, so that a client can raise it again.
  * What nobody expected tells the caller nothing of its inside; it is logged.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from celery_app.errors import (
    AgentSystemError,
    PermissionDenied,
    UnknownAlert,
    UnknownArtifact,
    UnknownDocument,
    UnknownProject,
    UnknownTask,
)
from celery_app.redaction import redacted
from celery_app.security.guard import TokenRefused
from workflows.errors import IllegalTransition, InvalidWorkflow
from workflows.problem import shown

__all__ = [
    "MEDIA",
    "Refusal",
    "answer_errors",
    "invalid_words",
    "problem",
    "status_of",
    "unexpected",
]

logger = logging.getLogger(__name__)

MEDIA = "application/problem+json"

_UNKNOWN = (UnknownAlert, UnknownArtifact, UnknownDocument, UnknownProject, UnknownTask)
#: The first that an error is an instance of decides; else its exit code does.
_BY_KIND: tuple[tuple[type[AgentSystemError], int], ...] = (
    (TokenRefused, 401),
    (PermissionDenied, 403),
    *((unknown, 404) for unknown in _UNKNOWN),
    (IllegalTransition, 409),
)
_BY_EXIT_CODE = {2: 422, 3: 403, 4: 503}
_MOST_FAULTS = 20


class Refusal(Exception):
    """The API itself refuses a request, before anything of the system is asked.

    Args:
        status: The status of the response.
        kind: A word for programs.
        detail: One sentence that says what to do.
        headers: Of the response.
    """

    def __init__(
        self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})


def problem(
    status: int,
    kind: str,
    detail: str,
    *,
    exit_code: int = 1,
    errors: Sequence[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the document of an error."""
    document: dict[str, Any] = {
        "type": f"urn:ai-agent:problem:{kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "kind": kind,
        "exit_code": exit_code,
        "detail": redacted(detail),
    }
    if errors:
        document["errors"] = list(errors)
    # Half of a surrogate pair in somebody's words must not make an error of the error.
    body = json.dumps(document)
    return Response(body, status, dict(headers or {}), media_type=MEDIA)


def status_of(error: AgentSystemError) -> int:
    """Return the status that an error of ours has on HTTP."""
    for kind, status in _BY_KIND:
        if isinstance(error, kind):
            return status
    return _BY_EXIT_CODE.get(error.exit_code, 500)


def unexpected(error: Exception) -> Response:
    """Return what is told of an error that nobody expected, and log it."""
    logger.error("the API failed", exc_info=error)
    words = "something unexpected happened; the log of the API says what"
    return problem(500, type(error).__name__, words)


def answer_errors(app: FastAPI) -> None:
    """Give an app its one way out for errors."""
    app.add_exception_handler(AgentSystemError, _of_ours)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_the_framework)


async def _of_ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, AgentSystemError)
    status = status_of(error)
    if status == 500:
        logger.error("the API failed: %s", error, exc_info=error)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "2"}}.get(status, {})
    return problem(
        status,
        type(error).__name__,
        str(error),
        exit_code=error.exit_code,
        errors=_problems(error),
        headers=headers,
    )


def _problems(error: AgentSystemError) -> list[dict[str, Any]]:
    if not isinstance(error, InvalidWorkflow):
        return []
    return [{**vars(each), "message": str(each)} for each in error.problems]


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    exit_code = 3 if error.status in (401, 403) else 2
    return problem(error.status, error.kind, str(error), exit_code=exit_code, headers=error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [_fault(fault) for fault in error.errors()[:_MOST_FAULTS]]
    return problem(422, "InvalidRequest", invalid_words(error), exit_code=2, errors=faults)


def invalid_words(error: RequestValidationError) -> str:
    """Return in one sentence the first thing that is wrong with a request."""
    first = error.errors()[0]
    given = "" if isinstance(first.get("input"), dict) else f" {shown(first.get('input'))}"
    fault = _fault(first)
    return f"{fault['place']}{given}: {fault['message']}"


def _fault(fault: Mapping[str, Any]) -> dict[str, str]:
    return {
        "place": ".".join(str(part)[:60] for part in fault["loc"]),
        "message": fault["msg"].removeprefix("Value error, "),
    }


async def _of_the_framework(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = "".join(HTTPStatus(error.status_code).phrase.split())
    words = {404: "there is nothing here: /openapi.json lists all routes"}
    detail = words.get(error.status_code, str(error.detail))
    return problem(error.status_code, kind, detail, exit_code=2, headers=error.headers)
