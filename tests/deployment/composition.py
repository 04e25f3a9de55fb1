"""docker-compose.yml as Compose would read it, and each of its containers as a process of this machine."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

__all__ = ["ROOT", "as_list", "as_mapping", "environment", "interpolated", "read_compose"]

ROOT = Path(__file__).parents[2]

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def interpolated(text: str, environ: Mapping[str, str]) -> str:
    """Return the text with `${NAME:-default}` filled in, as Compose does before it reads the file."""
    return _VARIABLE.sub(lambda found: environ.get(found[1]) or found[2] or "", text)


def read_compose(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return our docker-compose.yml under an environment."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    return cast("dict[str, Any]", yaml.safe_load(interpolated(text, environ or {})))


def as_mapping(variables: list[str] | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an `environment` as a mapping, whichever way it was written."""
    if isinstance(variables, list):
        return dict(line.split("=", 1) for line in variables)
    return dict(variables or {})


def as_list(names: list[str] | Mapping[str, Any] | None) -> list[str]:
    """Return the names of `depends_on`, whichever way it was written."""
    return list(names or [])


def environment(service: Mapping[str, Any], places: Mapping[str, Path]) -> dict[str, str]:
    """Return the variables of a service, with the paths of the container replaced by those of `places`."""
    found = {}
    for name, value in as_mapping(service.get("environment")).items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        for inside, here in places.items():
            text = text.replace(inside, str(here))
        found[name] = text
    return found


def variables_asked_for() -> set[str]:
    """Return the names that docker-compose.yml takes from its surroundings."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    return {found[1] for found in _VARIABLE.finditer(text)}


def ignored_by_git(path: str) -> bool:
    """Whether git leaves a path of the repository out."""
    asked = ["git", "check-ignore", "--quiet", path]
    return subprocess.run(asked, cwd=ROOT, env=dict(os.environ), check=False).returncode == 0
