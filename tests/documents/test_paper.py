"""What is pure of documents: keys, assembling, differences, code that is read, and templates."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

import workflows
from agents.tools.folder import package_of, read_folder
from workflows.code_folder import code_sources
from workflows.code_map import first_sentence, module_name, read_module
from workflows.document import (
    Document,
    DocumentationType,
    DocumentMetadata,
    Section,
    SectionPlan,
    Source,
    assemble,
    difference,
    section_key,
)
from workflows.errors import InvalidDocument
from workflows.facts import fact
from workflows.outline import outline
from workflows.rendering import render

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
names = st.text("abcdef", min_size=1, max_size=5)
sources = st.dictionaries(names, texts, min_size=1, max_size=5)


def document(content: str, version: int = 1) -> Document:
    metadata = DocumentMetadata(
        project="p", title="t", agent="writer", sha256="", sections={}, paragraphs=[], sources={}
    )
    return Document(
        id=uuid4(),
        type=DocumentationType.README,
        version=version,
        content=content,
        metadata=metadata,
    )


def section(text: str, title: str = "") -> Section:
    return Section(id=title or "s", title=title, level=2, key="k", text=text, sources={"a": "b"})


def patched(old: str, diff: str) -> str:
    """Apply a unified diff, as `patch` does."""
    lines, result, at = old.split("\n")[:-1], [], 0
    for line in diff.split("\n")[2:-1]:
        if hunk := re.match(r"@@ -(\d+)(?:,(\d+))? \+", line):
            start = int(hunk[1]) - (hunk[2] != "0")
            result += lines[at:start]
            at = start
        elif line.startswith("+"):
            result.append(line[1:])
        else:
            assert lines[at] == line[1:]
            at += 1
            if line.startswith(" "):
                result.append(line[1:])
    return "".join(f"{line}\n" for line in [*result, *lines[at:]])


@given(texts, texts)
def test_a_difference_applied_to_the_old_is_the_new(old: str, new: str) -> None:
    before, after = document(f"{old}\n"), document(f"{new}\n", 2)
    assert patched(before.content, difference(before, after)) == after.content
    assert (difference(before, after) == "") == (old == new)


@given(sources, texts, st.data())
def test_a_key_tells_every_change_and_nothing_else(
    given_texts: dict[str, str], maker: str, data: st.DataObject
) -> None:
    plan = SectionPlan(id="s", title="t", sources=sorted(given_texts), template="goals")
    known = {name: Source(name=name, text=text) for name, text in given_texts.items()}
    key = section_key(plan, known, maker)
    unused = Source(name="unused", text=maker)
    assert section_key(plan, {**known, "unused": unused}, maker) == key
    assert section_key(plan, dict(reversed(known.items())), maker) == key
    name = data.draw(st.sampled_from(plan.sources))
    other = data.draw(texts.filter(lambda text: text != given_texts[name]))
    assert section_key(plan, {**known, name: Source(name=name, text=other)}, maker) != key
    assert section_key(plan, known, f"{maker}.") != key
    assert section_key(plan.model_copy(update={"title": "u"}), known, maker) != key


@given(st.lists(texts, max_size=6))
def test_every_line_of_a_document_is_a_heading_blank_or_of_one_paragraph(found: list[str]) -> None:
    sections = [section(text, f"S{number}") for number, text in enumerate(found)]
    content, paragraphs = assemble("Title", sections)
    lines = content.split("\n")
    assert content.endswith("\n")
    told = [n for p in paragraphs for n in range(p.lines[0], p.lines[1] + 1)]
    assert len(told) == len(set(told))
    titles = {
        n
        for n, line in enumerate(lines, 1)
        if line in ("# Title", *(f"## {s.title}" for s in sections))
    }
    filled = {n for n, line in enumerate(lines, 1) if line.strip()}
    assert filled <= set(told) | titles
    for text in found:
        for word in text.split():
            assert word in content


def test_code_is_one_paragraph() -> None:
    _, paragraphs = assemble("T", [section("Before.\n\n```\na\n\nb\n```\n\nAfter.")])
    assert [p.lines for p in paragraphs] == [(3, 3), (5, 9), (11, 11)]


@given(texts)
def test_whatever_stands_in_a_cell_ends_no_table(text: str) -> None:
    goals = [{"name": text, "state": "open", "description": text, "needs": []}]
    lines = render("goals", {"facts:goals": fact("goals", goals)}).split("\n")
    assert len(lines) == 3
    assert len(re.findall(r"(?<!\\)\|", lines[2])) == 5


def test_what_is_no_prose_is_shown_as_it_is() -> None:
    text = json.dumps({"a": ["```", "# no heading"]}, indent=1)
    source = Source(name="result:a", text=text, prose=False)
    known = {"result:a": source, "facts:project": fact("project", {})}
    (plan,) = [plan for plan in outline(DocumentationType.OVERVIEW, known) if plan.id == "result:a"]
    shown = render(plan.template or "", {"result:a": source})
    assert shown.splitlines() == [f"    {line}" for line in text.splitlines()]
    assert render("verbatim", {"a:b": Source(name="a:b", text="x" * 2000)}).endswith("x…")


def test_a_template_that_misses_a_fact_is_an_error() -> None:
    with pytest.raises(Exception, match="'goals' is undefined"):
        render("goals", {})


def test_modules_are_read_as_they_are_written() -> None:
    module = read_module(
        "pack.part",
        '''"""Does things. Not well."""
import os
from . import other
from .deep import thing
from typing import overload

if os.name:
    def seen(a, /, b: int = 1, *args: str, c, **more: object) -> "list[int]": ...

class _Hidden: ...

class Shape(_Hidden, metaclass=type):
    """A shape.

    With more.
    """
    @overload
    def area(self, unit: int) -> int: ...
    @overload
    def area(self, unit: str) -> str: ...
    def area(self, unit): ...
    @property
    def size(self) -> int:
        """How large."""
    @size.setter
    def size(self, value: int) -> None: ...
    async def later(self): ...
    @classmethod
    def make(cls) -> "Shape": ...
    def _inner(self): ...
''',
    )
    assert module.says == "Does things."
    assert module.imports == ["os", "pack.deep.thing", "pack.other", "typing.overload"]
    assert module.imported_from(["pack.deep", "pack.other", "pack.part"]) == [
        "pack.deep",
        "pack.other",
    ]
    (seen,) = module.functions
    assert seen.signature == "(a, /, b: int=1, *args: str, c, **more: object) -> 'list[int]'"
    (shape,) = module.classes
    assert (shape.name, shape.bases, shape.says) == ("Shape", ["_Hidden"], "A shape.")
    told = [(each.kind, each.name, each.signature) for each in shape.functions]
    assert told == [
        ("", "area", "(self, unit)"), ("property", "size", " -> int"), ("async", "later", "(self)"),
        ("classmethod", "make", "(cls) -> 'Shape'"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["def (:\n", "x = '\\0'\0", "(" * 5000, "\\d = 1"])
def test_what_is_not_python_has_a_fault(text: str) -> None:
    assert read_module("m", text).fault
    assert "It cannot be read as Python" in render(
        "module", {"module:m": Source(name="module:m", text=text)}
    )


def test_threads_read_side_by_side() -> None:
    texts = [path.read_text() for path in Path(workflows.__file__).parent.glob("*.py")]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda text: read_module("m", text), texts * 3))
    assert not any(module.fault for module in read)


@given(texts)
def test_any_text_can_be_read_as_a_module(text: str) -> None:
    module = read_module("m", text)
    assert "\n" not in module.says
    assert first_sentence(text) == first_sentence(text.strip())


@pytest.mark.parametrize(
    ("path", "package", "name"),
    [
        ("a/b.py", "", "a.b"),
        ("a/__init__.py", "", "a"),
        ("__init__.py", "pack", "pack"),
        ("b.py", "pack.deep", "pack.deep.b"),
        ("my-script.py", "", None),
        ("__init__.py", "", None),
    ],
)
def test_names_of_modules(path: str, package: str, name: str | None) -> None:
    assert module_name(path, package) == name


def test_a_folder_is_read_without_its_secrets_and_its_neighbours(tmp_path: Path) -> None:
    outside = tmp_path / "outside.md"
    outside.write_text("secret")
    folder = tmp_path / "pack"
    (folder / ".git").mkdir(parents=True)
    (folder / "node_modules").mkdir()
    (folder / "inner").mkdir()
    (folder / "empty").mkdir()
    for name in (".env", ".git/config.md", "node_modules/x.js", "key.pem", "photo.png"):
        (folder / name).write_text("secret")
    (folder / "binary.md").write_bytes(b"a\0b")
    (folder / "latin.md").write_bytes(b"\xff\xfe\xfd")
    (folder / "link.md").symlink_to(outside)
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    (folder / "__init__.py").write_text("")
    (folder / "inner" / "__init__.py").write_text("x = 1\n")
    assert read_folder(folder) == {"__init__.py": "", "inner/__init__.py": "x = 1\n"}
    assert package_of(folder / "inner") == "pack.inner"
    with pytest.raises(InvalidDocument, match="has no source files"):
        read_folder(folder / "empty")
    with pytest.raises(InvalidDocument, match="is no folder"):
        read_folder(outside)


def test_many_modules_are_drawn_as_their_packages() -> None:
    files = {f"a/m{n}.py": "import b.m0\n" for n in range(40)} | {
        f"b/m{n}.py": "" for n in range(40)
    }
    known = {source.name: source for source in code_sources(files)}
    drawn = render("imports", {"facts:imports": known["facts:imports"]})
    assert drawn.count('["') == 2
    assert "n0 --> n1" in drawn
    few = {source.name: source for source in code_sources({"a.py": "import b\n", "b.py": ""})}
    assert "n0 --> n1" in render("imports", {"facts:imports": few["facts:imports"]})


def test_an_outline_names_only_what_is_there() -> None:
    project = fact("project", {})
    for kind in DocumentationType:
        if kind is DocumentationType.API_REFERENCE:
            continue
        plans = outline(kind, {project.name: project})
        assert {name for plan in plans for name in plan.sources} <= {project.name}
        assert len({plan.id for plan in plans}) == len(plans)
