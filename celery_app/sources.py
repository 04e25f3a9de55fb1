"""Settings as they were written: YAML with the line of every key, and the environment's overrides.

Invariant: every value knows where it was written, so that every refusal can say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from celery_app.errors import ConfigurationError

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
        """Read a YAML file. Raises ConfigurationError with file, line and column."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str) -> Source:
        """Read YAML text; `name` stands for it in messages."""
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            values = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
            raise ConfigurationError(f"{place}: this is not YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{name}: this is not YAML: {error}") from error
        if root is None:
            return cls(name=name)
        if not isinstance(values, dict):
            raise ConfigurationError(
                f"{name}:1: keys are expected here, and this is {values!r:.60}"
            )
        source = cls(values, name=name)
        source._note_places(root, ())
        return source

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
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ConfigurationError(
                    f"{variable}={text!r} is not a YAML value: quote it as in {variable}='\"...\"'"
                ) from error
            self._put(path, value, variable)

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

    def _note_places(self, node: yaml.Node, path: KeyPath) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*path, str(key.value))
                place = f"{self.name}:{key.start_mark.line + 1}"
                if inner in self.places:
                    raise ConfigurationError(
                        f"{place}: {'.'.join(map(str, inner))} was written before,"
                        f" at {self.places[inner]}: keep one of the two"
                    )
                self.places[inner] = place
                self._note_places(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                inner = (*path, index)
                self.places[inner] = f"{self.name}:{value.start_mark.line + 1}"
                self._note_places(value, inner)
