"""Secrets, and words without them.

Whoever reads a secret (a password file, a key) says so here; from then on `redacted` takes it out of
whatever is logged, told or stored as an error. What only looks like a secret goes too: tokens, the
password of a URL, `password=...`, `Authorization: ...`.

Invariant: where `guard_logs` was called, no record reaches a log handler of this process, whoever installed
it, with a secret that is known here; nor does a traceback that ends the process or a thread.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus

__all__ = [
    "MARK",
    "SHORTEST",
    "Address",
    "Clean",
    "guard_logs",
    "keep_name",
    "keep_secret",
    "redacted",
    "redacted_values",
]

MARK = "[redacted]"
#: Characters of the shortest secret that is known by itself: to take out less would cut words apart.
SHORTEST = 4

#: What looks like a secret, as (before, secret, after).
_SHAPES = re.compile(
    r"""
    () \b(aiat_[\w-]{8,}) ()
  | (\bauthorization["']?\s*[:=]\s*["']?(?:(?:bearer|basic|token)\s+)?+) ([^\s"',;\[][^\s"',;]*) ()
  | (\bbearer\s+) ([\w.~+/=-]{8,}) ()
  | (\b[a-z][a-z0-9+.-]*://[^\s/?\#:@"']*:) ([^\s/?\#@"']+) (@)
  | (\b(?:(?:pass(?:word|wd|phrase)?|pwd|secret|api[_-]?key)["']?\s*[=:]\s*["']?
         |token(?:["']?\s*=\s*|["']?:\s+)["']?))
    ([^\s"',;&)}\[][^\s"',;&)}]*) ()
    """,
    re.IGNORECASE | re.VERBOSE,
)

#: Whatever looks like a secret has one of these in it, in letters of any case.
_HINTS = ("aiat_", "authorization", "bearer", "://", "pass", "pwd", "secret", "key", "token")

_known: set[str] = set()
_names: set[str] = set()
_pattern: re.Pattern[str] | None = None
_lock = threading.Lock()


def keep_secret(*secrets: str | None) -> None:
    """Take these out of all words from now on, however they are quoted there."""
    global _pattern  # noqa: PLW0603, RUF100 - one for the process, as logging is
    with _lock:
        for secret in secrets:
            if secret and len(secret) >= SHORTEST:
                _known.update(_forms(secret))
        if _known:
            longest_first = sorted(_known, key=len, reverse=True)
            _pattern = re.compile("|".join(map(re.escape, longest_first)))


def keep_name(name: str) -> None:
    """Leave `token:NAME` as it is from now on: so the policy calls whoever holds the token of that name."""
    _names.add(name)


def _forms(secret: str) -> set[str]:
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    return {secret, *quoted, repr(secret)[1:-1], json.dumps(secret)[1:-1]}


class Clean(str):
    """A text that was redacted, and need not be once more."""

    __slots__ = ()

    def __str__(self) -> str:
        # What puts a message of one text together asks for this.
        return self


def redacted(text: str) -> str:
    """Return a text with every secret in it replaced by `MARK`."""
    if isinstance(text, Clean):
        return text
    if _pattern is not None:
        text = _pattern.sub(MARK, text)
    # Most of what is logged has no such word, and need not have the longer look.
    small = text.casefold()
    return _SHAPES.sub(_marked, text) if any(hint in small for hint in _HINTS) else text


def _marked(found: re.Match[str]) -> str:
    before, secret, after = (part for part in found.groups() if part is not None)
    if before == "token:" and secret in _names:
        return found[0]
    return f"{before}{MARK}{after}"


def redacted_values(value: Any) -> Any:
    """Return plain data with every text in it redacted, the values of mappings too."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: redacted_values(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [redacted_values(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(redacted_values(inner) for inner in value)
    return value


class Address(str):
    """A URL that works as it is, and shows itself without its password."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redacted(str(self)))


class _Record(logging.LogRecord):
    """A record of a log in which no secret stands, whichever handler writes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Some formatters put the message together themselves, and count on the arguments for it.
        self.args = _shown_values(self.args)
        if self.exc_info and self.exc_info[0] is not None:
            # Formatters take this where it is there.
            lines = traceback.format_exception(*self.exc_info)
            self.exc_text = redacted("".join(lines)).rstrip("\n")
        if self.stack_info:
            self.stack_info = redacted(self.stack_info)

    def getMessage(self) -> str:  # noqa: N802 - logging's own name
        return Clean(redacted(super().getMessage()))


class _Shown:
    """Any object as an argument of a record: its words, without secrets."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return redacted(str(self._value))

    def __repr__(self) -> str:
        return redacted(repr(self._value))


def _shown_values(args: Any) -> Any:
    if isinstance(args, dict):
        return {key: _shown(value) for key, value in args.items()}
    return tuple(map(_shown, args)) if isinstance(args, tuple) else args


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    return value if value is None or isinstance(value, int | float) else _Shown(value)


def guard_logs() -> None:
    """Redact all that this process logs, and the tracebacks that it or its threads end with."""
    logging.setLogRecordFactory(_Record)
    sys.excepthook = _tell_end
    threading.excepthook = _tell_end_of_thread


def _tell_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def _tell_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is None or issubclass(ended.exc_type, SystemExit):
        return
    name = ended.thread.name if ended.thread else "?"
    sys.stderr.write(f"Exception in thread {name}:\n")
    _tell_end(ended.exc_type, ended.exc_value, ended.exc_traceback)
