"""What an Ollama server or the way to it can do wrong, each as one of this package's errors.

Invariant: whatever the client library raises becomes an `AgentError` that knows how to be retried;
and a whole reply that Ollama calls well but that is not is found out here.
"""

from __future__ import annotations

import re

import httpx
import ollama

from agents.context import estimate_request
from agents.errors import (
    AgentError,
    ContextOverflow,
    IncompleteReply,
    ModelBusy,
    ModelFailed,
    ModelMissing,
    ModelRefused,
    ModelUnreachable,
)
from agents.model import ChatRequest, Usage

__all__ = ["check_window", "fault_of"]

_CONTEXT = re.compile(r"context (length|size|window)|exceed.{0,20}context|too long", re.IGNORECASE)
# Ollama answers 500 to these mistakes of the caller.
_CALLERS_MISTAKE = re.compile(r"invalid format|must be of type", re.IGNORECASE)
# No token of natural language is longer than this on average, spaces left out.
_LETTERS_OF_LONG_TOKENS = 8
_BUSY = {429, 503}


def fault_of(error: Exception, host: str, request: ChatRequest) -> AgentError:
    """Return what an exception of the client library means."""
    if isinstance(error, ollama.ResponseError):
        return _of_response(error, host, request)
    words = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | ConnectionError):
        return ModelUnreachable(
            f"no Ollama server answers at {host} ({words}): start it or correct its address"
        )
    if isinstance(error, httpx.TimeoutException):
        return ModelUnreachable(f"{host} was silent for too long: it may be overloaded")
    # Addresses that make no sense are refused as plain values; wrong lines as classes of their own.
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol) or type(error) is ValueError:
        return ModelRefused(f"{host!r} is no address of a server: write it as host:port")
    if isinstance(error, httpx.TransportError):
        return IncompleteReply(f"{host} broke off its reply ({words}): ask again")
    # The client reads every line as JSON and as its own classes; a line cut by the network is not.
    return IncompleteReply(f"{host} sent a line that is not Ollama's ({words[:80]}): ask again")


def _of_response(error: ollama.ResponseError, host: str, request: ChatRequest) -> AgentError:
    words = " ".join(str(error.error).split())[:300]
    status = error.status_code
    if status in _BUSY:
        return ModelBusy(f"{host} takes no more requests at present ({status} {words}): wait")
    if status == 404 and "model" in words.lower():
        return ModelMissing(
            f"{host} does not have the model {request.model!r}: pull it there or name another"
        )
    if _CONTEXT.search(words) and status != 404:
        return ContextOverflow(f"{host} says the prompt is too long ({words}): give less text")
    if status in {401, 403}:
        return ModelRefused(f"{host} does not accept the key ({status} {words}): correct it")
    if status == 400 and "does not support tools" in words:
        return ModelRefused(
            f"{request.model} on {host} cannot call tools by itself: "
            "give its agents tool_form: schema"
        )
    if 400 <= status < 500 or _CALLERS_MISTAKE.search(words):
        return ModelRefused(f"{host} refuses the request ({status} {words}): correct it")
    # Below 400 stands an error in the middle of a stream, which the client gives the status -1.
    return ModelFailed(f"{host} failed ({words}): look into its log if it happens again")


def check_window(request: ChatRequest, usage: Usage, host: str) -> None:
    """Raise `ContextOverflow` if the server has cut the prompt, or the answer at the window's end.

    Servers cut long prompts silently and answer 200. The signs are the counts: the window is full,
    or fewer tokens were read than the text can have. A server that counts nothing gives no sign.
    """
    window = request.options.num_ctx
    if usage.prompt + usage.generated >= window:
        raise ContextOverflow(
            f"prompt and answer fill num_ctx {window} on {host} ({usage.prompt} + "
            f"{usage.generated} tokens), so something was cut: give less text or raise num_ctx"
        )
    letters = sum(len("".join(message.content.split())) for message in request.messages)
    fewest = letters // _LETTERS_OF_LONG_TOKENS
    # Servers that leave cached tokens out of the count are believed while the text surely fits.
    if 0 < usage.prompt < fewest and estimate_request(request) > window:
        raise ContextOverflow(
            f"{host} read {usage.prompt} tokens of a prompt that has at least {fewest}: "
            f"it was cut to fit num_ctx {window}; give less text or raise num_ctx"
        )
