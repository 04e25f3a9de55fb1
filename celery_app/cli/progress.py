"""Following a run: look at its document whenever something ended, and show what changed.

Invariant: a push from Postgres only says *look now*; what is shown was read from the tables.
Between two looks lie at least a quarter of a second and at most one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live

from celery_app.cli.options import JsonObject
from celery_app.cli.screen import line_of, plan_line, timed, tree_of
from celery_app.cli.system import note

if TYPE_CHECKING:
    from celery_app.handles import TaskHandle
    from celery_app.orchestrator.following import Pushes
    from celery_app.postgres.connection import Database

__all__ = ["Display", "LinesDisplay", "LiveDisplay", "Look", "News", "choose_display", "follow"]

SHORTEST_LOOK = 0.25
LONGEST_LOOK = 1.0
FINAL = frozenset({"succeeded", "failed", "cancelled", "skipped"})


class News(NamedTuple):
    """A line about one part of a run; it is news when its state is another than before."""

    part: str
    state: str
    line: str


class Look(NamedTuple):
    """How a kind of document is shown: as a picture on that console, and as lines."""

    draw: Callable[[JsonObject, Console], RenderableType]
    news: Callable[[JsonObject], Iterator[News]]


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
        """Show the document as it stands now."""


class LiveDisplay:
    """The picture on a terminal, drawn anew in its place."""

    def __init__(self, console: Console, look: Look | None = None) -> None:
        self._console = console
        self._draw = (look or TASKS).draw
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
        """Keep the document for the next drawing; running seconds go on by themselves."""
        self._document = document

    def _picture(self) -> RenderableType:
        return self._draw(self._document, self._console) if self._document else ""


class LinesDisplay:
    """One line for each change of a state."""

    def __init__(self, say: Callable[[str], None] = note, look: Look | None = None) -> None:
        self._say = say
        self._news = (look or TASKS).news
        self._states: dict[str, str] = {}

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
        """Say what changed since the last look; what only waits for its turn is not news."""
        for part, state, line in self._news(document):
            before = self._states.get(part, "pending")
            self._states[part] = state
            if state != before:
                self._say(line)


def _tree(document: JsonObject, console: Console) -> RenderableType:
    return tree_of(timed(document), max(20, console.width - 50))


def _news(document: JsonObject) -> Iterator[News]:
    if document.get("plan"):
        yield News("plan", "made", plan_line(document["plan"]))
    shown = timed(document)
    for task in (shown, *shown["tasks"]):
        yield News(task["id"], task["state"], line_of(task))


TASKS = Look(_tree, _news)
"""How a task and its subtasks are shown."""


def choose_display(look: Look = TASKS) -> Display:
    """Return the display that suits stderr."""
    console = Console(stderr=True)
    if sys.stderr.isatty() and not console.is_dumb_terminal:
        return LiveDisplay(console, look)
    return LinesDisplay(look=look)


def follow(
    handle: TaskHandle, database: Database, display: Display, seconds: float | None
) -> JsonObject:
    """Show a task or a run until it is over, or until `seconds` have passed; return its document."""
    from celery_app.orchestrator.following import Pushes

    end = None if seconds is None else time.monotonic() + seconds
    pushes = Pushes(database)
    try:
        with display:
            while True:
                looked = time.monotonic()
                document = handle.tree()
                display.show(document)
                if document["state"] in FINAL or (end is not None and looked >= end):
                    return document
                pushes.known = set(_ids(document))
                _pause(pushes, looked, end)
    finally:
        pushes.close()


def _ids(document: JsonObject) -> Iterator[str]:
    yield document["id"]
    yield from (task["id"] for task in document.get("tasks", ()))
    for step in document.get("steps", ()):
        yield step["task_id"]
        yield from (task["id"] for task in step["tasks"])


def _pause(pushes: Pushes, looked: float, end: float | None) -> None:
    left = LONGEST_LOOK if end is None else min(LONGEST_LOOK, end - time.monotonic())
    pushes.wait(max(0.0, left))
    too_early = looked + SHORTEST_LOOK - time.monotonic()
    if too_early > 0:
        time.sleep(too_early)
