"""Prompts: Markdown files whose turns begin at lines such as `## user`, filled with values.

Invariant: a prompt that was filled holds every value it asks for and no other; values are put in
as they are, so a dollar sign or a heading in them means nothing.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Self, cast

from agents.errors import PromptError
from agents.model import Message, Role

__all__ = ["Prompt"]

_TURN = re.compile(r"^## (system|user|assistant)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Prompt:
    """The turns of a conversation, with `$placeholders` ($$ is a dollar sign)."""

    name: str
    turns: tuple[tuple[Role, Template], ...]

    @classmethod
    def read(cls, name: str, text: str) -> Self:
        """Make a prompt of Markdown; what stands above the first turn is for its readers only."""
        _, *rest = _TURN.split(text)
        turns = tuple(
            (cast(Role, role), Template(words.strip()))
            for role, words in zip(rest[::2], rest[1::2], strict=True)
        )
        if not turns:
            raise PromptError(f"the prompt {name!r} has no turn: begin one with the line `## user`")
        for role, template in turns:
            if not template.is_valid():
                raise PromptError(f"the {role} turn of {name!r} has a stray $: write $$ for one")
        return cls(name, turns)

    @classmethod
    def load(cls, name: str) -> Prompt:
        """Return the prompt of this package that is called `name`."""
        return _load(name)

    @property
    def placeholders(self) -> set[str]:
        """The names of the values that it asks for."""
        return {name for _, template in self.turns for name in template.get_identifiers()}

    def fill(self, **values: str) -> tuple[Message, ...]:
        """Return the turns with all values put in; a value too few or too many is an error."""
        wrong = self.placeholders ^ values.keys()
        if wrong:
            kind = "misses" if wrong - values.keys() else "has no place for"
            raise PromptError(f"the prompt {self.name!r} {kind} ${min(wrong)}: change one of them")
        return tuple(Message(role, template.substitute(values)) for role, template in self.turns)


@functools.cache
def _load(name: str) -> Prompt:
    folder = resources.files("agents") / "prompts"
    try:
        return Prompt.read(name, (folder / f"{name}.md").read_text("utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(file.name.removesuffix(".md") for file in folder.iterdir()))
        raise PromptError(f"there is no prompt {name!r}: use one of {known}") from None
