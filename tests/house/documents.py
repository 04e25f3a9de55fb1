"""The blocks of README and docs, and the command lines in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "SHELL", "Block", "Command", "blocks", "commands"]

ROOT = Path(__file__).parents[2]
SHELL = ("sh", "bash", "console")

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```\s*$", re.MULTILINE | re.DOTALL)
_OPERATORS = {"&&", "||", "|", ";", "&"}
_INSIDE = re.compile(r"\$\(([^()]+)\)")
_VARIABLE = re.compile(r"(\w+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language and its text."""

    file: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One program with its arguments, and the variables that were written before it."""

    block: Block
    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.block} {' '.join(self.words)}"


def blocks() -> list[Block]:
    """Return all blocks of all documents."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [block for path in files for block in _blocks_of(path)]


def _blocks_of(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(str(path.relative_to(ROOT)), line, found[2], found[3])


def commands(block: Block) -> Iterator[Command]:
    """Return the commands of a shell block, those inside `$(...)` and of pipes too."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        if block.language == "console":
            if not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ")
        yield from _commands_of(block, line)


def _commands_of(block: Block, line: str) -> Iterator[Command]:
    for inside in _INSIDE.finditer(line):
        yield from _commands_of(block, inside[1])
    reader = shlex.shlex(_INSIDE.sub("inside", line), posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    words: list[str] = []
    for word in [*reader, ";"]:
        if word not in _OPERATORS:
            words.append(word)
            continue
        if words:
            yield _command(block, words)
        words = []


def _command(block: Block, words: list[str]) -> Command:
    kept = _without_redirections(words)
    variables = []
    while kept and (found := _VARIABLE.fullmatch(kept[0])):
        variables.append((found[1], found[2]))
        kept = kept[1:]
    return Command(block, tuple(kept), tuple(variables))


def _without_redirections(words: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word in (">", ">>", "<"):
            skip = not skip
        else:
            kept.append(word)
    return kept
