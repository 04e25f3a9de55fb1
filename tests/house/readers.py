"""Who reads the YAML, TOML and JSON that documents show: whoever reads such a file in the system."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from agents.agent_manager import AgentManager
from celery_app.observe.alert_rules import AlertFile
from celery_app.security.policy import Policy
from celery_app.settings import SystemSettings, make_settings
from celery_app.sources import Source
from workflows.definitions import load
from workflows.project_file import load as load_project

__all__ = ["DATA", "read"]

Reader = Callable[[str, Path], object]


def read(language: str, text: str, folder: Path) -> None:
    """Read a block as its reader does; what is wrong is raised, and so is that nobody reads it."""
    DATA[language](text, folder)


def _yaml(text: str, folder: Path) -> None:
    keys = set(yaml.safe_load(text))
    for marks, reader in _YAML:
        if marks <= keys:
            reader(text, folder)
            return
    unknown = keys - SystemSettings.model_fields.keys()
    assert not unknown, f"no reader is known for YAML with {sorted(unknown)}: add it to _YAML"
    _settings(text, folder)


def _settings(text: str, folder: Path) -> None:
    text = _with_passwords(text, folder)
    make_settings(Source.parse(text, "system.yaml"), folder)


def _alerts(text: str, folder: Path) -> None:
    path = folder / "alerts.yaml"
    path.write_text(_with_passwords(text, folder))
    AlertFile.load(path)


def _with_passwords(text: str, folder: Path) -> str:
    """Return a text whose password files are there."""
    for secret in _paths(Source.parse(text, "a text").values, "password_file"):
        path = folder / secret.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a password for a test")
        text = text.replace(secret, str(path))
    return text


def _paths(value: Any, name: str) -> list[str]:
    """Return what stands under a name anywhere inside a value."""
    found: list[str] = []
    for key, inner in value.items() if isinstance(value, dict) else ():
        found += [inner] if key == name else _paths(inner, name)
    return found


def _roster(text: str, folder: Path) -> None:
    path = folder / "agents.yaml"
    path.write_text(text)
    AgentManager.load(path)


def _policy(text: str, folder: Path) -> None:
    path = folder / "policies.yaml"
    path.write_text(text)
    Policy.load(path, "deny")


def _suite(text: str, folder: Path) -> None:
    path = folder / "shown.agenttest.yaml"
    path.write_text(text)
    import_module("celery_app.testing.reading").read_suite(path)


def _shape_only(text: str, _: Path) -> None:
    """A file of another program, or one whose own tests read it."""
    assert yaml.safe_load(text)


#: Files by the keys that only they have; the first that fits counts.
_YAML: list[tuple[set[str], Reader]] = [
    ({"name", "steps"}, lambda text, _: load(text)),
    ({"name", "cases"}, _suite),
    ({"agents"}, _roster),
    ({"notifiers"}, _alerts),
    ({"rules"}, _policy),
    ({"services"}, _shape_only),
    ({"scrape_configs"}, _shape_only),
    ({"receivers"}, _shape_only),
    ({"goals"}, lambda text, _: load_project(text)),
    ({"alerts"}, _shape_only),
]

DATA: dict[str, Reader] = {
    "yaml": _yaml,
    "toml": lambda text, _: tomllib.loads(text),
    "json": lambda text, _: json.loads(text),
}
