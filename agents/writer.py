"""`Writer`: an agent that writes documents, section by section.

What is a fact comes from a template. What a text says, the model says in sentences of that text, which it
only chooses: so a small model can mix nothing up, and each paragraph has one source.

Invariant: a section follows from its plan, its sources and the agent; its key tells when any of them is
another.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from uuid import UUID, uuid5

from agents.agent import Agent, Answer
from agents.model import ChatModel, Usage
from agents.prompt import Prompt
from agents.quoting import choices_of
from workflows.document import (
    Document,
    DocumentationType,
    DocumentMetadata,
    Section,
    SectionPlan,
    Source,
    assemble,
    section_key,
)
from workflows.outline import depends_on, outline, title_of
from workflows.project import Project
from workflows.rendering import render, template_digest
from workflows.task import Task

__all__ = ["Writer", "document_id"]


class Writer(Agent):
    """Writes sections, and whole documents where nobody divides the work."""

    def generate_documentation(
        self,
        *,
        project: Project,
        doc_type: DocumentationType,
        sources: Mapping[str, Source],
        model: ChatModel,
    ) -> Document:
        """Write a document at one go; a graph of tasks makes the same one of the same sources.

        Raises:
            AgentError: The model does not answer.
            InvalidDocument: There is nothing to make it of.
        """
        plans = outline(doc_type, sources)
        sections = [
            self.section(
                plan, sources, self.key(plan, sources), self.write(plan, sources, model=model).value
            )
            for plan in plans
        ]
        return self.document(project, doc_type, sections, depends_on(plans, sources))

    def write(
        self,
        plan: SectionPlan,
        sources: Mapping[str, Source],
        *,
        model: ChatModel | None = None,
        cancel: threading.Event | None = None,
        tries: int = 0,
    ) -> Answer:
        """Write the text of a section; without a model only what needs none."""
        if plan.template is not None:
            used = {name: sources[name] for name in plan.sources}
            return Answer(render(plan.template, used), Usage(), 0)
        (name,) = plan.sources
        text = sources[name].text
        if not choices_of(text, 1):
            return Answer(render("verbatim", {name: sources[name]}), Usage(), 0)
        assert model is not None, "what a text says needs a model"
        # Equal sections ask equal questions.
        task = Task(id=UUID(self.key(plan, sources)[:32]), description=plan.words)
        return self.quote(task, text, model=model, cancel=cancel, tries=tries)

    def key(self, plan: SectionPlan, sources: Mapping[str, Source]) -> str:
        """Return what tells whether a section has been written already."""
        maker = self._manner() if plan.template is None else template_digest(plan.template)
        return section_key(plan, sources, maker)

    def section(
        self,
        plan: SectionPlan,
        sources: Mapping[str, Source],
        key: str,
        text: str,
        *,
        run: UUID | None = None,
        task: UUID | None = None,
    ) -> Section:
        """Return a section that was written, with where it comes from."""
        return Section(
            id=plan.id,
            title=plan.title,
            level=plan.level,
            key=key,
            text=text,
            sources={name: sources[name].sha256 for name in plan.sources},
            template=plan.template,
            agent=None if plan.template else self.profile.name,
            run=run,
            task=task,
        )

    def document(
        self,
        project: Project,
        doc_type: DocumentationType,
        sections: Sequence[Section],
        sources: Mapping[str, str],
        *,
        folder: str | None = None,
        run: UUID | None = None,
    ) -> Document:
        """Put a document together.

        Args:
            project: What it is about.
            doc_type: Its type.
            sections: What it consists of, in order.
            sources: The sha256 of everything that it depends on, by name.
            folder: The code that it is about.
            run: The run that puts it together.
        """
        title = title_of(doc_type, project.name)
        content, paragraphs = assemble(title, sections)
        metadata = DocumentMetadata(
            project=project.name,
            title=title,
            agent=self.profile.name,
            sha256=hashlib.sha256(content.encode()).hexdigest(),
            sections={section.id: section.key for section in sections},
            paragraphs=paragraphs,
            sources=dict(sorted(sources.items())),
            folder=folder,
            run=run,
        )
        return Document(
            id=document_id(project.id, doc_type), type=doc_type, content=content, metadata=metadata
        )

    def _manner(self) -> str:
        """Return what tells that this agent would answer in another manner than before."""
        profile = self.profile.model_dump(mode="json")
        turns = [message.content for message in Prompt.load("quote").fill(job="", text="")]
        said = json.dumps([profile, turns], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()


def document_id(project: UUID, doc_type: DocumentationType) -> UUID:
    """Return the id of a document, which is always the same for a project and a type."""
    return uuid5(project, f"document:{doc_type}")
