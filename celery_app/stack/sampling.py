"""How to choose the next token, from Ollama's words to those of llama.cpp.

Invariant: an option that is not given has Ollama's default, never that of llama.cpp, so the same
request means the same here as on an Ollama host.
"""

from __future__ import annotations

import json
from typing import Any

from celery_app.stack.generation import RefusalError

__all__ = ["sampling"]

DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0}
INTEGERS = {
    "num_predict": "max_tokens",
    "num_keep": "n_keep",
    "top_k": "top_k",
    "seed": "seed",
    "repeat_last_n": "repeat_last_n",
}
NUMBERS = {
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
}
# They belong to the loading of a model and change nothing here; the context is fixed.
LOADING = {"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread"}


def sampling(options: dict[str, Any], form: Any) -> dict[str, Any]:
    """Return the options and the format (`json`, a JSON schema, or nothing) for llama.cpp.

    Unknown options are ignored, as Ollama does. Raises RefusalError with Ollama's own words, and
    its status 500, when a value has a wrong type.
    """
    return {**DEFAULTS, **_options(options), **_format(form)}


def _options(given: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in INTEGERS:
            options[INTEGERS[name]] = _integer(name, value)
        elif name in NUMBERS:
            options[name] = _number(name, value)
        elif name in LOADING:
            _integer(name, value)
        elif name == "stop":
            options[name] = _strings(name, value)
    if "seed" in options:
        options["seed"] &= 0xFFFFFFFF  # its type in llama.cpp; -1 becomes "any"
    return options


def _integer(name: str, value: Any) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise RefusalError(500, f'option "{name}" must be of type integer')
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusalError(500, f'option "{name}" must be of type float32')
    return float(value)


def _strings(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RefusalError(500, f'option "{name}" must be of type array')
    return [item for item in value if item]


def _format(given: Any) -> dict[str, Any]:
    if given in (None, ""):
        return {}
    if given == "json":
        return {"response_format": {"type": "json_object"}}
    if isinstance(given, dict):
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": given}}}
    raise RefusalError(
        500, f'invalid format: {json.dumps(given)}; expected "json" or a JSON Schema object'
    )
