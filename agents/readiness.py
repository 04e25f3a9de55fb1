"""Make a model server ready for work: the models are there, their windows fit, they are loaded.

Invariants
  * Every finding is one sentence that says what to do, if there is something to do.
  * Nothing is pulled unless that was allowed, and nothing is changed otherwise.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from agents.errors import AgentError
from agents.faults import fault_of
from agents.model import ChatOptions, ChatRequest
from agents.profile import AgentProfile
from agents.sight import Sight, Visitor, is_among, look_at

__all__ = ["Finding", "Need", "Readiness", "needs_of"]

_LOAD_SECONDS = 300.0
_PULL_SILENCE_SECONDS = 120.0
_PROGRESS_STEP = 10


@dataclass(frozen=True)
class Need:
    """A model that is wanted, the window it is to be loaded with, and whether it is to call tools."""

    model: str
    num_ctx: int
    tools: bool = False


@dataclass(frozen=True)
class Finding:
    """What was found or done, in one sentence; `well` is false if somebody has to act."""

    text: str
    well: bool = True


def needs_of(profiles: Iterable[AgentProfile]) -> list[Need]:
    """Return the model of each agent once, with the first window that is asked for."""
    needs: dict[str, Need] = {}
    for profile in profiles:
        calls = bool(profile.tools) and profile.tool_form == "native"
        found = needs.get(profile.model, Need(profile.model, profile.options.num_ctx))
        needs[profile.model] = replace(found, tools=found.tools or calls)
    return list(needs.values())


class Readiness:
    """Prepares one host after another.

    Args:
        may_pull: Whether a missing model is fetched.
        keep_alive: How long a server is to keep a model that was loaded.
        tell: Given every finding at once.
    """

    def __init__(self, may_pull: bool, keep_alive: str, tell: Callable[[Finding], None]) -> None:
        self.stopping = threading.Event()
        self._awaited: set[tuple[str, str]] = set()
        self._may_pull = may_pull
        self._keep_alive = keep_alive
        self._tell = tell

    @property
    def pulling(self) -> frozenset[str]:
        """The models that some host will have, if all goes well."""
        return frozenset(model for _, model in tuple(self._awaited))

    def expect(self, sight: Sight, needs: Iterable[Need]) -> None:
        """Count what a host lacks as being pulled, until `prepare` has ended well or badly."""
        if self._may_pull:
            missing = {need.model for need in needs if not is_among(need.model, sight.models)}
            self._awaited |= {(sight.host, model) for model in missing}

    def prepare(self, host: str, needs: Iterable[Need]) -> None:
        """Check a host that answers, and warm it up. Every fault is told, none is raised."""
        for need in needs:
            if self.stopping.is_set():
                return
            try:
                self._prepare(host, need)
            except AgentError as error:
                self._tell(Finding(f"{need.model} is not ready: {error}", well=False))
            finally:
                self._awaited.discard((host, need.model))

    def _prepare(self, host: str, need: Need) -> None:
        if not is_among(need.model, look_at(host).models):
            if not self._may_pull:
                advice = f"`ollama pull {need.model}` there, or set components.ollama.pull"
                self._tell(Finding(f"{host} does not have {need.model}: {advice}", well=False))
                return
            self._pull(host, need)
        self._check_abilities(host, need)
        self._load(host, need)

    def _pull(self, host: str, need: Need) -> None:
        self._tell(Finding(f"{host} does not have {need.model}: pulling it"))
        told = 0
        with _asking(host, need, _PULL_SILENCE_SECONDS) as visitor:
            for percent in _progress(visitor.pull(need.model, stream=True)):
                if self.stopping.is_set():
                    return
                if percent >= told + _PROGRESS_STEP:
                    told = percent - percent % _PROGRESS_STEP
                    self._tell(Finding(f"{host} is pulling {need.model}: {told} %"))
        self._awaited.discard((host, need.model))
        self._tell(Finding(f"{host} has pulled {need.model}"))

    def _check_abilities(self, host: str, need: Need) -> None:
        with _asking(host, need) as visitor:
            shown = visitor.description(need.model)
        info = shown.get("model_info") or {}
        trained = [value for key, value in info.items() if key.endswith(".context_length")]
        if trained and need.num_ctx > int(trained[0]):
            self._tell(
                Finding(
                    f"{need.model} on {host} was made for {trained[0]} tokens and is asked for "
                    f"num_ctx {need.num_ctx}: lower num_ctx in the file of agents",
                    well=False,
                )
            )
        if "completion" not in (shown.get("capabilities") or ["completion"]):
            self._tell(Finding(f"{need.model} on {host} writes no text: name another", well=False))
        if need.tools and "tools" not in (shown.get("capabilities") or ["tools"]):
            advice = "give its agents tool_form: schema"
            self._tell(Finding(f"{need.model} on {host} cannot call tools: {advice}", well=False))

    def _load(self, host: str, need: Need) -> None:
        begun = time.monotonic()
        with _asking(host, need, _LOAD_SECONDS) as visitor:
            options = asdict(ChatOptions(num_ctx=need.num_ctx))
            visitor.load(need.model, options, self._keep_alive)
        seconds = time.monotonic() - begun
        self._tell(Finding(f"{host} has {need.model} loaded ({seconds:.1f} s)"))
        loaded = look_at(host).loaded
        window = loaded.get(need.model) or loaded.get(f"{need.model}:latest")
        if window and window < need.num_ctx:
            self._tell(
                Finding(
                    f"{need.model} on {host} runs with a window of {window} tokens, not of "
                    f"{need.num_ctx}: longer prompts will be refused",
                    well=False,
                )
            )


@contextmanager
def _asking(host: str, need: Need, seconds: float = 5.0) -> Iterator[Visitor]:
    try:
        with Visitor(host, seconds) as visitor:
            yield visitor
    except Exception as error:  # noqa: BLE001, RUF100 - the client raises whatever it meets
        raise fault_of(error, host, ChatRequest(need.model, ())) from error


def _progress(parts: Iterable[Any]) -> Iterator[int]:
    """Yield how much of all layers is there, in percent."""
    sizes: dict[str, tuple[int, int]] = {}
    for part in parts:
        if part.digest and part.total:
            sizes[part.digest] = (part.completed or 0, part.total)
        total = sum(size for _, size in sizes.values())
        yield int(100 * sum(have for have, _ in sizes.values()) / total) if total else 0
