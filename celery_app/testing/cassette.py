"""`Cassette`: what models answered once, kept in a file and given again.

Invariant: an answer is found by the sha256 of what was asked and by nothing else, so that a changed
prompt, model or option is never answered with what was said to another.
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from celery_app.errors import ConfigurationError
from workflows.json_text import read_json
from workflows.problem import shown
from workflows.text_file import read_text

__all__ = ["Cassette", "digest_of", "question_of"]

VERSION = 1
#: What of a request is no part of the question, or is looked at by itself.
_BESIDE = {"keep_alive", "stream", "options"}


def digest_of(path: str, body: dict[str, Any]) -> str:
    """Return the sha256 of a request: where it went and what it says.

    The seed is left out: it follows from the id of a task, which is another one each time.
    """
    said = {key: value for key, value in body.items() if key not in _BESIDE}
    said["options"] = {
        key: value for key, value in body.get("options", {}).items() if key != "seed"
    }
    text = json.dumps([path, said], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def question_of(body: dict[str, Any]) -> str:
    """Return the last words of a request, for people."""
    messages = body.get("messages") or [{}]
    return shown(str(body.get("input") or messages[-1].get("content") or "")[-60:])


class Cassette:
    """The recorded answers of one suite. Safe to share between threads.

    Asked the same several times, it gives the answers in the order in which they were recorded, and
    the last one from then on.

    Args:
        path: Its file, which may not be there yet.

    Raises:
        ConfigurationError: The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._calls: dict[str, dict[str, Any]] = _read(path) if path.exists() else {}
        self._asked: dict[str, int] = {}
        self._new: dict[str, dict[str, Any]] = {}

    def find(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return the recorded answer, or None."""
        digest = digest_of(path, body)
        with self._lock:
            call = self._calls.get(digest)
            if call is None:
                return None
            number = self._asked.get(digest, 0)
            self._asked[digest] = number + 1
            answers: list[dict[str, Any]] = call["answers"]
            return answers[min(number, len(answers) - 1)]

    def record(self, path: str, body: dict[str, Any], answer: dict[str, Any]) -> None:
        """Keep an answer; it is written with `save`."""
        digest = digest_of(path, body)
        with self._lock:
            fresh = {"model": body.get("model", ""), "asked": question_of(body), "answers": []}
            self._new.setdefault(digest, fresh)["answers"].append(answer)

    def stale(self) -> list[str]:
        """Return what is recorded and was not asked for, in words."""
        with self._lock:
            return sorted(
                f"{digest[:12]} {call['asked']}"
                for digest, call in self._calls.items()
                if digest not in self._asked
            )

    def save(self, *, whole: bool) -> None:
        """Write what was recorded; what was there before stays unless the `whole` suite was recorded."""
        calls = self._new if whole else {**self._calls, **self._new}
        document = {"version": VERSION, "calls": dict(sorted(calls.items()))}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(
            json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        fresh.replace(self.path)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        document = read_json(read_text(path))
        version, calls = document["version"], document["calls"]
        sound = version == VERSION and all(call["answers"] for call in calls.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} is no cassette ({error}): record it again") from error
    if not sound:
        raise ConfigurationError(f"{path} is no cassette of version {VERSION}: record it again")
    found: dict[str, dict[str, Any]] = calls
    return found
