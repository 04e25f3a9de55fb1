"""Ollama's words: what its clients ask, and the lines that they read. Pure, no model here.

Invariant: every line is plain ASCII JSON. Clients cut streams at line ends, and some take U+0085
or U+2028 for one, so neither may appear unescaped.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from celery_app.stack.generation import Piece, RefusalError
from celery_app.stack.sampling import sampling

__all__ = [
    "ChatCall",
    "EmbedCall",
    "GenerateCall",
    "PullCall",
    "ShowCall",
    "embedded",
    "encode",
    "last",
    "loaded",
    "parse",
    "part",
    "unknown_manifest",
]


class Message(BaseModel):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    images: list[Any] | None = None

    def turn(self) -> dict[str, str]:
        """Return the turn in the words of llama.cpp."""
        return {"role": self.role, "content": self.content or ""}


class ModelCall(BaseModel):
    """What every request names."""

    model: str = Field(min_length=1)
    stream: bool | None = None
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None

    @property
    def streams(self) -> bool:
        """Whether the answer comes in lines; so it does unless the request says no."""
        return self.stream is not False

    @property
    def unloads(self) -> bool:
        """Whether the request asks to unload the model."""
        return self.keep_alive in (0, "0", "0s")


class TextCall(ModelCall):
    """What chat and generate have in common."""

    format: Any = None
    think: bool | str | None = None

    def sampling(self) -> dict[str, Any]:
        """Return the request's options and format in the words of llama.cpp."""
        if self.think:
            raise RefusalError(400, f'"{self.model}" does not support thinking')
        chosen = sampling(self.options or {}, self.format)
        return {**chosen, "chat_template_kwargs": {"enable_thinking": False}}


class ChatCall(TextCall):
    """POST /api/chat."""

    messages: list[Message] = Field(default_factory=list)
    tools: list[Any] | None = None

    @property
    def asks_nothing(self) -> bool:
        """Whether the call only wants the model loaded or unloaded."""
        return not self.messages

    def body(self) -> dict[str, Any]:
        """Return the call in the words of llama.cpp. Raises RefusalError."""
        if self.tools:
            raise RefusalError(400, f'"{self.model}" does not support tools')
        if any(message.images for message in self.messages):
            raise RefusalError(400, f'"{self.model}" does not support images')
        return {**self.sampling(), "messages": [message.turn() for message in self.messages]}

    @staticmethod
    def words(piece: Piece) -> dict[str, Any]:
        """Return the part of a line that holds the text."""
        thinking = {"thinking": piece.thinking} if piece.thinking else {}
        return {"message": {"role": "assistant", "content": piece.text, **thinking}}


class GenerateCall(TextCall):
    """POST /api/generate."""

    prompt: str = ""
    system: str = ""
    suffix: str = ""
    raw: bool = False
    images: list[Any] | None = None

    @property
    def asks_nothing(self) -> bool:
        """Whether the call only wants the model loaded or unloaded."""
        return not self.prompt

    def body(self) -> dict[str, Any]:
        """Return the call in the words of llama.cpp. Raises RefusalError."""
        if self.suffix:
            raise RefusalError(400, f'"{self.model}" does not support insert')
        if self.images:
            raise RefusalError(400, f'"{self.model}" does not support images')
        if self.raw:
            return {**self.sampling(), "prompt": self.prompt}
        turns = {"system": self.system, "user": self.prompt}
        messages = [{"role": role, "content": text} for role, text in turns.items() if text]
        return {**self.sampling(), "messages": messages}

    @staticmethod
    def words(piece: Piece) -> dict[str, Any]:
        """Return the part of a line that holds the text."""
        thinking = {"thinking": piece.thinking} if piece.thinking else {}
        return {"response": piece.text, **thinking}


class EmbedCall(ModelCall):
    """POST /api/embed, and /api/embeddings with `prompt`."""

    input: str | list[str] = ""
    prompt: str = ""
    truncate: bool = True
    dimensions: int | None = Field(default=None, ge=1)

    @property
    def texts(self) -> list[str]:
        """The texts to embed; an empty input is none."""
        given = self.input or self.prompt or []
        return [given] if isinstance(given, str) else given


class ShowCall(BaseModel):
    """POST /api/show; old clients say `name`."""

    model: str = ""
    name: str = ""

    @property
    def asked(self) -> str:
        """The name of the model."""
        return self.model or self.name


class PullCall(ShowCall):
    """POST /api/pull."""

    stream: bool | None = None


Call = TypeVar("Call", bound=BaseModel)


def parse(kind: type[Call], body: bytes) -> Call:
    """Read a request's body. Raises RefusalError (400) with one sentence on what is wrong."""
    if not body.strip():
        raise RefusalError(400, "missing request body")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(key) for key in first["loc"])
        if where == "model":
            raise RefusalError(400, "model is required") from error
        raise RefusalError(400, f"{where}: {first['msg']}" if where else first["msg"]) from error


def encode(line: dict[str, Any]) -> bytes:
    """Return the object as one line of ASCII."""
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def now() -> str:
    """Return this moment as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def part(call: ChatCall | GenerateCall, piece: Piece) -> dict[str, Any]:
    """Return a line that is not the last."""
    return {"model": call.model, "created_at": now(), **call.words(piece), "done": False}


def last(
    call: ChatCall | GenerateCall, piece: Piece, *, total_ns: int, load_ns: int
) -> dict[str, Any]:
    """Return the closing line: the reason, the counts, and durations in nanoseconds.

    `load_ns` is the time until the model could take the call.
    """
    line = part(call, piece) | {"done": True, "done_reason": piece.reason}
    line |= {"total_duration": total_ns, "load_duration": load_ns}
    if piece.counts is not None:
        line |= {
            "prompt_eval_count": piece.counts.prompt,
            "prompt_eval_duration": piece.counts.prompt_ns,
            "eval_count": piece.counts.generated,
            "eval_duration": piece.counts.generated_ns,
        }
    return line


def loaded(call: ChatCall | GenerateCall) -> dict[str, Any]:
    """Return the only line for a call that asks nothing: the model is loaded and stays so."""
    reason = "unload" if call.unloads else "load"
    return part(call, Piece()) | {"done": True, "done_reason": reason}


def embedded(
    call: EmbedCall, vectors: list[list[float]], *, tokens: int, total_ns: int
) -> dict[str, Any]:
    """Return the answer to an embed call."""
    return {
        "model": call.model,
        "embeddings": vectors,
        "total_duration": total_ns,
        "load_duration": 0,
        "prompt_eval_count": tokens,
    }


def unknown_manifest(name: str) -> dict[str, Any]:
    """Return the line of a pull that cannot succeed."""
    return {"error": f"pull model manifest: '{name}' cannot be pulled by the embedded model server"}
