"""What every request passes before its route: its size, its subject, its share; and the line in the log.

Invariant: nothing of a body is kept beyond the limit, whatever its headers say about it.
"""

from __future__ import annotations

import logging
import time

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from celery_app.api.problems import Refusal, problem, unexpected

__all__ = ["Gate"]

# No name of our own modules: what these say is kept in Postgres, and that would be a row for each request.
logger = logging.getLogger("access.api")

#: Pages of other origins may not frame, sniff or keep what is here.
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
)


class Gate:
    """Stands before an app.

    Args:
        app: What is behind it.
        largest: Bytes of the largest body.
    """

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Passage(self._app, self._largest, scope, receive, send).run()


class _Passage:
    """One request on its way."""

    def __init__(
        self, app: ASGIApp, largest: int, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._app, self._largest = app, largest
        self._scope, self._receive, self._send = scope, receive, send
        self._status: int | None = None
        self._read = 0

    async def run(self) -> None:
        """Serve it, log it, and answer whatever error nobody else has answered."""
        begun = time.perf_counter()
        request = Request(self._scope)
        try:
            self._take(_number(request.headers.get("content-length")), so_far=0)
            await self._app(self._scope, self.receive, self.send)
        except Refusal as refusal:
            await self._answer(refusal)
        except ClientDisconnect:
            # Whoever has gone needs no answer.
            pass
        except Exception as error:  # noqa: BLE001, RUF100 - the last door
            if self._status is not None:
                raise
            await unexpected(error)(self._scope, self._receive, self.send)
        finally:
            logger.info(
                "%s %s %s %s %.1f ms",
                request.client.host if request.client else "-",
                request.method,
                request.url.path,
                self._status,
                (time.perf_counter() - begun) * 1000,
            )

    async def receive(self) -> Message:
        """Give the next piece of the body. Raises `Refusal` (413) once it is too large."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._read = self._take(len(message.get("body", b"")), so_far=self._read)
        return message

    async def send(self, message: Message) -> None:
        """Send a piece of the response, with the headers that all have."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await self._send(message)

    async def _answer(self, refusal: Refusal) -> None:
        if self._status is None:
            response = problem(
                refusal.status, refusal.kind, str(refusal), exit_code=2, headers=refusal.headers
            )
            await response(self._scope, self._receive, self.send)

    def _take(self, more: int, so_far: int) -> int:
        if so_far + more > self._largest:
            words = (
                f"the body has more than {self._largest:,} bytes, which is the most that is taken"
            )
            raise Refusal(413, "TooLarge", words, {"Connection": "close"})
        return so_far + more


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else 0
