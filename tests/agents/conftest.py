"""Scripted servers for the tests of the door to Ollama."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.agents.ollama_server import OllamaServer

Serve = Callable[..., OllamaServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers, each with its answers; they end with the test."""
    with ExitStack() as stack:
        yield lambda *answers: stack.enter_context(OllamaServer(*answers))
