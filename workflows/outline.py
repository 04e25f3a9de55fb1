"""What a document of each type consists of, given the sources that there are.

Invariant: an outline follows from the type and the names of the sources alone, and each of its sections
names sources that are there. What a section would need and is not there leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from workflows.document import DocumentationType, SectionPlan, Source
from workflows.errors import InvalidDocument

__all__ = ["USES_CODE", "depends_on", "outline", "title_of"]

#: The types that can be about a folder of code.
USES_CODE = (
    DocumentationType.README,
    DocumentationType.ARCHITECTURE,
    DocumentationType.API_REFERENCE,
    DocumentationType.USER_GUIDE,
)
#: Texts of one kind from which sentences are chosen, each in a section of its own.
MOST_TEXTS = 12

Sources = Mapping[str, Source]
Outline = Callable[[Sources], Iterable[SectionPlan | None]]


def outline(doc_type: DocumentationType, sources: Sources) -> list[SectionPlan]:
    """Return the sections of a document.

    Raises:
        InvalidDocument: There is nothing to make it of.
    """
    if doc_type is DocumentationType.API_REFERENCE and not _named(sources, "module:"):
        raise InvalidDocument(
            "an API reference is made of code: give a folder with Python files by --source"
        )
    return [plan for plan in _OUTLINES[doc_type](sources) if plan is not None]


def depends_on(plans: Sequence[SectionPlan], sources: Sources) -> dict[str, str]:
    """Return the sha256 of everything that sections are made of, by name: of code all that was read."""
    used = {name for plan in plans for name in plan.sources}
    read = {name for name in sources if name.startswith(("module:", "file:"))}
    return {name: sources[name].sha256 for name in sorted(used | read)}


def title_of(doc_type: DocumentationType, project: str) -> str:
    """Return the title of a document."""
    if doc_type is DocumentationType.README:
        return project
    return f"{doc_type.words}: {project}"


def _readme(sources: Sources) -> Iterable[SectionPlan | None]:
    yield _intro()
    yield _in_short(sources)
    yield _facts(sources, "goals", "Goals", "goals")
    yield _facts(sources, "parts", "Parts of the code", "parts")
    yield _facts(sources, "artifacts", "What there is", "artifacts", "project")
    yield _facts(sources, "usage", "How to go on", "project")


def _overview(sources: Sources) -> Iterable[SectionPlan | None]:
    yield _intro()
    yield _facts(sources, "goals", "Goals", "goals")
    yield from _texts(sources, "input:", "What it starts from: {}", "Sum up what this text says.")
    yield from _results(sources)
    yield _facts(sources, "timeline", "Timeline", "timeline")


def _architecture(sources: Sources) -> Iterable[SectionPlan | None]:
    yield _intro()
    if _has(sources, "text:docstrings"):
        words = "Say what the parts of this program do."
        yield _quoted(sources, "in-short", "In short", "text:docstrings", words)
    yield _facts(sources, "parts", "Parts", "parts")
    yield _facts(sources, "imports", "Who imports whom", "imports")
    if _has(sources, "facts:files") and sources["facts:files"].text != "[]":
        yield _facts(sources, "files", "Other files", "files")
    yield _facts(sources, "plan", "How the work is divided", "plan", "numbers")


def _api_reference(sources: Sources) -> Iterable[SectionPlan | None]:
    yield _facts(sources, "reference", "", "parts")
    for name in _named(sources, "module:"):
        title = name.partition(":")[2]
        yield SectionPlan(id=name, title=title, sources=[name], template="module")


def _user_guide(sources: Sources) -> Iterable[SectionPlan | None]:
    yield _intro()
    yield _in_short(sources)
    yield _facts(sources, "usage", "How to use it", "project")
    guides = [name for name in _named(sources, "file:") if name.endswith((".md", ".rst"))]
    for name in guides[:MOST_TEXTS]:
        title = f"What {name.partition(':')[2]} says"
        yield _quoted(sources, name, title, name, "Say how to use this.")
    yield _facts(sources, "parts", "Parts of the code", "parts")
    yield _facts(sources, "artifacts", "What there is", "artifacts", "project")


def _status_report(sources: Sources) -> Iterable[SectionPlan | None]:
    yield _facts(sources, "standing", "", "project", "work")
    yield _facts(sources, "goals", "Goals", "goals")
    yield _facts(sources, "problems", "What needs somebody", "goals")
    yield from _results(sources)
    yield _facts(sources, "timeline", "Timeline", "timeline")
    yield _facts(sources, "artifacts", "Artifacts", "artifacts", "project")


def _changelog(sources: Sources) -> Iterable[SectionPlan | None]:
    yield _intro()
    yield _in_short(sources)
    yield _facts(sources, "changes", "What happened, newest first (UTC)", "changes")


def _decision_record(sources: Sources) -> Iterable[SectionPlan | None]:
    yield _intro()
    yield from _texts(sources, "input:", "Context: {}", "Say what matters most in this text.")
    yield _facts(sources, "plan", "How it was decided to go about it", "plan", "numbers")
    yield from _results(sources)
    yield _facts(sources, "acceptance", "What was accepted", "goals")


_OUTLINES: dict[DocumentationType, Outline] = {
    DocumentationType.README: _readme,
    DocumentationType.OVERVIEW: _overview,
    DocumentationType.ARCHITECTURE: _architecture,
    DocumentationType.API_REFERENCE: _api_reference,
    DocumentationType.USER_GUIDE: _user_guide,
    DocumentationType.STATUS_REPORT: _status_report,
    DocumentationType.CHANGELOG: _changelog,
    DocumentationType.DECISION_RECORD: _decision_record,
}


def _intro() -> SectionPlan:
    return SectionPlan(id="intro", title="", sources=["facts:project"], template="intro")


def _in_short(sources: Sources) -> SectionPlan | None:
    """Have the last result speak for the whole, or else what the work starts from, or the code."""
    results, inputs = _named(sources, "result:"), _named(sources, "input:")
    for name in (*results[-1:], *inputs[:1], *_named(sources, "text:docstrings")):
        if sources[name].prose:
            return _quoted(sources, "in-short", "In short", name, "Sum up what this text says.")
    return None


def _results(sources: Sources) -> Iterable[SectionPlan]:
    return _texts(sources, "result:", "Result of {}", "Sum up what was found.")


def _texts(sources: Sources, kind: str, title: str, words: str) -> Iterable[SectionPlan]:
    for name in _named(sources, kind)[:MOST_TEXTS]:
        yield _quoted(sources, name, title.format(name.partition(":")[2]), name, words)


def _facts(sources: Sources, template: str, title: str, *topics: str) -> SectionPlan | None:
    names = [f"facts:{topic}" for topic in topics]
    if not all(_has(sources, name) for name in names):
        return None
    return SectionPlan(id=template, title=title, sources=names, template=template)


def _quoted(sources: Sources, plan_id: str, title: str, source: str, words: str) -> SectionPlan:
    if not sources[source].prose:
        return SectionPlan(id=plan_id, title=title, sources=[source], template="verbatim")
    return SectionPlan(id=plan_id, title=title, sources=[source], words=words)


def _has(sources: Sources, name: str) -> bool:
    return name in sources and bool(sources[name].text.strip())


def _named(sources: Sources, kind: str) -> Sequence[str]:
    return [name for name in sources if name.startswith(kind) and sources[name].text.strip()]
