"""Waiting at a terminal for what was handed in: show it, print its result, or leave it.

Invariant: stdout holds the result (or the one JSON document) and nothing else; whatever is told on
the way goes to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import click

from celery_app.cli.options import JsonObject

if TYPE_CHECKING:
    from celery_app.cli.progress import Look
    from celery_app.handles import TaskHandle

__all__ = ["PROJECT", "RUN", "TASK", "Kind", "see_through", "watch"]

INTERRUPTED = 130


@dataclass(frozen=True)
class Kind:
    """What is waited for, the command that looks at it later, what that does, and the one that ends it."""

    name: str
    later: str
    does: str
    end: str


TASK = Kind("task", "ai-agent task wait", "prints its result", "ai-agent task cancel")
PROJECT = Kind("run", "ai-agent task wait", "prints its results", "ai-agent task cancel")
RUN = Kind("run", "ai-agent workflow show", "shows it", "ai-agent workflow cancel")


def see_through(
    handle: TaskHandle, kind: Kind, timeout: float | None, as_json: bool, look: Look | None = None
) -> None:
    """Show something until it is over and print its result; Ctrl-C leaves it or cancels it.

    Args:
        handle: What was handed in.
        kind: What it is.
        timeout: Seconds to wait.
        as_json: Print its document instead of the result.
        look: How it is shown while it goes on; by default as a tree of tasks.

    Raises:
        TaskFailed: It did not succeed.
        WaitTimeout: It is not over in time; it goes on.
    """
    try:
        _follow(handle, kind, timeout, as_json, look)
    except KeyboardInterrupt:
        _leave_or_cancel(handle, kind)


def watch(handle: TaskHandle, kind: Kind, timeout: float | None) -> None:
    """Show something until it is over, and print nothing; otherwise as `see_through`."""
    try:
        _shown(handle, kind, timeout, None)
        handle.result(timeout=10)
    except KeyboardInterrupt:
        _leave_or_cancel(handle, kind)


def _follow(
    handle: TaskHandle, kind: Kind, timeout: float | None, as_json: bool, look: Look | None
) -> None:
    from celery_app.cli.screen import print_json, print_result

    _shown(handle, kind, timeout, look, print_json if as_json else None)
    result = handle.result(timeout=10)
    if not as_json:
        print_result(result)


def _shown(
    handle: TaskHandle,
    kind: Kind,
    timeout: float | None,
    look: Look | None,
    tell: Callable[[JsonObject], None] | None = None,
) -> None:
    """Show something until it is over or the time is up; `tell` is given its document then."""
    from celery_app.celery import database
    from celery_app.cli.background import ensure_worker
    from celery_app.cli.progress import FINAL, TASKS, choose_display, follow
    from celery_app.cli.system import note
    from celery_app.errors import WaitTimeout

    note(f"{kind.name} {handle.id}")
    ensure_worker()
    document = follow(handle, database, choose_display(look or TASKS), timeout)
    if tell is not None:
        tell(document)
    if document["state"] not in FINAL:
        raise WaitTimeout(
            f"{kind.name} {handle.id} is {document['state']} after {timeout:g} s; it goes on: "
            f"`{kind.later} {handle.id}`"
        )


def _leave_or_cancel(handle: TaskHandle, kind: Kind) -> NoReturn:
    """Ask what becomes of it, where somebody is there to ask; end this process."""
    choice = "l"
    if sys.stdin.isatty() and sys.stderr.isatty():
        try:
            choice = click.prompt(
                "\nleave it running or cancel?",
                type=click.Choice(["l", "c"], case_sensitive=False),
                default="l",
                err=True,
            )
        except (click.Abort, KeyboardInterrupt):
            click.echo(err=True)
    if choice == "c":
        handle.cancel()
        click.echo(f"{kind.name} {handle.id} is cancelled", err=True)
    else:
        click.echo(
            f"{kind.name} {handle.id} goes on: `{kind.later} {handle.id}` {kind.does}, "
            f"`{kind.end} {handle.id}` ends it",
            err=True,
        )
    sys.exit(INTERRUPTED)
