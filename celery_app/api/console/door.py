"""Who may see a page, and what they see who may not.

Invariants
  * No page reaches a desk but by this way, and by it nobody gets another desk than the API would give.
  * What a form asks for is done only if a page of this console sent it.
  * Every error is a page that says what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from celery_app.api.asking import admit
from celery_app.api.console import cookies
from celery_app.api.console.rendering import page, see
from celery_app.api.problems import Refusal, invalid_words, status_of
from celery_app.errors import AgentSystemError
from celery_app.local_desk import LocalDesk
from celery_app.redaction import redacted

__all__ = ["OpenPage", "PageRoute", "refused"]

logger = logging.getLogger(__name__)

LOGIN = "/console/login"
_HEADLINES = {
    401: "Who are you?",
    403: "This is not for you",
    404: "There is nothing here",
    409: "Not in its present state",
    422: "Something is wrong with what was sent",
    429: "Too many requests",
    503: "A server does not answer",
}

Answer = Callable[[Request], Awaitable[Response]]


class OpenPage(APIRoute):
    """A page for everybody."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                if request.method == "POST":
                    await _require_own_form(request)
                return await self.admitted(request, answer)
            except Exception as error:
                return refused(request, error)

        return handle

    async def admitted(self, request: Request, answer: Answer) -> Response:
        """Answer, once whoever asks may come in."""
        await request.app.state.rates.count(f"door:{request.client.host if request.client else ''}")
        return await answer(request)


class PageRoute(OpenPage):
    """A page for those who are known."""

    async def admitted(self, request: Request, answer: Answer) -> Response:
        """Answer, once whoever asks may come in."""
        subject, desk = _visitor(request)
        request.state.desk = desk
        await request.app.state.rates.count(subject)
        await run_in_threadpool(admit, desk.permissions)
        request.state.visitor = await run_in_threadpool(lambda: desk.permissions.name)
        return await answer(request)


def refused(request: Request, error: Exception) -> Response:
    """Return the page that an error is; who is not known is shown the way in."""
    status, words = _told(error)
    if status == 401 and "text/event-stream" not in request.headers.get("accept", ""):
        return _to_the_login(request)
    headline = _HEADLINES.get(status, "It did not work")
    return page(
        request, "refused.html", status, headline=headline, words=redacted(words), number=status
    )


def _told(error: Exception) -> tuple[int, str]:
    if isinstance(error, RequestValidationError):
        return 422, invalid_words(error)
    if isinstance(error, Refusal):
        return error.status, str(error)
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    status = status_of(error) if isinstance(error, AgentSystemError) else 500
    if status != 500:
        return status, str(error)
    logger.error("a page failed", exc_info=error)
    return 500, "something unexpected happened; the log of the API says what"


def _visitor(request: Request) -> tuple[str, LocalDesk]:
    token = cookies.token_of(request)
    found: tuple[str, LocalDesk] = (
        request.app.state.desks.of(request)
        if token is None
        else request.app.state.desks.of_holder(token)
    )
    return found


def _to_the_login(request: Request) -> Response:
    if cookies.token_of(request) is not None:
        response = see(LOGIN, "refused")
        cookies.close_session(response)
        return response
    back = request.url.path if request.method == "GET" else "/"
    return see(f"{LOGIN}?next={quote(back)}" if back != "/" else LOGIN)


async def _require_own_form(request: Request) -> None:
    # How large all of it may be the gate says; read here, it is not read again.
    form = await request.form(max_part_size=request.app.state.settings.api.largest_body)
    given = form.get(cookies.FORM_FIELD, "")
    cookies.require_own(request, given if isinstance(given, str) else "")
