"""The embedded model as a server of this home: where it listens, and how it is started.

Invariant: the address is a function of the home. It changes only when a stranger holds the port
at a start, and the new one is kept in the home.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import socket
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from celery_app.errors import ConfigurationError
from celery_app.stack.server import Command, LocalServer
from celery_app.stack.weights import Weights, locate

__all__ = ["LlamaServer"]

HOST = "127.0.0.1"
# Below the ports that the system gives to outgoing connections.
PORTS = range(18_000, 30_000)
ROOT = Path(__file__).parents[2]


class LlamaServer(LocalServer):
    """One model behind the Ollama protocol on 127.0.0.1.

    `weights` defaults to the file named by AI_AGENT_MODEL_FILE, else the bundled model. `slots`
    calls run at once, `queue` more may wait, each slot holds `context` tokens; `threads` generate
    (None: one less than there are cores).
    """

    name = "model"
    start_seconds = 120.0

    def __init__(
        self,
        home: Path,
        weights: Weights | None = None,
        *,
        slots: int = 2,
        queue: int = 64,
        context: int = 4096,
        threads: int | None = None,
    ) -> None:
        super().__init__(home)
        self._given = weights
        self.slots = slots
        self.queue = queue
        self.context = context
        self.threads = threads

    @cached_property
    def weights(self) -> Weights:
        """The model's file and name. Raises ConfigurationError when there is none."""
        return self._given or locate(os.environ)

    @property
    def port(self) -> int:
        """The TCP port: the one kept in the home, else the one that the home's key gives."""
        try:
            return int(self._port_file.read_text())
        except (OSError, ValueError):
            return PORTS[int(self.home.key, 16) % len(PORTS)]

    @property
    def address(self) -> str:
        """The URL to give to Ollama clients."""
        return f"http://{HOST}:{self.port}"

    def command(self) -> Command:
        """Check the model, settle the port; see `LocalServer.command`."""
        for module in ("xllamacpp", "starlette", "uvicorn"):
            if importlib.util.find_spec(module) is None:
                raise ConfigurationError(
                    f"the embedded model needs {module}: run `pip install"
                    " 'ai-agent-system[embedded]'`, or name your own Ollama in system.yaml"
                )
        options: dict[str, Any] = {
            "mark": self.mark,
            "home": self.home.path,
            "model": self.weights.path,
            "name": self.weights.name,
            "digest": self.weights.digest(self.home.path / "model.json"),
            "port": self._settle_port(),
            "slots": self.slots,
            "queue": self.queue,
            "context": self.context,
            "threads": self.threads,
        }
        # -P: a file that lies about in the home is no module.
        argv = [sys.executable, "-P", "-m", "celery_app.stack.gateway"]
        for option, value in options.items():
            if value is not None:
                argv += [f"--{option}", str(value)]
        return Command(argv, self.home.path, environ={"PYTHONPATH": str(ROOT)})

    def answers(self) -> bool:
        """Whether it is loaded: before that nothing listens."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2.0)
        try:
            connection.request("GET", "/api/version")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def finish(self) -> None:
        """Raise ConfigurationError when an earlier start has loaded another model."""
        process = self._process()
        if process is not None and self.weights.name not in process.cmdline():
            raise ConfigurationError(
                f"the model server of {self.home.path} serves another model than"
                f" {self.weights.name}: stop the embedded servers, then start them again"
            )

    @property
    def _port_file(self) -> Path:
        return self.home.path / "model.port"

    def _settle_port(self) -> int:
        candidates: list[int] = [self.port, *PORTS]
        for port in candidates:
            if _free(port):
                self._port_file.write_text(f"{port}\n")
                return port
        raise ConfigurationError(
            f"no free port from {PORTS.start} to {PORTS.stop} on {HOST}: close some servers"
        )


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # Connections that have just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
