"""Settings as they were written: YAML with the line of every key, and the environment's overrides.

Invariant: every value knows where it was written, so that every refusal can say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celery_app.errors import ConfigurationError
from workflows import source
from workflows.problem import shown
from workflows.text_file import read_text

__all__ = ["PREFIX", "KeyPath", "Source"]

PREFIX = "AI_AGENT__"

KeyPath = tuple[str | int, ...]
"""The way to a value: `("components", "database", "port")`."""


@dataclass
class Source:
    """Nested values, and for each key the place where it was written.

    `places` holds `system.yaml:12` for a key of a file and the variable's name for an override.
    """

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)
    name: str = "settings"

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read a YAML file. Raises ConfigurationError with file and line."""
        try:
            text = read_text(path)
        except ValueError as error:
            raise ConfigurationError(f"{path} {error}") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str) -> Source:
        """Read YAML text; `name` stands for it in messages."""
        written = source.Source.read(text, name)
        if written.problems:
            more = len(written.problems) - 1
            others = f" (and {more} more)" if more else ""
            raise ConfigurationError(f"{written.problems[0]}{others}")
        values = {} if written.values is None else written.values
        if not isinstance(values, dict):
            raise ConfigurationError(
                f"{name}:1: keys are expected here, and this is {shown(values)}"
            )
        places = {path: f"{name}:{line}" for path, line in written.lines.items() if path}
        return cls(values, places, name)

    def override(self, environ: Mapping[str, str]) -> None:
        """Lay `AI_AGENT__A__B=value` over the key `a.b`; values are YAML (`5433`, `[a, b]`)."""
        for variable, text in sorted(environ.items()):
            if not variable.startswith(PREFIX):
                continue
            path = tuple(variable.removeprefix(PREFIX).lower().split("__"))
            if not all(path):
                raise ConfigurationError(
                    f"{variable} names no key: write AI_AGENT__COMPONENTS__DATABASE__HOST"
                )
            written = source.Source.read(text, variable)
            if written.problems:
                raise ConfigurationError(
                    f"{variable}={shown(text)} is not a YAML value: "
                    f"quote it as in {variable}='\"...\"'"
                )
            self._put(path, written.values, variable)

    def place(self, path: KeyPath) -> str:
        """Return where the key was written, or where the nearest key around it was."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.name

    def _put(self, path: tuple[str, ...], value: Any, variable: str) -> None:
        branch = self.values
        for depth, key in enumerate(path[:-1], start=1):
            inner = branch.get(key)
            if inner is None:
                inner = branch[key] = {}
                self.places[path[:depth]] = variable
            if not isinstance(inner, dict):
                raise ConfigurationError(
                    f"{variable}: {'.'.join(path[:depth])} holds a value, not keys: use"
                    f" {PREFIX}{'__'.join(path[:depth]).upper()}"
                )
            branch = inner
        branch[path[-1]] = value
        self.places[path] = variable
