"""What is thrown at the doors of the system, and what is demanded of each.

A door either takes what comes, or refuses it with one error of the system's own in words; it raises
nothing else, takes no long time, and needs no great memory. FUZZ_EXAMPLES in the environment says how
many examples each test tries.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from workflows.errors import AgentSystemError, InvalidWorkflow

T = TypeVar("T")

#: To make a failing example small may mean to build the largest things again and again.
_SHRINKS = "FUZZ_SHRINK" in os.environ

fuzzed = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "40")),
    deadline=timedelta(seconds=10),
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if _SHRINKS else ())),
)

#: Any text at all: NUL characters, halves of surrogate pairs, line ends of every alphabet.
texts = st.text(st.characters()) | st.sampled_from(
    ["", " ", "\0", "a\0b", "\ud800", "a\udfff", "\u2028", "\x85", "{{", "{{ inputs }}", "a" * 2000]
)

#: What JSON can say, and what Python's reader takes for JSON.
jsonish = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


class _Silent:
    """No text can be made of it."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def circle() -> list[Any]:
    """Return a list that holds itself."""
    found: list[Any] = []
    found.append(found)
    return found


def nested(depth: int, kind: str = "list") -> Any:
    """Return lists or mappings inside each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


def doubled(times: int) -> list[Any]:
    """Return a list of two lists that are the same one, and so on: small, and endless to walk through."""
    value: list[Any] = ["x"]
    for _ in range(times):
        value = [value, value]
    return value


class Odd(Enum):
    """What no JSON can say, and what it takes long to find out. By name: most of it cannot be shown."""

    OBJECT = partial(object)
    SILENT = partial(_Silent)
    BYTES = partial(bytes, b"\xff")
    NUMBER_AS_KEY = partial(dict[Any, Any], [(1, 2)])
    TUPLE = partial(tuple, (1,))
    SET = partial(set[int], (1,))
    NOT_A_NUMBER = partial(float, "nan")
    INFINITY = partial(float, "inf")
    HUGE_NUMBER = partial(pow, 10, 5000)
    CIRCLE = partial(circle)
    NESTED = partial(nested, 90)
    DEEPLY_NESTED = partial(nested, 1000)
    ENDLESSLY_NESTED = partial(nested, 100_000)
    NESTED_MAPPINGS = partial(nested, 5000, "dict")
    DOUBLED = partial(doubled, 60)
    LONG_TEXT = partial(str.__mul__, "x", 2_000_000)
    LONG_LIST = partial(list[int], range(100_000))


anything: st.SearchStrategy[Any] = jsonish | st.sampled_from(Odd)


def real(value: Any) -> Any:
    """Return what an odd one stands for, in a mapping too."""
    if isinstance(value, dict):
        return {key: real(inner) for key, inner in value.items()}
    return value.value() if isinstance(value, Odd) else value


def taken(door: Callable[[], T]) -> T | None:
    """Return what a door gives, or None if it refuses in good words.

    Raises:
        Exception: Whatever else it does.
    """
    try:
        return door()
    except AgentSystemError as error:
        words = str(error)
        assert words.strip(), f"{error!r} says nothing"
        assert isinstance(error, InvalidWorkflow) or "\n" not in words, words
        assert len(words) < 4000 or isinstance(error, InvalidWorkflow), words[:200]
        return None
