"""`Document`: sections put together, of which each tells what it was made of.

A source is a named text: a fact of the project as JSON, a result, a file. A section is planned from the
sources that there are, written once for the same sources, and kept; a document is sections in their order.

Invariants
  * Equal sources, outline and makers have equal keys, and any other has another.
  * Content follows from the sections alone: no moment and no version stands in it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

__all__ = [
    "Document",
    "DocumentMetadata",
    "DocumentationType",
    "Finding",
    "Paragraph",
    "Section",
    "SectionPlan",
    "Source",
    "Writing",
    "assemble",
    "difference",
    "section_key",
]

#: To be raised when equal sources and templates come to read otherwise.
EDITION = 1

_FENCE = re.compile(r"^\s*(```|~~~)")


class DocumentationType(StrEnum):
    """The kinds of documents."""

    README = "readme"
    OVERVIEW = "overview"
    ARCHITECTURE = "architecture"
    API_REFERENCE = "api_reference"
    USER_GUIDE = "user_guide"
    STATUS_REPORT = "status_report"
    CHANGELOG = "changelog"
    DECISION_RECORD = "decision_record"

    @property
    def words(self) -> str:
        """The name as it stands in titles."""
        known = {"readme": "README", "api_reference": "API reference"}
        return known.get(self.value, self.value.replace("_", " ").capitalize())


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """A text that documents are made of, such as ``facts:goals``, ``result:market``, ``file:a/b.py``.

    What is no `prose` (JSON, a table) is shown as it is.
    """

    name: str
    text: str
    prose: bool = True

    @property
    def sha256(self) -> str:
        """What tells whether it has changed."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class SectionPlan(_Strict):
    """A section that is to be written: by a `template`, or by an agent that is asked in `words`.

    An agent chooses sentences of the one source. A template may have any number of them.
    """

    id: str
    title: str
    level: int = 2
    sources: list[str]
    template: str | None = None
    words: str = ""


class Section(_Strict):
    """A section as it was written: by which task of which run, from what (sha256 by name), by whom."""

    id: str
    title: str
    level: int
    key: str
    text: str
    sources: dict[str, str]
    template: str | None = None
    agent: str | None = None
    run: UUID | None = None
    task: UUID | None = None


class Paragraph(_Strict):
    """Where a paragraph of a document comes from; `lines` are its first and its last, from 1."""

    section: str
    lines: tuple[int, int]
    sha256: str
    template: str | None
    agent: str | None
    run: UUID | None
    task: UUID | None
    sources: dict[str, str]


class DocumentMetadata(_Strict):
    """What is known of a version of a document.

    Attributes:
        sha256: Of its content.
        sections: The key of each section, by its id, in order.
        paragraphs: Where each comes from.
        sources: The sha256 of everything that it depends on, by name.
        folder: The code that it is about.
        run: The run that put it together.
    """

    project: str
    title: str
    agent: str
    sha256: str
    sections: dict[str, str]
    paragraphs: list[Paragraph]
    sources: dict[str, str]
    folder: str | None = None
    run: UUID | None = None
    created_at: AwareDatetime | None = None


class Document(_Strict):
    """A version of a document; 0 while it is not stored."""

    id: UUID
    type: DocumentationType
    version: int = Field(0, ge=0)
    content: str
    metadata: DocumentMetadata

    @property
    def name(self) -> str:
        """What it is called everywhere: PROJECT/TYPE."""
        return f"{self.metadata.project}/{self.type}"

    def changes(self, now: Mapping[str, str]) -> dict[str, str]:
        """Return what is not any more as it was (changed, new, gone), by the names of sources.

        Args:
            now: The sha256 of all that it would depend on, by name.
        """
        before = self.metadata.sources
        found = dict.fromkeys(before.keys() - now.keys(), "gone")
        found |= dict.fromkeys(now.keys() - before.keys(), "new")
        found |= {name: "changed" for name in before.keys() & now if before[name] != now[name]}
        return dict(sorted(found.items()))

    def touched(self, sources: Iterable[str]) -> list[str]:
        """Return the ids of the sections that are made of one of these sources."""
        wanted = set(sources)
        found = [p.section for p in self.metadata.paragraphs if wanted & p.sources.keys()]
        return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Writing:
    """A document that is being written.

    Attributes:
        project: The name of its project.
        type: Its type.
        sections: The ids of its sections.
        written: The ids of those that are written anew.
        run: The run that writes; None where nothing is to be written.
    """

    project: str
    type: DocumentationType
    sections: list[str]
    written: list[str]
    run: UUID | None


@dataclass(frozen=True)
class Finding:
    """What a check found of a version: the sources that are not as they were, and the sections of them."""

    document: Document
    changes: dict[str, str]
    sections: list[str]


def section_key(plan: SectionPlan, sources: Mapping[str, Source], maker: str) -> str:
    """Return what tells whether a section has been written already.

    Args:
        plan: The section.
        sources: At least those that it names.
        maker: What tells who writes it, and in what manner: of a template its text, of an agent all that
            its answers depend on.
    """
    used = [[name, sources[name].sha256] for name in plan.sources]
    said: list[Any] = [EDITION, plan.model_dump(), used, maker]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def assemble(title: str, sections: Sequence[Section]) -> tuple[str, list[Paragraph]]:
    """Return sections as one text in Markdown, and where each of its paragraphs comes from."""
    lines = [f"# {' '.join(title.split())}"]
    found: list[Paragraph] = []
    for section in sections:
        if section.title:
            lines += ["", f"{'#' * section.level} {' '.join(section.title.split())}"]
        for block in _blocks(section.text):
            begin = len(lines) + 2
            lines += ["", *block]
            found.append(_paragraph(section, block, begin))
    return "\n".join(lines) + "\n", found


def _paragraph(section: Section, block: list[str], begin: int) -> Paragraph:
    return Paragraph(
        section=section.id,
        lines=(begin, begin + len(block) - 1),
        sha256=hashlib.sha256("\n".join(block).encode()).hexdigest(),
        template=section.template,
        agent=section.agent,
        run=section.run,
        task=section.task,
        sources=section.sources,
    )


def _blocks(text: str) -> list[list[str]]:
    """Return the paragraphs of a text as lines; what stands in code is one."""
    blocks: list[list[str]] = [[]]
    in_code = False
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if _FENCE.match(line):
            in_code = not in_code
        if line.strip() or (in_code and blocks[-1]):
            blocks[-1].append(line.rstrip())
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def difference(old: Document, new: Document) -> str:
    """Return what has changed between two versions, as a unified diff; nothing if they are equal."""
    return "".join(
        difflib.unified_diff(
            _kept_lines(old.content),
            _kept_lines(new.content),
            f"{old.name} (version {old.version})",
            f"{new.name} (version {new.version})",
        )
    )


def _kept_lines(text: str) -> list[str]:
    """Return lines as a patch knows them: no other character than a line feed ends one."""
    return [f"{line}\n" for line in text.removesuffix("\n").split("\n")]
