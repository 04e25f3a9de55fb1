"""What one look at an Ollama server shows: whether it answers, what it has and what it has loaded.

Invariant: looking loads nothing, changes nothing, and is over within seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import ollama

from agents.errors import AgentError, IncompleteReply, ModelBusy, ModelUnreachable
from agents.faults import fault_of
from agents.model import ChatRequest
from agents.wire import Wire

__all__ = ["Sight", "Visitor", "answers", "is_among", "look_at"]

#: Longest wait for each of the answers that make up a look, in seconds.
PATIENCE_SECONDS = 2.0
_PROXY_WITHOUT_HOST = {502, 503, 504}


@dataclass(frozen=True)
class Sight:
    """What was seen of a host.

    Attributes:
        host: The host.
        fault: Why no call should be sent to it, if so.
        version: Of the server.
        models: What it has.
        loaded: What it has in memory, with the size of the context in force (0: not said).
    """

    host: str
    fault: AgentError | None = None
    version: str = ""
    models: frozenset[str] = frozenset()
    loaded: Mapping[str, int] = field(default_factory=dict)

    @property
    def state(self) -> Literal["up", "full", "down"]:
        """Whether the host is ready for calls."""
        if self.fault is None:
            return "up"
        return "full" if isinstance(self.fault, ModelBusy) else "down"


class Visitor(ollama.Client):
    """Ollama's client for short questions: with a time limit, without a proxy."""

    def __init__(self, host: str, seconds: float = PATIENCE_SECONDS) -> None:
        super().__init__(
            host, transport=Wire(), timeout=seconds, headers={"accept-encoding": "identity"}
        )

    def version(self) -> str:
        """Return the server's version."""
        return str(self._asked("GET", "/api/version").get("version", ""))

    def description(self, model: str) -> dict[str, Any]:
        """Return what the server says of a model; gateways leave out what the client insists on."""
        return self._asked("POST", "/api/show", json={"model": model})

    def load(self, model: str, options: dict[str, Any], keep_alive: str) -> None:
        """Have the model loaded: what a question without words means."""
        body = {"model": model, "options": options, "keep_alive": keep_alive, "stream": False}
        self._asked("POST", "/api/generate", json=body)

    def _asked(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        ask: Callable[..., httpx.Response] = self._request_raw
        answer = ask(method, path, **options).json()
        return answer if isinstance(answer, dict) else {}


def look_at(host: str, seconds: float = PATIENCE_SECONDS) -> Sight:
    """Ask a host how it is."""
    try:
        with Visitor(host, seconds) as visitor:
            return Sight(
                host,
                version=visitor.version(),
                models=frozenset(entry.model for entry in visitor.list().models if entry.model),
                loaded=_loaded(visitor),
            )
    except Exception as error:  # noqa: BLE001, RUF100 - the client raises whatever it meets
        fault = fault_of(error, host, ChatRequest("", ()))
        if isinstance(fault, IncompleteReply):
            # Whatever listens there, it is not to be talked to at present.
            fault = ModelUnreachable(str(fault))
        return Sight(host, fault)


def answers(host: str, seconds: float = PATIENCE_SECONDS) -> bool:
    """Tell whether a server is there at all, well or not."""
    try:
        with Visitor(host, seconds) as visitor:
            visitor.version()
    except ollama.ResponseError as error:
        return error.status_code not in _PROXY_WITHOUT_HOST
    except Exception:  # noqa: BLE001, RUF100 - the client raises whatever it meets
        return False
    return True


def is_among(model: str, names: Collection[str]) -> bool:
    """Tell whether a model is one of those that a server names, always with a tag."""
    return model in names or f"{model}:latest" in names


def _loaded(visitor: Visitor) -> dict[str, int]:
    try:
        running: list[Any] = list(visitor.ps().models)
    except ollama.ResponseError:
        # Some gateways do not have this one, and serve models all the same.
        return {}
    return {entry.model: entry.context_length or 0 for entry in running if entry.model}
