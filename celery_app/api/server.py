"""The processes of the API: from the settings to an orderly end.

Invariant: at the end no new request is taken, those that run are answered, and streams are ended at once, so
that whoever followed can go on elsewhere.
"""

from __future__ import annotations

import logging
import resource

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from celery_app import celery
from celery_app.api.app import make_app
from celery_app.redaction import guard_logs

__all__ = ["app", "serve"]


def serve(host: str | None = None, port: int | None = None) -> None:
    """Serve until a signal comes; the servers that are needed must be there.

    Args:
        host: The address to listen on; by default as the settings say.
        port: The port, likewise.
    """
    settings = celery.settings.api
    config = uvicorn.Config(
        f"{__name__}:{app.__name__}",
        factory=True,
        host=settings.host if host is None else host,
        port=settings.port if port is None else port,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        # Whoever asks is who is connected here; a header could name anybody.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.grace),
    )
    if config.workers > 1:
        Multiprocess(config, sockets=[config.bind_socket()]).run()
    else:
        uvicorn.Server(config).run()


def app() -> FastAPI:
    """Return the application of one process."""
    guard_logs()
    said = celery.settings.monitoring.logging
    logging.basicConfig(level=said.level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Each call of a library would be a line of its own.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    _allow_many_streams()
    return make_app()


def _allow_many_streams() -> None:
    """Take as many open files as the system gives; each stream is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
