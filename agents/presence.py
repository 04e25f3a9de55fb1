"""Whether a model is to be had at all: asked once, before somebody waits for it.

Invariant: asking loads nothing and changes nothing on a server.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import ollama

from agents.errors import AgentError, ModelMissing, ModelUnreachable
from agents.faults import fault_of
from agents.model import ChatRequest

__all__ = ["check_presence"]

_PATIENCE_SECONDS = 5.0


def check_presence(hosts: Sequence[str], model: str) -> None:
    """Make sure that one of the hosts answers and has the model.

    Raises `ModelUnreachable` when none answers, `ModelMissing` when those that do lack the model.
    """
    faults: list[AgentError] = []
    found: set[str] = set()
    for host in hosts:
        try:
            listed = ollama.Client(host, timeout=_PATIENCE_SECONDS).list()
        except (ollama.ResponseError, httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            faults.append(fault_of(error, host, ChatRequest(model, ())))
        else:
            found.update(entry.model for entry in listed.models if entry.model)
    if len(faults) == len(hosts):
        raise ModelUnreachable(str(faults[0]))
    if not found & {model, f"{model}:latest"}:
        raise ModelMissing(
            f"no host has the model {model!r} (there is {', '.join(sorted(found)) or 'none'}): "
            f"`ollama pull {model}`, or name another in the file of agents"
        )
