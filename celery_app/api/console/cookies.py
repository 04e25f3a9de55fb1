"""The two cookies of the console: who is logged in, and which forms are its own.

Invariants
  * A session is the token that somebody pasted, sealed where there are keys, and for half a day. It is in no
    address, no script reads it, and no browser sends it along with a request that another site began.
  * Only pages of the console know its address: the API is reached by tokens alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from starlette.responses import Response

from celery_app import celery
from celery_app.api.problems import Refusal
from celery_app.errors import Unsealed

__all__ = [
    "FORM_FIELD",
    "close_session",
    "form_key",
    "keep",
    "open_session",
    "require_own",
    "token_of",
]

FORM_FIELD = "form_key"
_SESSION, _FORM = "ai_agent_session", "ai_agent_form"
_PLACE = "console.session"
_SECONDS = 12 * 3600


def open_session(request: Request, response: Response, token: str) -> None:
    """Let the browser keep a token."""
    session = json.dumps({"token": token, "until": time.time() + _SECONDS}).encode()
    sealed = base64.urlsafe_b64encode(celery.vault.seal(session, _PLACE)).decode()
    _set(request, response, _SESSION, sealed, _SECONDS)


def close_session(response: Response) -> None:
    """Let the browser forget the token."""
    response.delete_cookie(_SESSION, path="/", httponly=True, samesite="strict")


def token_of(request: Request) -> str | None:
    """Return the token of whoever is logged in; None if nobody is, or not any more."""
    kept = request.cookies.get(_SESSION)
    if kept is None:
        return None
    try:
        session: dict[str, Any] = json.loads(
            celery.vault.open(base64.urlsafe_b64decode(kept), _PLACE)
        )
        return str(session["token"]) if session["until"] > time.time() else None
    except (ValueError, TypeError, KeyError, binascii.Error, Unsealed):
        return None


def form_key(request: Request) -> str:
    """Return what the forms of a page have to bring back: what the browser has as a cookie."""
    known = request.cookies.get(_FORM, "")
    if len(known) < 32 and not hasattr(request.state, "form_key"):
        request.state.form_key = secrets.token_urlsafe(32)
    return str(getattr(request.state, "form_key", known))


def keep(request: Request, response: Response) -> None:
    """Let the browser keep the key of the forms that it has just been given."""
    if hasattr(request.state, "form_key"):
        _set(request, response, _FORM, request.state.form_key, None)


def require_own(request: Request, given: str) -> None:
    """Make sure that a form was sent by a page of this console.

    Raises:
        Refusal: It came from a page of another origin, or without the key that the browser has (403).
    """
    if not _is_same_origin(request):
        words = "the form was sent by a page of another origin, or by no page at all"
        raise Refusal(403, "ForeignForm", f"{words}: open the console and send it from there")
    known = request.cookies.get(_FORM, "")
    if len(known) < 32 or not secrets.compare_digest(known.encode(), given.encode()):
        raise Refusal(403, "StaleForm", "the form is not one of this browser: load the page again")


def _is_same_origin(request: Request) -> bool:
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site == "same-origin"
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


def _set(request: Request, response: Response, name: str, value: str, seconds: int | None) -> None:
    # A proxy may have taken the TLS off; the browser knows what it began with.
    schemes = (request.url.scheme, urlsplit(request.headers.get("origin", "")).scheme)
    response.set_cookie(
        name, value, max_age=seconds, path="/", httponly=True, samesite="strict",
        secure="https" in schemes,
    )  # fmt: skip
