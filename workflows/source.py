"""YAML as it was written: plain JSON values, and the line of each.

Words are read as YAML 1.2 reads them: only true and false are booleans (not yes, no, on, off), and
12:30 and 2026-01-01 are text. Whatever PyYAML writes as text is read as text here.

Invariant: reading makes nothing but plain values, at most `max_nodes` of them, however often anchors
repeat what they name. What is wrong is noted with its line, and the rest is read all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from workflows.problem import Problem
from workflows.step_rules import Path
from workflows.storable import finite, text_fault

__all__ = ["MAX_NODES", "MAX_SIZE", "Source"]

MAX_SIZE = 256 * 1024
MAX_NODES = 50_000
MAX_DEPTH = 40

_STR = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_TAGS = {_STR, _NULL, _BOOL, _INT, _FLOAT, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with fewer guesses."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in [
    (_NULL, r"~|null|Null|NULL|", "~nN\0"),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (_INT, r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (_FLOAT, r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?", "-+0123456789"),
]:
    letters = [*_first.replace("\0", ""), *([""] if "\0" in _first else [])]
    _Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), letters)


class _TooLarge(Exception):
    """There is more in the file than may be read."""


@dataclass
class Source:
    """What a file says. `values` is None when it could not be read at all."""

    file: str
    values: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _left: int = MAX_NODES

    @classmethod
    def read(
        cls, text: str, file: str, *, max_size: int = MAX_SIZE, max_nodes: int = MAX_NODES
    ) -> Source:
        """Read YAML (or JSON) text; `file` stands for it in messages."""
        source = cls(file, _left=max_nodes)
        if len(text) > max_size:
            source._note(1, f"it has {len(text)} characters: give up to {max_size}")
            return source
        try:
            root = yaml.compose(text, Loader=_Loader)
            source.values = None if root is None else source._value(root, ())
        except yaml.MarkedYAMLError as error:
            source._note_broken(error)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            source._note(line, f"the character U+{error.character:04X} cannot be read: remove it")
        except (RecursionError, _TooLarge) as error:
            deep = "it is nested too deep: flatten it"
            source._note(1, str(error) if isinstance(error, _TooLarge) else deep)
            source.values = None
        return source

    def line(self, path: Path) -> int:
        """Return the line of a key, or of the nearest one around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 1

    def _note(self, line: int, text: str) -> None:
        self.problems.append(Problem(self.file, line, "", text))

    def _note_broken(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = f"{error.problem or error.context}"
        advice = "indent with spaces" if "\\t" in said else "correct the YAML there"
        self._note(line, f"this is not YAML, at column {column}: {said}: {advice}")

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._left -= 1
        line = node.start_mark.line + 1
        if self._left < 0:
            raise _TooLarge("it holds too many values (an alias counts as all it names): split it")
        if len(path) > MAX_DEPTH:
            raise _TooLarge(f"it is nested more than {MAX_DEPTH} deep at line {line}: flatten it")
        self.lines.setdefault(path, line)
        if node.tag not in _TAGS:
            self._note(
                line,
                f"the tag {node.tag.replace('tag:yaml.org,2002:', '!!')} is not read here: drop it",
            )
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(inner, (*path, n)) for n, inner in enumerate(node.value)]
        return self._scalar(node, line)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, inner in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._note(line, "a key is a word, not a list or a mapping: quote it if it is text")
                continue
            # The text of the key as it stands, for `on` would be a boolean in YAML 1.1.
            name = str(key.value)
            if fault := text_fault(name):
                self._note(line, fault)
            elif name == "<<" and key.style is None:
                self._note(line, "merge keys (<<) are not read here: repeat the keys")
            elif name in values:
                first = self.lines[(*path, name)]
                self._note(line, f"the key {name!r} was written before, at line {first}: keep one")
            else:
                self.lines[(*path, name)] = line
                values[name] = self._value(inner, (*path, name))
        return values

    def _scalar(self, node: yaml.Node, line: int) -> Any:
        text = str(node.value)
        try:
            if node.tag == _INT:
                return int(text)
            if node.tag == _FLOAT:
                return finite(text)
        except ValueError:
            self._note(
                line, f"{text:.20}... is no number that can be read: quote it to make it text"
            )
            return None
        if node.tag == _BOOL:
            return text.lower() == "true"
        if node.tag == _NULL:
            return None
        if fault := text_fault(text):
            self._note(line, fault)
            return None
        return text
