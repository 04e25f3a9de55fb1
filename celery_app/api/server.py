"""The processes of the API: from the settings to an orderly end.

Invariants
  * At the end no new request is taken, those that run are answered, and streams are ended at once, so that
    whoever followed can go on elsewhere.
  * No process outlives the one that made it, however that one ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
import signal
import threading

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from celery_app import celery
from celery_app.api.app import make_app
from celery_app.observe.log_setup import start_logging

__all__ = ["address", "app", "serve"]

#: What a server listens on that listens everywhere.
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - not listened on, but read


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


def address(host: str | None = None, port: int | None = None) -> str:
    """Return where a browser of this machine finds what is served there; see `serve`."""
    settings = celery.settings.api
    name = settings.host if host is None else host
    shown = "localhost" if name in _EVERYWHERE else f"[{name}]" if ":" in name else name
    return f"http://{shown}:{settings.port if port is None else port}/"


def app() -> FastAPI:
    """Return the application of one process."""
    _end_with_parent()
    start_logging()
    # Each call of a library would be a line of its own.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    _allow_many_streams()
    return make_app()


def _allow_many_streams() -> None:
    """Take as many open files as the system gives; each stream is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _end_with_parent() -> None:
    """End in order when the process that has made this one is gone: nobody else would end it then."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
