"""Whether a model is to be had at all: asked once, before somebody waits for it.

Invariant: asking loads nothing and changes nothing on a server.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.errors import AgentError, ModelMissing, ModelRefused, ModelUnreachable
from agents.model import ChatRequest

__all__ = ["check_presence"]

_PATIENCE_SECONDS = 5.0


def check_presence(hosts: Sequence[str], model: str) -> None:
    """Make sure that one of the hosts answers and has the model.

    Raises `ModelUnreachable` when none answers, `ModelMissing` when those that do lack the model,
    and `ModelRefused` when there are no hosts, or the first is no address or refuses the key.
    """
    # Here, and not above: whoever only hands in work does not pay for the client of Ollama.
    from agents.faults import fault_of

    if not hosts:
        raise ModelRefused("no Ollama host is given: name at least one, as host:port")
    faults: list[AgentError] = []
    found: set[str] = set()
    for host in hosts:
        try:
            found |= _models(host)
        except Exception as error:  # noqa: BLE001, RUF100 - the client raises whatever it meets
            faults.append(fault_of(error, host, ChatRequest(model, ())))
    if len(faults) == len(hosts):
        first = faults[0]
        raise first if isinstance(first, ModelRefused) else ModelUnreachable(str(first))
    if not found & {model, f"{model}:latest"}:
        raise ModelMissing(
            f"no host has the model {model!r} (there is {', '.join(sorted(found)) or 'none'}): "
            f"`ollama pull {model}`, or name another in the file of agents"
        )


def _models(host: str) -> set[str]:
    import ollama

    from agents.wire import Wire

    wire = Wire()
    try:
        listed = ollama.Client(host, transport=wire, timeout=_PATIENCE_SECONDS).list()
    finally:
        wire.close()
    return {entry.model for entry in listed.models if entry.model}
