"""Who asks: the holder of a bearer token, or the person whose machine this is.

Invariants
  * A request without a token is somebody's only on the embedded stack, only when it comes from this machine
    itself, under a name of this machine, through no proxy, from no page of another origin, and (where the
    system tells) from no other user. So neither a page in the browser nor a name that was rebound to this
    address can speak for its user.
  * A token that is no good learns nothing, not even what a good request looks like.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from celery_app import celery
from celery_app.api.peers import user_of
from celery_app.api.problems import Refusal
from celery_app.local_desk import LocalDesk
from celery_app.orchestrator.workflow_files import WorkflowFiles
from celery_app.security.guard import Guard, TokenRefused
from celery_app.security.policy import Decision
from celery_app.security.policy import request as asked
from celery_app.stack.profile import is_embedded

__all__ = ["LOCAL", "Asking", "Desks", "admit"]

#: What the requests of this machine's user are counted under.
LOCAL = "local"
_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
#: Whoever sets one of them speaks for somebody else.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_ADVICE = "send one as bearer in the header Authorization; `ai-agent token create NAME` makes it"


class Desks:
    """The desks of those who ask, kept so that a token is not looked up at each request.

    Args:
        embedded: Whether the person of this machine may ask without a token.
    """

    def __init__(self, embedded: bool | None = None) -> None:
        self._embedded = is_embedded() if embedded is None else embedded
        self._files = WorkflowFiles()
        self.of_user = lru_cache(maxsize=8)(self._of_user)
        self.of_token = lru_cache(maxsize=1000)(self._of_token)

    def of(self, request: Request) -> tuple[str, LocalDesk]:
        """Return a name to count requests under, and the desk of whoever asks. Raises `Refusal`."""
        headers = _first(request)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme.lower() != "bearer" or not token.strip():
                raise _unknown(f"the header Authorization is no bearer token: {_ADVICE}")
            return self.of_holder(token.strip())
        if not self._embedded:
            raise _unknown(f"there is no token: {_ADVICE}")
        if (why := _why_a_stranger(request, headers)) is not None:
            raise _unknown(f"there is no token, and {why}: {_ADVICE}")
        return LOCAL, self.of_user(celery.guard_of_user().name)

    def of_holder(self, token: str) -> tuple[str, LocalDesk]:
        """Return a name to count requests under, and the desk of whoever holds a token."""
        return _digest(token), self.of_token(token)

    def served(self, guard: Guard) -> LocalDesk:
        """Return the desk of a subject."""
        return LocalDesk(guard, files=self._files)

    def _of_user(self, subject: str) -> LocalDesk:
        return self.served(celery.guard_of(subject))

    def _of_token(self, token: str) -> LocalDesk:
        return self.served(celery.guard(token))


def admit(guard: Guard) -> None:
    """Make sure that a token is good; one that is not is kept among the denials. Raises `TokenRefused`."""
    try:
        assert guard.name
    except TokenRefused as refused:
        denied = Decision(False, None, str(refused))
        guard.tell(refused.subject, asked("system.read", "system:api"), denied)
        raise


def _first(request: Request) -> dict[str, str]:
    """Return the headers as a table, each as it came first: Starlette's own is a list that is searched."""
    return dict(reversed(request.headers.items()))


def _why_a_stranger(request: Request, headers: Mapping[str, str]) -> str | None:
    """Return why a request without a token is not taken for one of this machine's user."""
    client = request.client.host if request.client else ""
    if not _is_loopback(client):
        return "the request comes from another machine"
    if any(name in headers for name in _FORWARDED):
        return "the request came through a proxy"
    host = headers.get("host", "")
    if urlsplit(f"//{host}").hostname not in _NAMES:
        return f"{host[:80]!r} is no name of this machine"
    if _crosses_origins(request.method, headers):
        return "the request comes from a page of another origin"
    if _is_somebody_elses(request):
        return "the request comes from another user of this machine"
    return None


def _is_somebody_elses(request: Request) -> bool:
    client, server = request.scope.get("client"), request.scope.get("server")
    if client is None or server is None or server[1] is None:
        return False
    user = user_of(client, server)
    return user is not None and user not in (os.geteuid(), 0)


@lru_cache(maxsize=1000)
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _crosses_origins(method: str, headers: Mapping[str, str]) -> bool:
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return True
    site = headers.get("sec-fetch-site", "none")
    if site in ("none", "same-origin"):
        return False
    # A link on another page may lead here, since that page does not see where it leads.
    leads_here = headers.get("sec-fetch-mode") == "navigate"
    return not (method == "GET" and leads_here and headers.get("sec-fetch-dest") == "document")


def _unknown(detail: str) -> Refusal:
    return Refusal(401, "TokenRefused", detail, {"WWW-Authenticate": "Bearer"})


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()[:24]


async def _asking(request: Request) -> LocalDesk:
    desk: LocalDesk = request.state.desk
    return desk


Asking = Annotated[LocalDesk, Depends(_asking)]
"""The desk of whoever asks, for routes."""
