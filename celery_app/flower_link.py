"""The way from Flower to the console: a link among those of its pages.

Tornado lets an application have transforms of what it answers; Flower gives its own settings to Tornado, as
they stand when it is made. So the link needs no template of Flower's.
"""

from __future__ import annotations

import html
import sys
from typing import Any

from celery_app.api_section import Api

__all__ = ["lead_back"]

#: Where the pages of Flower list its rooms, and the address of a task there.
_ROOMS = b'<ul class="app-nav navbar-nav">'
_TASK = "/task/"


def lead_back(section: Api) -> None:
    """Let the pages of a Flower that this process is about to make lead to the console."""
    # Celery loads Flower's command in all its processes, before it asks for an app.
    urls = sys.modules.get("flower.urls")
    if urls is None or "flower" not in sys.argv:
        return
    from tornado.httputil import HTTPHeaders, HTTPServerRequest
    from tornado.web import OutputTransform

    class ConsoleLink(OutputTransform):
        """Adds the link to a page, which Flower writes in one piece."""

        def __init__(self, request: HTTPServerRequest) -> None:
            self._request = request

        def transform_first_chunk(
            self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
        ) -> tuple[int, HTTPHeaders, bytes]:
            """Add it."""
            if headers.get("Content-Type", "").startswith("text/html") and finishing:
                chunk = chunk.replace(_ROOMS, _ROOMS + _link(self._request, section), 1)
                headers["Content-Length"] = str(len(chunk))
            return status_code, headers, chunk

    urls.settings["transforms"] = [ConsoleLink]


def _link(request: Any, section: Api) -> bytes:
    address = section.url or f"{request.protocol}://{_host(request)}:{section.port}"
    _, found, task_id = request.path.partition(_TASK)
    place = f"/console/tasks/{task_id}" if found else "/"
    shown = html.escape(address.rstrip("/") + place)
    return f'<li class="nav-item"><a class="nav-link" href="{shown}">Console</a></li>'.encode()


def _host(request: Any) -> str:
    """Return the name under which Flower was asked; an address of version 6 keeps its brackets."""
    host: str = request.host
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
