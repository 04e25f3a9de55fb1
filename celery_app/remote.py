"""`Remote`: requests to the HTTP API, and its problems as the errors that they were over there.

Invariants
  * What is sent twice is done once: each request that changes something carries a key of its own, and is
    sent again when the connection broke.
  * Whatever goes wrong is an error of ours.
"""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx

import agents.errors
import celery_app.errors
from celery_app.errors import (
    AgentSystemError,
    ConfigurationError,
    PermissionDenied,
    ServiceUnavailable,
)
from celery_app.urls import http_url
from workflows.errors import InvalidWorkflow
from workflows.problem import Problem

__all__ = ["Remote", "raised"]

#: Seconds for one answer, beyond those that the server was asked to wait; a plan takes a model's time.
_PATIENCE = 30.0
_PLANNING = 600.0
#: Seconds before each new try of a request that was not answered, or was told to wait.
_PAUSES = (0.2, 0.5, 1.0, 2.0)
_EXIT_CODES: dict[int, type[AgentSystemError]] = {
    2: ConfigurationError,
    3: PermissionDenied,
    4: ServiceUnavailable,
}


class Remote:
    """An API somewhere.

    Args:
        url: Where it is.
        token: Who asks.

    Raises:
        ConfigurationError: The address is none.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        try:
            self.url = http_url(url, "http", 8000)
        except ValueError as error:
            raise ConfigurationError(f"url {url!r}: {error}; write http://HOST:8000") from error
        token = token or os.environ.get("AI_AGENT_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # An API on this machine is not asked by way of a proxy.
        self._client = httpx.Client(
            base_url=self.url, headers=headers, timeout=_PATIENCE, trust_env=False
        )
        # A client keeps nothing that anybody would have to think of, connections included.
        weakref.finalize(self, self._client.close)

    def get(self, path: str, **wanted: Any) -> Any:
        """Return a document; parameters that are None are left out."""
        given = {name: value for name, value in wanted.items() if value is not None}
        patience = _PATIENCE + float(given.get("wait", 0))
        return self._send("GET", path, params=given, timeout=patience)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, patient: bool = False
    ) -> Any:
        """Have something done once; return what is told of it."""
        patience = _PLANNING if patient else _PATIENCE
        headers = {"Idempotency-Key": str(uuid4())}
        return self._send("POST", path, json=body, headers=headers, timeout=patience)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Have something set."""
        return self._send("PUT", path, json=body)

    def stream(self, path: str, **wanted: Any) -> Iterator[dict[str, Any]]:
        """Yield what a stream tells until its end, from where it broke off if it does."""
        last: str | None = None
        failures = 0
        while True:
            try:
                for identity, kind, data in self._frames(path, last, wanted):
                    if kind == "end":
                        return
                    last, failures = identity or last, 0
                    yield json.loads(data)
            except (httpx.TransportError, ServiceUnavailable) as error:
                if failures >= len(_PAUSES):
                    raise self._away(error) from error
                time.sleep(_PAUSES[failures])
                failures += 1

    def _frames(
        self, path: str, last: str | None, wanted: Mapping[str, Any]
    ) -> Iterator[tuple[str | None, str, str]]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        # Longer than the server is ever silent.
        patience = httpx.Timeout(_PATIENCE, read=60)
        with self._client.stream(
            "GET", path, params=dict(wanted), headers=headers, timeout=patience
        ) as response:
            if response.status_code != 200:
                response.read()
                _raise_problem(response)
                yield None, "end", ""
            yield from _parsed(response.iter_lines())

    def _send(self, method: str, path: str, **request: Any) -> Any:
        for pause in (*_PAUSES, None):
            try:
                response = self._client.request(method, path, **request)
            except httpx.TransportError as error:
                if pause is None:
                    raise self._away(error) from error
                time.sleep(pause)
                continue
            except (httpx.InvalidURL, UnicodeError, ValueError, TypeError) as error:
                raise ConfigurationError(f"{method} {path} cannot be sent: {error}") from error
            if response.status_code == 429 and pause is not None:
                time.sleep(_seconds(response.headers.get("retry-after")) or pause)
                continue
            _raise_problem(response)
            return response.json() if response.content else None
        raise AssertionError("the last try returns or raises")

    def _away(self, error: Exception) -> ServiceUnavailable:
        words = str(error) or type(error).__name__
        return ServiceUnavailable(
            f"the API at {self.url} does not answer: {words}; check that `ai-agent api` runs there"
        )


def raised(told: Mapping[str, Any]) -> AgentSystemError:
    """Return the error that a problem document tells of."""
    kind = _family().get(str(told.get("kind")))
    if kind is None:
        kind = _EXIT_CODES.get(int(told.get("exit_code", 1)), AgentSystemError)
    if kind is InvalidWorkflow:
        names = ("file", "line", "step", "text")
        return InvalidWorkflow(
            [Problem(**{name: each[name] for name in names}) for each in told["errors"]]
        )
    # Some are made of other things than their words; what counts is what they are and say.
    error = kind.__new__(kind)
    Exception.__init__(error, str(told.get("detail", "")))
    return error


def _raise_problem(response: httpx.Response) -> None:
    if response.is_success:
        return
    told: dict[str, Any] = {}
    with suppress(ValueError):
        told = response.json()
    if not isinstance(told, dict) or "kind" not in told:
        words = f"{response.url} answered {response.status_code}, and not as the API does"
        raise ServiceUnavailable(f"{words}: check the url")
    raise raised(told)


def _family() -> dict[str, type[AgentSystemError]]:
    """Return our errors by name."""
    assert celery_app.errors
    assert agents.errors
    found: dict[str, type[AgentSystemError]] = {}
    waiting: list[type[AgentSystemError]] = [AgentSystemError]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting += kind.__subclasses__()
    return found


def _parsed(lines: Iterator[str]) -> Iterator[tuple[str | None, str, str]]:
    """Yield the frames of a stream as (id, event, data)."""
    identity: str | None = None
    kind, data = "message", ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            identity = value
        elif name == "event":
            kind = value
        elif name == "data":
            data += value
        elif not line and data:
            yield identity, kind, data
            identity, kind, data = None, "message", ""


def _seconds(text: str | None) -> float:
    return min(float(text), 10.0) if text is not None and text.isdecimal() else 0.0
