"""Ollama's routes over one engine: every address that the embedded model server answers.

Invariant: a status is sent only when the model has accepted the call, and a client that hangs up
ends its call, whether it waits, reads a prompt or writes.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Lifespan, Receive, Scope, Send

from celery_app.stack import dialect
from celery_app.stack.catalogue import ModelCard
from celery_app.stack.dialect import ChatCall, EmbedCall, GenerateCall, PullCall, ShowCall
from celery_app.stack.engine import Engine
from celery_app.stack.generation import Generation, Piece, RefusalError

__all__ = ["Gateway"]

# The version of Ollama whose protocol is spoken here: clients compare it.
VERSION = "0.33.0"
HOSTS = ["127.0.0.1", "localhost"]

T = TypeVar("T")


class JSON(Response):
    """One object as a line of ASCII JSON."""

    media_type = "application/json"

    def render(self, content: dict[str, Any]) -> bytes:
        """Encode the object."""
        return dialect.encode(content)


class Lines(StreamingResponse):
    """The lines of one generation, which ends with this response whatever ends that."""

    media_type = "application/x-ndjson"

    def __init__(self, generation: Generation, lines: AsyncIterator[bytes]) -> None:
        super().__init__(lines)
        self.generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines until the last or until the client is gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.generation.cancel()


class Gateway:
    """Ollama's routes over one engine and the card of its model."""

    def __init__(self, engine: Engine, card: ModelCard) -> None:
        self.engine = engine
        self.card = card

    def app(self, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
        """Return the web application."""
        return Starlette(
            routes=[
                Route("/", self.root),
                Route("/api/version", self.version),
                Route("/api/tags", self.tags),
                Route("/api/ps", self.ps),
                Route("/api/show", self.show, methods=["POST"]),
                Route("/api/pull", self.pull, methods=["POST"]),
                Route("/api/chat", self.chat, methods=["POST"]),
                Route("/api/generate", self.generate, methods=["POST"]),
                Route("/api/embed", self.embed, methods=["POST"]),
                Route("/api/embeddings", self.embeddings, methods=["POST"]),
            ],
            # A web page must not reach the model by giving its own host this machine's address.
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
            exception_handlers={
                RefusalError: lambda _, error: JSON({"error": str(error)}, error.status),
                HTTPException: lambda _, error: JSON({"error": error.detail}, error.status_code),
                ClientDisconnect: lambda _, error: Response(status_code=499),
            },
            lifespan=lifespan,
        )

    async def root(self, request: Request) -> Response:
        """Say that the server is here."""
        return PlainTextResponse("Ollama is running")

    async def version(self, request: Request) -> Response:
        """Say which protocol is spoken."""
        return JSON({"version": VERSION})

    async def tags(self, request: Request) -> Response:
        """List the models on disk: the one."""
        return JSON({"models": [self.card.entry()]})

    async def ps(self, request: Request) -> Response:
        """List the models in memory: the same."""
        return JSON({"models": [self.card.running(self.engine.context)]})

    async def show(self, request: Request) -> Response:
        """Describe the model."""
        call = dialect.parse(ShowCall, await request.body())
        self._check(call.asked)
        return JSON(self.card.description(self.engine.context))

    async def pull(self, request: Request) -> Response:
        """Say that the model is here; there is nowhere to fetch another from."""
        call = dialect.parse(PullCall, await request.body())
        known = self.card.answers_to(call.asked)
        lines = self.card.pull_lines() if known else [dialect.unknown_manifest(call.asked)]
        if call.stream is False:
            return JSON(lines[-1], 200 if known else 500)
        return Response(b"".join(map(dialect.encode, lines)), media_type=Lines.media_type)

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        return await self._answer(request, dialect.parse(ChatCall, await request.body()))

    async def generate(self, request: Request) -> Response:
        """Answer a prompt."""
        return await self._answer(request, dialect.parse(GenerateCall, await request.body()))

    async def embed(self, request: Request) -> Response:
        """Return a unit vector for each text."""
        started = time.monotonic_ns()
        call = dialect.parse(EmbedCall, await request.body())
        vectors, tokens = await self._vectors(request, call)
        total_ns = time.monotonic_ns() - started
        return JSON(dialect.embedded(call, vectors, tokens=tokens, total_ns=total_ns))

    async def embeddings(self, request: Request) -> Response:
        """Return the vector of one text, as old clients ask for it."""
        call = dialect.parse(EmbedCall, await request.body())
        vectors, _ = await self._vectors(request, call)
        return JSON({"embedding": vectors[0] if vectors else []})

    async def _vectors(self, request: Request, call: EmbedCall) -> tuple[list[list[float]], int]:
        self._check(call.model)
        work = self.engine.embed(call.texts, truncate=call.truncate)
        vectors, tokens = await _unless_gone(request, work)
        return [_cut(vector, call.dimensions) for vector in vectors], tokens

    async def _answer(self, request: Request, call: ChatCall | GenerateCall) -> Response:
        started = time.monotonic_ns()
        self._check(call.model)
        if call.asks_nothing:
            return JSON(dialect.loaded(call))
        body = call.body()
        generation = await _unless_gone(request, self.engine.start(body))
        waited_ns = time.monotonic_ns() - started

        def last(piece: Piece) -> dict[str, Any]:
            return dialect.last(
                call, piece, total_ns=time.monotonic_ns() - started, load_ns=waited_ns
            )

        if call.streams:
            return Lines(generation, _lines(call, generation, last))
        try:
            return JSON(last(await _unless_gone(request, _whole(generation))))
        finally:
            generation.cancel()

    def _check(self, name: str) -> None:
        if not name:
            raise RefusalError(400, "model is required")
        if not self.card.answers_to(name):
            raise RefusalError(404, f"model '{name}' not found")


async def _lines(
    call: ChatCall | GenerateCall,
    generation: Generation,
    last: Callable[[Piece], dict[str, Any]],
) -> AsyncIterator[bytes]:
    try:
        async for piece in generation:
            if piece.reason is not None:
                yield dialect.encode(last(piece))
            elif piece.text or piece.thinking:
                yield dialect.encode(dialect.part(call, piece))
    except RefusalError as refusal:
        # The status has been sent already: the last line tells.
        yield dialect.encode({"error": str(refusal)})


async def _whole(generation: Generation) -> Piece:
    pieces = [piece async for piece in generation]
    return replace(
        pieces[-1],
        text="".join(piece.text for piece in pieces),
        thinking="".join(piece.thinking for piece in pieces),
    )


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancel it when the client hangs up."""
    task = asyncio.ensure_future(work)
    hang_up = asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait({task, hang_up}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return await task
    finally:
        task.cancel()
        hang_up.cancel()


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _cut(vector: list[float], dimensions: int | None) -> list[float]:
    """Keep the first dimensions, and make it a unit vector again."""
    if dimensions is None:
        return vector
    length = math.hypot(*vector[:dimensions]) or 1.0
    return [number / length for number in vector[:dimensions]]
