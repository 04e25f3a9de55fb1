"""The web application: its routes, what stands before them, and what lives as long as it does.

Invariant: the core is synchronous, and is called in a pool of threads of a fixed size; what waits, waits in
the loop.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from types import FrameType

import anyio.to_thread
from fastapi import FastAPI, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.responses import JSONResponse, Response

from celery_app import celery
from celery_app.api.asking import Desks
from celery_app.api.console.pages import add_console
from celery_app.api.gate import Gate
from celery_app.api.hub import Hub
from celery_app.api.openapi import describe
from celery_app.api.problems import answer_errors
from celery_app.api.rates import Rates
from celery_app.api.route import Route
from celery_app.api.routes import PUBLIC, ROUTES, Address
from celery_app.settings import SystemSettings
from celery_app.store.request_keys import RequestKeyStore

__all__ = ["make_app"]

_bearer = HTTPBearer(
    auto_error=False, bearerFormat="aiat_...", description="As `ai-agent token create` printed it."
)


def make_app(settings: SystemSettings | None = None) -> FastAPI:
    """Return the application, as the settings in force say or as those that are given."""
    settings = settings or celery.settings
    app = FastAPI(
        title="AI agent task system",
        version=version("ai-agent-system"),
        description="Durable work by AI agents: hand it in, follow it, steer it.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.desks = Desks()
    app.state.request_keys = RequestKeyStore(celery.database)
    app.state.rates = Rates(settings.api.rate, settings.broker_url, f"{settings.system.name}:api")
    answer_errors(app)
    for address in PUBLIC:
        _add(app, address, APIRoute)
    for address in ROUTES:
        _add(app, address, Route)
    add_console(app)
    app.add_middleware(Gate, largest=settings.api.largest_body)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def _add(app: FastAPI, address: Address, kind: type[APIRoute]) -> None:
    known = kind is Route
    app.router.add_api_route(
        # One that was kept with its folder has slashes in its name.
        address.path.replace("{artifact}", "{artifact:path}"),
        address.answer,
        methods=[address.method],
        status_code=address.status,
        response_class=Response if address.status == 204 else JSONResponse,
        response_model=None,
        responses={address.status: {"model": address.gives}} if address.gives else None,
        dependencies=[Security(_bearer)] if known else None,
        tags=[address.room],
        route_class_override=kind,
        operation_id=f"{address.room}_{address.answer.__name__}",
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: SystemSettings = app.state.settings
    anyio.to_thread.current_default_thread_limiter().total_tokens = settings.api.threads
    hub = app.state.hub = Hub(celery.database, settings.api.streams, celery.logs)
    await hub.start()
    try:
        with _told_of_the_end(hub.close):
            yield
    finally:
        await hub.stop()
        await app.state.rates.close()


@contextmanager
def _told_of_the_end(close: Callable[[], None]) -> Iterator[None]:
    """End streams when a signal comes: the server waits for them, and they would wait for ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(close)
        known = before[signal.Signals(number)]
        if callable(known):
            known(number, frame)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)
