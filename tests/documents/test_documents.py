"""Documents on the real servers: written once, kept in versions, and checked."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from uuid import UUID

import pytest

from agents.scripted import ScriptedModel
from celery_app.errors import UnknownDocument
from celery_app.handles import TaskHandle
from celery_app.orchestrator.documentation_manager import DocumentationManager
from tests.documents.conftest import BEES, RIVER, Study, Written, choose_first
from workflows.document import Document, DocumentationType, Writing, difference
from workflows.errors import InvalidDocument

pytestmark = pytest.mark.usefixtures("worker")


def write(
    manager: DocumentationManager, study: Study, kind: str, folder: Path | None = None
) -> tuple[Document, Writing]:
    writing = manager.start(study.name, kind, folder)
    if writing.run is not None:
        TaskHandle(writing.run).result(timeout=60)
    return manager.get(study.name, kind), writing


def test_as_the_specification_says(study: Study) -> None:
    manager = DocumentationManager()
    document = asyncio.run(
        manager.generate_documentation(study.project(), DocumentationType.OVERVIEW)
    )
    assert manager.docs_storage.get(study.name, DocumentationType.OVERVIEW) == document
    assert document.version == 1
    assert document.content.startswith(f"# Overview: {study.name}\n")
    assert document.metadata.sha256 == hashlib.sha256(document.content.encode()).hexdigest()


def test_written_twice_is_written_once(
    manager: DocumentationManager, study: Study, written: Written
) -> None:
    first, writing = write(manager, study, "overview")
    assert written(writing) == {
        "intro": 0, "goals": 0, "input:bees.md": 1, "input:river.md": 1, "timeline": 0,
    }  # fmt: skip
    again, nothing = write(manager, study, "overview")
    assert nothing.run is None
    assert nothing.written == []
    assert again == first
    assert [each.version for each in manager.versions(study.name, "overview")] == [1]
    assert not manager.check(study.name, "overview").changes


def test_what_a_text_says_is_said_in_its_words_and_facts_come_from_the_database(
    manager: DocumentationManager, study: Study
) -> None:
    document, _ = write(manager, study, "overview")
    lines = document.content.splitlines()
    quoted = [p for p in document.metadata.paragraphs if p.section == "input:bees.md"]
    assert quoted
    for paragraph in quoted:
        first, last = paragraph.lines
        text = " ".join(lines[first - 1 : last])
        words = " ".join(BEES.split())
        assert all(sentence.strip() in words for sentence in text.split(". "))
        assert paragraph.sources == {"input:bees.md": hashlib.sha256(BEES.encode()).hexdigest()}
        assert paragraph.agent == "writer"
    assert "| animals | open | Sum up which animals there are |  |" in lines
    assert "2 goals, 0 reached." in document.content


def test_each_paragraph_tells_where_it_comes_from(
    manager: DocumentationManager, study: Study
) -> None:
    from celery_app.celery import store

    document, writing = write(manager, study, "overview")
    lines = document.content.split("\n")
    headings = {number for number, line in enumerate(lines, 1) if line.startswith("#")}
    told: set[int] = set()
    for paragraph in document.metadata.paragraphs:
        first, last = paragraph.lines
        block = "\n".join(lines[first - 1 : last])
        assert paragraph.sha256 == hashlib.sha256(block.encode()).hexdigest()
        assert paragraph.run == writing.run
        assert store.get(str(paragraph.task)).root_id == str(writing.run)
        assert (paragraph.template is None) != (paragraph.agent is None)
        told |= set(range(first, last + 1))
    filled = {number for number, line in enumerate(lines, 1) if line}
    assert told == filled - headings


def test_of_a_changed_source_exactly_its_sections_are_new(
    manager: DocumentationManager, study: Study, written: Written
) -> None:
    before, _ = write(manager, study, "overview")
    study.change("river.md", RIVER.replace("nine", "eleven"))
    finding = manager.check(study.name, "overview")
    assert finding.changes == {"input:river.md": "changed"}
    assert finding.sections == ["input:river.md"]
    after, writing = write(manager, study, "overview")
    assert written(writing) == {"input:river.md": 1}
    assert after.version == 2
    changed = {key for key, value in after.metadata.sections.items()
               if before.metadata.sections[key] != value}  # fmt: skip
    assert changed == {"input:river.md"}
    runs = {p.section: p.run for p in after.metadata.paragraphs}
    assert runs["input:river.md"] == writing.run != runs["input:bees.md"]
    assert not manager.check(study.name, "overview").changes


def test_what_was_written_once_of_a_source_is_never_written_again(
    manager: DocumentationManager, study: Study, written: Written
) -> None:
    first, _ = write(manager, study, "overview")
    study.change("river.md", "# River\n\nThe river is dry. Nobody has seen a trout this year.\n")
    second, _ = write(manager, study, "overview")
    assert second.content != first.content
    study.change("river.md", RIVER)
    third, writing = write(manager, study, "overview")
    assert written(writing) == {}
    assert third.version == 1
    assert third.content == first.content
    assert len(manager.versions(study.name, "overview")) == 2


def test_versions_differ_and_are_restored(manager: DocumentationManager, study: Study) -> None:
    first, _ = write(manager, study, "status_report")
    study.reach("animals", "There are bees in four hives. Trout live below the mill.")
    second, _ = write(manager, study, "status_report")
    assert second.version == 2
    told = difference(first, second)
    assert "-0 of 2 goals reached, 2 open.\n+1 of 2 goals reached, 1 open.\n" in told
    assert "+## Result of animals\n" in told
    assert manager.restore(study.name, "status_report", 1).content == first.content
    assert manager.get(study.name, "status_report").version == 1
    assert [v.version for v in manager.versions(study.name, "status_report") if v.holds] == [1]
    assert manager.get(study.name, "status_report", 2).content == second.content
    assert manager.check(study.name, "status_report").changes
    again, writing = write(manager, study, "status_report")
    assert (again.version, writing.written) == (2, [])
    with pytest.raises(UnknownDocument, match="no version 3 of status_report"):
        manager.restore(study.name, "status_report", 3)


@pytest.mark.parametrize("kind", list(DocumentationType))
def test_every_type_is_written_of_a_project_with_results(
    manager: DocumentationManager, study: Study, code: Path, kind: DocumentationType
) -> None:
    from workflows.outline import USES_CODE

    study.reach("animals", "There are bees in four hives. Trout live below the mill.")
    document, _ = write(manager, study, kind, code if kind in USES_CODE else None)
    titles = [line for line in document.content.splitlines() if line.startswith("#")]
    assert len(titles) == len(set(titles)) > 2
    assert "None" not in document.content.replace("None:", "")
    assert "{{" not in document.content
    assert document.content.endswith("\n")
    assert "\n\n\n" not in document.content
    _, writing = write(manager, study, kind)
    assert writing.run is None


def test_a_module_that_changes_is_read_again_alone(
    manager: DocumentationManager, study: Study, code: Path, written: Written
) -> None:
    _, writing = write(manager, study, "api_reference", code)
    assert set(written(writing)) == {
        "reference",
        "module:mill",
        "module:mill.stone",
        "module:mill.wheel",
    }
    (code / "wheel.py").write_text(
        (code / "wheel.py").read_text().replace("turn(times", "spin(times")
    )
    assert manager.check(study.name, "api_reference").sections == ["module:mill.wheel"]
    document, writing = write(manager, study, "api_reference")
    assert written(writing) == {"module:mill.wheel": 0}
    assert "**function** `spin(times: int=1) -> int` · Turn the wheel." in document.content
    assert document.metadata.folder == str(code.resolve())


def test_a_change_that_no_section_shows_is_found_and_confirmed(
    manager: DocumentationManager, study: Study, code: Path
) -> None:
    write(manager, study, "architecture", code)
    (code / "wheel.py").write_text(f"# Oak.\n{(code / 'wheel.py').read_text()}")
    assert manager.check(study.name, "architecture").changes["module:mill.wheel"] == "changed"
    write(manager, study, "architecture")
    assert not manager.check(study.name, "architecture").changes


def test_what_cannot_be_written_is_refused(
    manager: DocumentationManager, study: Study, code: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidDocument, match="give a folder with Python files by --source"):
        manager.start(study.name, "api_reference")
    with pytest.raises(InvalidDocument, match="is no folder"):
        manager.start(study.name, "api_reference", tmp_path / "nowhere")
    with pytest.raises(InvalidDocument, match="made of the project alone: leave the folder out"):
        manager.start(study.name, "changelog", code)
    with pytest.raises(UnknownDocument, match=r"docs generate .* --type readme"):
        manager.get(study.name, "readme")


def test_the_graph_writes_what_an_agent_writes_at_one_go(
    manager: DocumentationManager, study: Study
) -> None:
    from celery_app.celery import agent_manager
    from celery_app.orchestrator.document_sources import gather
    from celery_app.worker.documents import writer_of

    document, _ = write(manager, study, "overview")
    assert agent_manager().get_agent("writer") is writer_of("writer")
    alone = writer_of("writer").generate_documentation(
        project=study.project(),
        doc_type=DocumentationType.OVERVIEW,
        sources=gather(study.project(), None),
        model=ScriptedModel(rules=[lambda asked: choose_first({"format": asked.schema})]),
    )
    assert alone.content == document.content
    assert alone.metadata.sections == document.metadata.sections
    assert isinstance(alone.id, UUID)
    assert alone.id == document.id
