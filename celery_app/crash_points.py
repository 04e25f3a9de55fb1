"""Named places at which a test may let a process die, as a power cut would.

``AI_AGENT_CRASH_AT=NAME:FILE`` kills the process the first time it passes the place NAME, and makes
FILE, so that it happens once. Without the variable a crash point costs one dictionary look-up.

Places: ``before-commit`` and ``after-commit`` of a task's outcome, ``before-publish`` and
``after-publish`` of what it released, ``after-expand`` between a stored plan and its messages;
``after-section`` when a section is kept, ``before-document`` and ``after-document`` around its storing;
``chord-ready`` and ``chord-sent`` around the publishing of a chord's body.
"""

from __future__ import annotations

import os
import signal

_VARIABLE = "AI_AGENT_CRASH_AT"


def crash_point(name: str) -> None:
    """Die here, once, if the environment says so."""
    chosen = os.environ.get(_VARIABLE)
    if chosen is None:
        return
    place, _, marker = chosen.partition(":")
    if place != name:
        return
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
