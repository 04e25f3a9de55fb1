"""`Route`: what all routes do that ask for somebody: who is it, how often, once only, changed at all.

Invariant: no route reaches a desk but by this way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from celery_app.api.asking import LOCAL, admit
from celery_app.api.once import answer_once
from workflows.json_text import read_json

__all__ = ["Route", "document"]


class _Strict(Request):
    """A request whose JSON means one thing, and can be stored."""

    async def json(self) -> Any:
        """Return the body as a value; raises `json.JSONDecodeError`, which the framework knows."""
        try:
            return read_json((await self.body()).decode())
        except json.JSONDecodeError:
            raise
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error


class Route(APIRoute):
    """A route for those who are known."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            state = request.app.state
            asking = _Strict(request.scope, request.receive)
            subject, asking.state.desk = state.desks.of(asking)
            await state.rates.count(subject)
            if subject != LOCAL:
                # A token may have ended meanwhile, which the database knows.
                await run_in_threadpool(admit, asking.state.desk.permissions)
            if request.method == "GET":
                return _unless_known(asking, await answer(asking))
            # Read here, where a body that is too large is told as that.
            await asking.body()
            return await answer_once(state.request_keys, asking, answer)

        return handle


def document(value: Any, status: int = 200) -> Response:
    """Return a JSON document."""
    return Response(
        json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"),
        status,
        media_type="application/json",
    )


def _unless_known(request: Request, response: Response) -> Response:
    """Leave the body out where the caller has the same one already (`If-None-Match`)."""
    if response.status_code != 200 or not isinstance(getattr(response, "body", None), bytes):
        return response
    tag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    known = {
        each.strip().removeprefix("W/")
        for each in request.headers.get("if-none-match", "").split(",")
    }
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response
