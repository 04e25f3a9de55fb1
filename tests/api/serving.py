"""The API of this process, on a real port."""

from __future__ import annotations

import threading
import time
from typing import Any, Self

import uvicorn

from celery_app.api.app import make_app
from celery_app.celery import settings


class Served:
    """The API, answering when the block begins and gone when it ends.

    Args:
        changes: What is different from the settings' section `api`.
    """

    def __init__(self, **changes: Any) -> None:
        section = settings.api.model_copy(update={"rate": "100000/s", **changes})
        self.app = make_app(settings.model_copy(update={"api": section}))
        config = uvicorn.Config(
            self.app, host="127.0.0.1", port=0, log_config=None, access_log=False,
            timeout_graceful_shutdown=5,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert self._thread.is_alive(), "the API did not start"
            assert time.monotonic() < deadline, "the API does not start"
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self.app.state.hub.close()
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._server.servers[0].sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"
