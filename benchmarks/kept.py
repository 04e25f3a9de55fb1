"""Figures of measurements as JSON files, each with what it was measured with and on.

Invariant: nothing in a file says whose machine it was: no names of hosts, no paths.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

__all__ = ["FOLDER", "ROOT", "keep", "kept"]

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "bench"

_PACKAGES = ("celery", "kombu", "redis", "SQLAlchemy", "psycopg2-binary", "ollama")


def keep(name: str, figures: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write the figures of a measurement, in the place of those before; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    told = {"date": datetime.now(UTC).date().isoformat(), "machine": _machine(), **figures}
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return path


def kept(name: str, folder: Path = FOLDER) -> dict[str, Any] | None:
    """Return the figures that were kept of a measurement, if it was made."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "processor": _processor(),
        "system": platform.system(),
        "load_before": round(os.getloadavg()[2], 2),
        "versions": {"Python": platform.python_version(), **dict(_versions())},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        yield package, version(package)
