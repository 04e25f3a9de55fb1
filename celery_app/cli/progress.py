"""Following a run: look at its tree whenever something ended, and show what changed.

Invariant: a push from Postgres only says *look now*; what is shown was read from the tables.
Between two looks lie at least a quarter of a second and at most one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.tree import Tree

from celery_app.cli.options import JsonObject
from celery_app.cli.screen import line_of, plan_line, timed, tree_of
from celery_app.cli.system import note

if TYPE_CHECKING:
    from celery_app.handles import TaskHandle
    from celery_app.orchestrator.following import Pushes
    from celery_app.postgres.connection import Database

__all__ = ["Display", "LinesDisplay", "LiveDisplay", "choose_display", "follow"]

SHORTEST_LOOK = 0.25
LONGEST_LOOK = 1.0
FINAL = frozenset({"succeeded", "failed", "cancelled", "skipped"})


class Display(Protocol):
    """Shows a run while it goes on."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Leave the screen in order."""

    def show(self, document: JsonObject) -> None:
        """Show the tree as it stands now."""


class LiveDisplay:
    """The tree on a terminal, drawn anew in its place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._document: JsonObject | None = None
        self._live = Live(
            console=console,
            get_renderable=self._picture,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, document: JsonObject) -> None:
        """Keep the tree for the next drawing; running seconds go on by themselves."""
        self._document = document

    def _picture(self) -> Tree | str:
        width = max(20, self._console.width - 50)
        return tree_of(self._document, width) if self._document else ""


class LinesDisplay:
    """One line for each change of a state."""

    def __init__(self, say: Callable[[str], None] = note) -> None:
        self._say = say
        self._states: dict[str, str] = {}
        self._planned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        return None

    def show(self, document: JsonObject) -> None:
        """Say what changed since the last look; tasks that only wait are not news."""
        if document.get("plan") and not self._planned:
            self._planned = True
            self._say(plan_line(document["plan"]))
        for task in (document, *document["tasks"]):
            before = self._states.get(task["id"], "pending")
            self._states[task["id"]] = task["state"]
            if task["state"] != before:
                self._say(line_of(task))


def choose_display() -> Display:
    """Return the display that suits stderr."""
    console = Console(stderr=True)
    if sys.stderr.isatty() and not console.is_dumb_terminal:
        return LiveDisplay(console)
    return LinesDisplay()


def follow(
    handle: TaskHandle, database: Database, display: Display, seconds: float | None
) -> JsonObject:
    """Show a task until it is over, or until `seconds` have passed; return its tree."""
    from celery_app.orchestrator.following import Pushes

    end = None if seconds is None else time.monotonic() + seconds
    pushes = Pushes(database)
    try:
        with display:
            while True:
                looked = time.monotonic()
                document = handle.tree()
                display.show(timed(document))
                if document["state"] in FINAL or (end is not None and looked >= end):
                    return document
                pushes.known = {document["id"], *(task["id"] for task in document["tasks"])}
                _pause(pushes, looked, end)
    finally:
        pushes.close()


def _pause(pushes: Pushes, looked: float, end: float | None) -> None:
    left = LONGEST_LOOK if end is None else min(LONGEST_LOOK, end - time.monotonic())
    pushes.wait(max(0.0, left))
    too_early = looked + SHORTEST_LOOK - time.monotonic()
    if too_early > 0:
        time.sleep(too_early)
