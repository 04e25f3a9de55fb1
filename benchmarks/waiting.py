"""Waiting until a program that was started can be used. The standard library alone: peers have no other.

Whoever starts gives no sign but what they write or answer, so that is looked at again and again, at most
for a minute or two, and never while anything is measured.
"""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

__all__ = ["wait_for_answer", "wait_for_words"]

_PAUSE = 0.05


def wait_for_words(
    process: subprocess.Popen[bytes], log: Path, words: str, seconds: float = 60
) -> None:
    """Wait until a program has written some words to its log. Raises SystemExit with the log."""
    _wait(
        process,
        seconds,
        lambda: words in log.read_text(errors="replace"),
        lambda: log.read_text(errors="replace")[-4000:],
    )


def wait_for_answer(
    url: str, process: subprocess.Popen[bytes] | None = None, seconds: float = 60
) -> None:
    """Wait until somebody answers well at an address. Raises SystemExit."""
    _wait(process, seconds, lambda: _answers(url), lambda: f"nobody answers at {url}")


def _wait(
    process: subprocess.Popen[bytes] | None,
    seconds: float,
    started: Callable[[], bool],
    why: Callable[[], str],
) -> None:
    deadline = time.monotonic() + seconds
    while not started():
        has_ended = process is not None and process.poll() is not None
        if has_ended or time.monotonic() > deadline:
            raise SystemExit(f"a program did not start:\n{why()}")
        time.sleep(_PAUSE)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True
