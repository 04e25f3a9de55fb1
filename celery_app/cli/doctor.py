"""What `ai-agent doctor` examines, each thing in one function.

Invariant: nothing is started or changed, and one finding never keeps another from being made.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal

import celery_app
from celery_app.cli.system import this_home
from celery_app.errors import AgentSystemError, ConfigurationError
from celery_app.security.keys import KeyRing
from celery_app.settings import SystemSettings
from celery_app.stack.profile import current_settings, has_data, is_embedded

__all__ = ["Finding", "examine", "source"]

PROJECT = "ai-agent-system"
#: Top-level names that are ours, or would hide what is ours.
NAMES = ("workflows", "agents", "celery_app", "config")
LITTLE_SPACE = 2**30
#: A key is renewed once a year.
OLD_KEY_DAYS = 366
NO_SPACE = 100 * 2**20

WRONG, UNREACHABLE = 2, 4


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    `exit_code` is what the command ends with because of it: 0 for `ok` and `warn`.
    """

    level: Literal["ok", "warn", "fail"]
    subject: str
    fact: str
    advice: str = ""
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the finding as JSON can hold it."""
        return asdict(self)


def examine() -> Iterator[Finding]:
    """Make every finding, in the order in which faults are best mended."""
    yield _python()
    yield from _packages()
    yield from _names()
    yield _space()
    try:
        settings = current_settings()
    except ConfigurationError as error:
        yield Finding("fail", "settings", str(error), exit_code=WRONG)
        return
    yield Finding("ok", "settings", source())
    yield _keys(settings)
    yield _policy()
    yield from _servers(settings)


def source() -> str:
    """Say where the settings come from."""
    if is_embedded():
        return f"the embedded servers in {this_home().path}"
    return f"{Path(os.environ['CONFIG_PATH']) / 'system.yaml'}"


def _keys(settings: SystemSettings) -> Finding:
    encryption = settings.security.encryption
    if not encryption.enabled:
        return Finding("warn", "keys", "messages and rows are in clear", "set encryption.enabled")
    try:
        key = KeyRing(encryption.key_path).current
    except ConfigurationError as error:
        return Finding("fail", "keys", str(error), exit_code=WRONG)
    if key is None:
        if not has_data():
            return Finding("ok", "keys", "the first one is made with the database")
        return Finding("warn", "keys", "messages and rows are in clear", "ai-agent keys create")
    age = (datetime.now(UTC) - key.created_at).days
    if age > OLD_KEY_DAYS:
        return Finding("warn", "keys", f"key {key.id} is {age} days old", "ai-agent keys rotate")
    return Finding("ok", "keys", f"key {key.id} seals messages and rows")


def _policy() -> Finding:
    from celery_app import celery

    try:
        celery.policy()
    except ConfigurationError as error:
        return Finding("fail", "policy", str(error), exit_code=WRONG)
    file = celery.settings.security.permissions.policy_file
    known = f"{file}" if file.is_file() else "the user of this process alone may act"
    return Finding("ok", "policy", known)


def _python() -> Finding:
    wanted = metadata.metadata(PROJECT)["Requires-Python"]
    from packaging.specifiers import SpecifierSet

    version = ".".join(map(str, sys.version_info[:3]))
    if version in SpecifierSet(wanted):
        return Finding("ok", "python", version)
    return Finding("fail", "python", version, f"install Python {wanted}", WRONG)


def _packages() -> Iterator[Finding]:
    """Every package that the project asks for, in the version that it asks for."""
    from packaging.requirements import Requirement

    faults = []
    for line in metadata.requires(PROJECT) or []:
        requirement = Requirement(line)
        extra = "embedded" if is_embedded() else ""
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            faults.append(f"{requirement.name} is missing")
            continue
        if version not in requirement.specifier:
            faults.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    extras = "[embedded]" if is_embedded() else ""
    advice = f"pip install '{PROJECT}{extras}'"
    for fault in faults:
        yield Finding("fail", "packages", fault, advice, WRONG)
    if not faults:
        yield Finding("ok", "packages", "all there, in versions that fit")


def _names() -> Iterator[Finding]:
    """Foreign packages under our names: they would be imported in the place of ours, or by it."""
    owners = metadata.packages_distributions()
    foreign = {
        f"{owner} installs a package `{name}`"
        for name in NAMES
        for owner in owners.get(name, ())
        if re.sub(r"[-_.]+", "-", owner).lower() != PROJECT
    }
    ours = Path(celery_app.__path__[0]).parent
    for name in ("workflows", "agents"):
        found = Path(import_module(name).__path__[0])
        if found.parent != ours:
            foreign.add(f"the package `{name}` in use is {found}")
    for fact in sorted(foreign):
        yield Finding("fail", "names", fact, "give this system a virtual environment", WRONG)
    if not foreign:
        yield Finding("ok", "names", "no foreign package hides one of ours")


def _space() -> Finding:
    home = this_home().path
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    fact = f"{free / 2**30:.1f} GiB free at {there}"
    advice = "make room, or set AI_AGENT_HOME to a larger disk"
    if free < NO_SPACE:
        return Finding("fail", "disk", fact, advice, WRONG)
    return (
        Finding("warn", "disk", fact, advice)
        if free < LITTLE_SPACE
        else Finding("ok", "disk", fact)
    )


def _servers(settings: SystemSettings) -> Iterator[Finding]:
    try:
        from celery_app.cli.overview import model_host_answers, servers

        found = servers(settings)
    except AgentSystemError as error:
        yield Finding("fail", "servers", str(error), exit_code=error.exit_code)
        return
    for server in found:
        yield _server(server)
    if all(server["state"] == "running" for server in found):
        yield _tables()
        yield _worker()
    told = {server["address"] for server in found}
    for url in settings.ollama_hosts:
        if url not in told:
            yield _model_host(url, model_host_answers(url))


def _server(server: dict[str, Any]) -> Finding:
    fact = f"{server['state']} at {server['address']}"
    if server["state"] == "running":
        return Finding("ok", server["name"], fact)
    if is_embedded() and server["state"] == "stopped":
        return Finding("warn", server["name"], fact, "it is started when needed: `ai-agent up`")
    advice = server["error"] or f"see {this_home().path / 'log'}"
    return Finding("fail", server["name"], fact, advice, UNREACHABLE)


def _tables() -> Finding:
    from celery_app.celery import database
    from celery_app.postgres.migrate import pending

    missing = pending(database.impatient())
    if missing:
        advice = "the next command that needs them makes them: `ai-agent task list`"
        return Finding("warn", "tables", f"not there yet: {', '.join(missing)}", advice)
    return Finding("ok", "tables", "up to date")


def _worker() -> Finding:
    from celery_app.cli.system import workers

    found = workers()
    if found:
        return Finding("ok", "worker", ", ".join(found))
    return Finding("warn", "worker", "none answers", "start one: `ai-agent up --detach`")


def _model_host(url: str, error: str | None) -> Finding:
    if error is None:
        return Finding("ok", "models", f"{url} answers")
    return Finding(
        "warn", "models", f"{url} does not answer ({error})", "agents cannot work without"
    )
