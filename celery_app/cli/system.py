"""The running system as commands see it: a client, its stores, its workers.

Invariant: this is the only place from which commands import the app, and nothing here is imported
before a command runs; so `--config` holds, and help stays fast.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import click

from celery_app.cli.options import is_id

if TYPE_CHECKING:
    from celery_app.client import Client
    from celery_app.handles import TaskHandle
    from celery_app.stack.home import Home
    from celery_app.store.tasks import TaskStore

__all__ = ["find_task", "note", "open_client", "open_store", "prepare", "this_home", "workers"]


def note(message: str) -> None:
    """Tell the person at the terminal something that is not the command's result."""
    click.echo(message, err=True)


def this_home() -> Home:
    """Return the data folder of this environment."""
    from celery_app.stack.home import Home

    return Home.of(os.environ)


def prepare() -> None:
    """Make the servers and tables ready; says so when the embedded servers must be started.

    Raises:
        ConfigurationError: The settings are wrong.
        ServiceUnavailable: A configured server does not answer.
    """
    from celery_app.stack.profile import embedded_stack, is_embedded

    if is_embedded():
        stack = embedded_stack()
        if not stack.running():
            note(f"starting the embedded servers in {stack.home.path}")
    _see_modules_of_the_user()
    from celery_app import celery

    celery.prepare()


def open_client() -> Client:
    """Return a client of the prepared system; raises as `prepare` does."""
    prepare()
    from celery_app.client import Client

    return Client()


def open_store() -> TaskStore:
    """Return the store of tasks, without preparing anything."""
    from celery_app.celery import store

    return store


def find_task(client: Client, given: str) -> TaskHandle:
    """Return the task whose id is given, or is the only one that begins so.

    Raises:
        UnknownTask: No id begins so.
        click.BadParameter: Several do, or it is no part of an id.
    """
    from celery_app.errors import UnknownTask

    beginning = given.strip().lower()
    with suppress(ValueError):
        beginning = str(UUID(beginning))
    if not is_id(beginning):
        raise click.BadParameter(f"{given!r} is no task id; `ai-agent task list` shows them")
    found = open_store().find(beginning)
    if not found:
        raise UnknownTask(f"no task id begins with {given!r}; `ai-agent task list` shows them")
    if len(found) > 1 and beginning not in found:
        raise click.BadParameter(
            f"{given!r} is the beginning of several ids ({', '.join(sorted(found)[:3])}, ...);"
            " give more of it"
        )
    return client.task(beginning if beginning in found else found[0])


def workers(seconds: float = 1.0, *, any_one: bool = False) -> list[str]:
    """Return the names of the workers that answer within `seconds`.

    Args:
        seconds: How long to listen for answers.
        any_one: Return as soon as one has answered.

    Raises:
        ServiceUnavailable: The broker does not answer.
    """
    from celery_app.celery import app, queue

    queue.ensure_reachable()
    replies = app.control.ping(timeout=seconds, limit=1 if any_one else None) or []
    return sorted(name for reply in replies for name in reply)


def _see_modules_of_the_user() -> None:
    """Find the modules named in `imports:` from the working directory, as Celery does.

    At the end of the path, so that a folder named like one of our packages cannot hide it.
    """
    with suppress(FileNotFoundError):
        here = os.getcwd()
        if here not in sys.path:
            sys.path.append(here)
