"""A page as a response: its template, what all pages know, and the headers that keep others out.

Invariants
  * Whatever stands in a value is text: templates escape it.
  * A page loads nothing from elsewhere, runs no script but the console's own, and is in nobody's frame.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import RedirectResponse, Response

from celery_app.api.console import cookies
from celery_app.api.console.words import FILTERS
from celery_app.flower_door import FLOWER_PORT

__all__ = ["ROOMS", "page", "see"]

#: What stands in the navigation: address and words.
ROOMS = (
    ("/", "Work"),
    ("/console/approvals", "Approvals"),
    ("/console/projects", "Projects"),
    ("/console/documents", "Documents"),
    ("/console/workflows", "Workflows"),
    ("/console/system", "System"),
    ("/console/alerts", "Alerts"),
    ("/console/logs", "Logs"),
)

#: What a page may tell after something was done, by the word in its address.
NOTICES = {
    "cancelled": "It was cancelled.",
    "retried": "What had failed is tried again.",
    "resumed": "It goes on.",
    "forked": "This is the new run; what had not changed was taken over.",
    "answered": "The answer was taken.",
    "handed-in": "The job was handed in.",
    "begun": "The work has begun.",
    "accepted": "The result was accepted.",
    "restored": "This version holds again.",
    "writing": "The document is being written.",
    "up-to-date": "Nothing has changed since it was written: it stays as it is.",
    "started": "The run has begun.",
    "paused": "The trigger starts nothing until it is resumed.",
    "goes-on": "The trigger goes on, from now.",
    "resolved": "The alert is closed. What made it opens another one if it happens again.",
    "silenced": "Nobody is told of it for a while.",
    "heard-again": "The silence is over.",
    "logged-out": "You are logged out.",
    "refused": "The token is not good any more. Log in with another one.",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
}

_templates = Environment(
    loader=PackageLoader("celery_app.api.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(FILTERS)


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Return a page.

    Args:
        request: What it answers.
        template: Its file.
        status: Of the response.
        values: What the template shows, besides what all pages do.
    """
    known = {
        "rooms": ROOMS,
        "here": request.url.path,
        "visitor": getattr(request.state, "visitor", None),
        "logged_in": cookies.token_of(request) is not None,
        "flower": _flower(request),
        "notice": NOTICES.get(request.query_params.get("said", "")),
        "form_field": cookies.FORM_FIELD,
        "form_key": cookies.form_key(request),
        "version": version("ai-agent-system"),
    }
    text = _templates.get_template(template).render({**known, **values})
    # Half of a surrogate pair in somebody's words must not make an error of the page.
    response = Response(
        text.encode(errors="replace"), status, _HEADERS, media_type="text/html; charset=utf-8"
    )
    cookies.keep(request, response)
    return response


def see(address: str, said: str | None = None) -> Response:
    """Return the way to the page that shows what a form has done; `said` is one of `NOTICES`."""
    told = f"{address}?said={said}" if said else address
    return RedirectResponse(told, 303, {"Cache-Control": "no-store"})


def _flower(request: Request) -> str:
    """Return where Flower is, without a slash at the end: as the settings say, or on this host."""
    said: str | None = request.app.state.settings.monitoring.flower.url
    here = f"{request.url.scheme}://{request.url.hostname}:{FLOWER_PORT}"
    return (said or here).rstrip("/")
