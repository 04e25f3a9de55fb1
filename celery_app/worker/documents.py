"""The Celery tasks that documents are written by: ``document.section`` and ``document.assemble``.

Invariants
  * A section is kept before its task is over: done again, it is what was kept, and no model is asked.
  * A document is stored by whoever holds its task, and a content that is there makes no new version.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery import shared_task

from agents.agent import Answer
from agents.writer import Writer
from celery_app.celery import agent_manager, database, documents, projects
from celery_app.crash_points import crash_point
from celery_app.errors import UnknownDocument
from celery_app.store.journal import JournalStore
from celery_app.store.records import Claim
from celery_app.worker.binding import chat_model
from celery_app.worker.execution import Execution, this_execution
from celery_app.worker.journal import JournalledModel
from celery_app.worker.permissions import require_run
from workflows.document import DocumentationType, SectionPlan, Source
from workflows.task import Task

__all__ = ["assemble_document", "write_section", "writer_of"]


def writer_of(name: str) -> Writer:
    """Return an agent that writes documents."""
    agent = agent_manager().get_agent(name)
    assert isinstance(agent, Writer), f"{name} is a planner, which writes nothing"
    return agent


@shared_task(name="document.section")
def write_section(document: str, agent: str, section: dict[str, Any], key: str) -> str:
    """Write a section and keep it under its key; return its text.

    Its sources are the inputs of the task.
    """
    execution = this_execution()
    claim = execution.claim
    writer, plan = writer_of(agent), SectionPlan.model_validate(section)
    given = claim.spec["inputs"]
    sources = {one["name"]: Source.model_validate(one) for one in given}
    text = _kept(claim) or _written(execution, writer, plan, sources)
    made = writer.section(plan, sources, key, text, run=UUID(claim.root_id), task=UUID(claim.id))
    documents.keep(UUID(document), made)
    crash_point("after-section")
    return text


def _kept(claim: Claim) -> str | None:
    try:
        return documents.sections([claim.id])[0].text
    except UnknownDocument:
        return None


def _written(
    execution: Execution, writer: Writer, plan: SectionPlan, sources: dict[str, Source]
) -> str:
    claim = execution.claim
    if plan.template is None:
        require_run(Task.model_validate({**claim.spec, "id": claim.id}), writer.profile.name)
    answer: Answer = writer.write(
        plan,
        sources,
        model=JournalledModel(chat_model(), JournalStore(database), execution.lease),
        cancel=execution.lease.ended,
        tries=claim.tries,
    )
    execution.tokens = answer.usage.prompt, answer.usage.generated
    return str(answer.value)


@shared_task(name="document.assemble")
def assemble_document(
    project: str,
    doc_type: str,
    agent: str,
    sections: list[str],
    sources: dict[str, str],
    folder: str | None,
) -> int:
    """Put a document together of the sections that tasks have written; store it, return its version."""
    execution = this_execution()
    claim = execution.claim
    made = writer_of(agent).document(
        projects.get(project),
        DocumentationType(doc_type),
        documents.sections(sections),
        sources,
        folder=folder,
        run=UUID(claim.root_id),
    )
    crash_point("before-document")
    version = documents.store(made, claim)
    crash_point("after-document")
    return version
