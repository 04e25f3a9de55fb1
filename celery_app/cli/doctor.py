"""What `ai-agent doctor` examines, each thing in one function.

Invariant: nothing is started or changed, and one finding never keeps another from being made.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path

import celery_app
from celery_app.cli.doctor_servers import examine_ports, examine_servers
from celery_app.cli.finding import WRONG, Finding
from celery_app.cli.system import this_home
from celery_app.errors import ConfigurationError
from celery_app.security.keys import KeyRing
from celery_app.settings import SystemSettings
from celery_app.stack.profile import (
    PROJECT,
    current_settings,
    has_data,
    is_embedded,
    of_folder,
)

__all__ = ["examine", "source"]

PACKAGE = "ai-agent-system"
#: Top-level names that are ours, or would hide what is ours.
NAMES = ("workflows", "agents", "celery_app", "config")
LITTLE_SPACE = 2**30
#: A key is renewed once a year.
OLD_KEY_DAYS = 366
NO_SPACE = 100 * 2**20


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
    yield from examine_servers(settings)
    yield from examine_ports()


def source() -> str:
    """Say where the settings come from."""
    if is_embedded():
        of = f" under {PROJECT.absolute()}" if of_folder() else ""
        return f"the embedded servers in {this_home().path}{of}"
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
    wanted = metadata.metadata(PACKAGE)["Requires-Python"]
    from packaging.specifiers import SpecifierSet

    version = ".".join(map(str, sys.version_info[:3]))
    if version in SpecifierSet(wanted):
        return Finding("ok", "python", version)
    return Finding("fail", "python", version, f"install Python {wanted}", WRONG)


def _packages() -> Iterator[Finding]:
    """Every package that the project asks for, in the version that it asks for."""
    from packaging.requirements import Requirement

    faults = []
    for line in metadata.requires(PACKAGE) or []:
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
    advice = f"pip install '{PACKAGE}{extras}'"
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
        if re.sub(r"[-_.]+", "-", owner).lower() != PACKAGE
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
