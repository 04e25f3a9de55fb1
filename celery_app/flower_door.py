"""The door of Flower: whom it lets in, and which columns it shows, unless it was told.

Invariants
  * Flower asks for a name and a password unless the settings, its own options (`--basic_auth`, `--auth`),
    a `FLOWER_*` variable or its configuration file say otherwise.
  * The password is in no command line, environment or log; its file is for its owner alone.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery_app.monitoring_settings import Flower
from celery_app.redaction import keep_secret
from celery_app.stack.home import Home

__all__ = ["FLOWER_PORT", "Credentials", "attend", "credentials", "password_place"]

logger = logging.getLogger(__name__)

FLOWER_PORT = 5555

#: What Flower shows by itself, and what a task is about: the agent or type in the place of arguments.
_USUAL_COLUMNS = "name,uuid,state,received,runtime,worker"
_COLUMNS = "name,args,uuid,state,received,runtime,worker"


@dataclass(frozen=True)
class Credentials:
    """Who is let in; `place` is where that stands."""

    user: str
    password: str
    place: Path

    @property
    def pair(self) -> str:
        """As Flower and curl write it."""
        return f"{self.user}:{self.password}"


def password_place(section: Flower, environ: Mapping[str, str]) -> Path:
    """Return the file in which the password stands, or will once Flower was started."""
    return section.password_file or Home.of(environ).path / "flower"


def credentials(section: Flower, environ: Mapping[str, str]) -> Credentials:
    """Return who is let in; the first time, a password is made and kept in the home.

    Raises:
        ConfigurationError: The home cannot be used.
    """
    place = password_place(section, environ)
    if section.secret is not None:
        return Credentials(section.user, section.secret, place)
    home = Home.of(environ)
    home.prepare()
    with home.locked("flower"):
        if not place.exists():
            _write(place, f"{section.user}:{secrets.token_urlsafe(24)}\n")
        user, _, password = place.read_text(encoding="utf-8").strip().partition(":")
    keep_secret(password)
    return Credentials(user, password, place)


def attend(options: Any, section: Flower) -> None:
    """Close the door of a Flower that is about to start, unless its options say who is let in.

    Args:
        options: Flower's own, once its command line, environment and file were read.
        section: The settings.
    """
    if options.tasks_columns == _USUAL_COLUMNS:
        options.tasks_columns = _COLUMNS
    if options.basic_auth or options.auth:
        return
    if not section.auth:
        logger.warning("Flower asks nobody for a password: whoever reaches it sees and ends tasks")
        return
    known = credentials(section, os.environ)
    options.basic_auth = [known.pair]
    logger.info("Flower asks for a user and a password: they stand in %s", known.place)


def _write(place: Path, text: str) -> None:
    fresh = place.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(place)
