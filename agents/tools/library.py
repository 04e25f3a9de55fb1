"""`read_artifact` and `search_documents`, over whatever holds the texts of a task's surroundings.

Invariant: only what the library of the task holds can be read; a name that means two texts reads
neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.errors import ToolFailed
from agents.tools.files import from_start

__all__ = ["Artifact", "Found", "Library", "LibraryTools", "TextLibrary"]

_MOST_FOUND = 8
_MOST_TITLES = 20
_AROUND = 120
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Artifact:
    """A text with its title, and the id that is its own where there is one."""

    title: str
    text: str
    id: str = ""


@dataclass(frozen=True)
class Found:
    """A place where words were found."""

    name: str
    start: int
    snippet: str


class Library(Protocol):
    """The texts that a task may read."""

    def titles(self) -> Sequence[str]:
        """Return what can be read, each by the name that reads it."""
        ...

    def read(self, name: str) -> str:
        """Return the text of a title or id; raise LookupError, in words, unless it means one text."""
        ...

    def search(self, words: str) -> Sequence[Found]:
        """Return the places that fit best, best first."""
        ...


class TextLibrary:
    """A library over texts that are fetched when it is first asked, and every time anew."""

    def __init__(self, fetch: Callable[[], Iterable[Artifact]]) -> None:
        self._fetch = fetch

    def titles(self) -> list[str]:
        """Return the titles, and the ids of those whose title is not their own."""
        artifacts = list(self._fetch())
        titles = [artifact.title for artifact in artifacts]
        return [one.title if titles.count(one.title) == 1 else one.id for one in artifacts]

    def read(self, name: str) -> str:
        """Return the text of a title or id."""
        artifacts = list(self._fetch())
        wanted = name.strip().casefold()
        found = [one for one in artifacts if one.id == wanted]
        found = found or [one for one in artifacts if one.title.strip().casefold() == wanted]
        if len(found) == 1:
            return found[0].text
        if found:
            ids = ", ".join(one.id for one in found)
            raise LookupError(f"{len(found)} are called {name!r}: read one by its id of {ids}")
        titles = [one.title for one in artifacts]
        known = ", ".join(titles[:_MOST_TITLES]) or "nothing"
        more = f" and {len(titles) - _MOST_TITLES} more" if len(titles) > _MOST_TITLES else ""
        raise LookupError(f"there is no {name!r:.80}: there is {known}{more}")

    def search(self, words: str) -> list[Found]:
        """Return the places with the most of the words, best first, at most one for each paragraph."""
        wanted = {word.casefold() for word in _WORD.findall(words)}
        scored: list[tuple[int, Found]] = []
        for artifact in self._fetch():
            for paragraph in re.finditer(r"\S[^\n]*(?:\n(?!\s*\n)[^\n]*)*", artifact.text):
                there = {word.casefold() for word in _WORD.findall(paragraph[0])}
                if hits := len(wanted & there):
                    scored.append((hits, _found(artifact, paragraph, wanted)))
        scored.sort(key=lambda one: -one[0])
        return [found for _, found in scored[:_MOST_FOUND]]


def _found(artifact: Artifact, paragraph: re.Match[str], wanted: set[str]) -> Found:
    text = paragraph[0]
    first = next(word.start() for word in _WORD.finditer(text) if word[0].casefold() in wanted)
    begin = max(0, first - _AROUND)
    snippet = " ".join(text[begin : first + _AROUND].split())
    return Found(artifact.title, paragraph.start() + begin, snippet)


class LibraryTools:
    """The tools over one library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def read_artifact(self, name: str, start: int = 0) -> str:
        """Read an input or a finished result that belongs to this job.

        Args:
            name: Its title or its id.
            start: The letter to begin at.
        """
        try:
            return from_start(self._library.read(name), start)
        except LookupError as error:
            raise ToolFailed(str(error)) from None

    def search_documents(self, words: str) -> str:
        """Search the documents of this job for words; you get the places that fit best.

        Args:
            words: What to look for.
        """
        found = self._library.search(words)
        if not found:
            return f"Nothing found. There is: {', '.join(self._library.titles()[:_MOST_TITLES])}"
        return "\n".join(f"{one.name} (start={one.start}): {one.snippet}" for one in found)
