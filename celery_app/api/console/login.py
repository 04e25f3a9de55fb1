"""/console/login: a token is pasted, and kept by the browser until the session ends."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from celery_app.api.asking import admit
from celery_app.api.console import cookies
from celery_app.api.console.rendering import page, see
from celery_app.security.guard import TokenRefused

__all__ = ["enter", "leave", "show"]


async def show(request: Request, next: str = "/") -> Response:  # noqa: A002 - a word in addresses
    """Ask for a token."""
    return page(request, "login.html", next=_own(next), error=None)


async def enter(
    request: Request,
    token: Annotated[str, Form(max_length=500)] = "",
    next: Annotated[str, Form()] = "/",  # noqa: A002
) -> Response:
    """Let the holder of a token in, or say why not."""
    _, desk = request.app.state.desks.of_holder(token.strip())
    try:
        await run_in_threadpool(admit, desk.permissions)
    except TokenRefused as refused:
        return page(request, "login.html", 401, next=_own(next), error=str(refused))
    response = see(_own(next))
    cookies.open_session(request, response, token.strip())
    return response


async def leave() -> Response:
    """Forget the token."""
    response = see("/console/login", "logged-out")
    cookies.close_session(response)
    return response


def _own(address: str) -> str:
    """Return an address of the console; another one is nobody's business here."""
    inside = address.startswith("/") and address.isprintable() and address[1:2] not in ("/", "\\")
    return address if inside else "/"
