"""A document before it is written: what it consists of, what of that is there, and the graph of the rest.

Invariant: each section that is to be written is one task, which is given its sources; the task that puts all
together waits for these alone. So sections are written side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4, uuid5

from agents.profile import AgentType
from agents.writer import Writer, document_id
from celery_app.celery import agent_manager
from workflows.document import Document, DocumentationType, SectionPlan, Source
from workflows.errors import InvalidDocument
from workflows.outline import depends_on, outline, title_of
from workflows.project import Project
from workflows.task import Task, TaskInput

__all__ = ["Draft", "agent_type_of"]

_AGENT_TYPES = {
    DocumentationType.ARCHITECTURE: AgentType.ANALYST,
    DocumentationType.API_REFERENCE: AgentType.RESEARCHER,
    DocumentationType.STATUS_REPORT: AgentType.ANALYST,
    DocumentationType.DECISION_RECORD: AgentType.REVIEWER,
}


def agent_type_of(doc_type: DocumentationType) -> AgentType:
    """Return what kind of agent writes documents of a type."""
    return _AGENT_TYPES.get(doc_type, AgentType.WRITER)


@dataclass(frozen=True)
class Draft:
    """What is to become a document.

    Attributes:
        project: What it is about.
        type: Its type.
        writer: Who writes it.
        sources: What it is made of, by name.
        plans: Its sections, in order.
        folder: The code that it is about.
    """

    project: Project
    type: DocumentationType
    writer: Writer
    sources: Mapping[str, Source]
    plans: list[SectionPlan]
    folder: str | None

    @classmethod
    def of(
        cls,
        project: Project,
        doc_type: DocumentationType,
        sources: Mapping[str, Source],
        folder: str | None,
    ) -> Draft:
        """Return the draft of a document. Raises `InvalidDocument` if there is nothing to make it of."""
        plans = outline(doc_type, sources)
        return cls(project, doc_type, _writer(project, doc_type), sources, plans, folder)

    @property
    def id(self) -> UUID:
        """The id of the document."""
        return document_id(self.project.id, self.type)

    @property
    def keys(self) -> dict[str, str]:
        """The key of each section, by its id, in order."""
        return {plan.id: self.writer.key(plan, self.sources) for plan in self.plans}

    @property
    def depends_on(self) -> dict[str, str]:
        """The sha256 of all that the document depends on, by name."""
        return depends_on(self.plans, self.sources)

    def describes(self, document: Document) -> bool:
        """Tell whether a version consists of just these sections."""
        return list(self.keys.items()) == list(document.metadata.sections.items())

    def confirmed(self, document: Document) -> Document:
        """Return a version that this draft describes, with what it depends on now."""
        now = {"sources": self.depends_on, "folder": self.folder}
        return document.model_copy(update={"metadata": document.metadata.model_copy(update=now)})

    def graph(self, kept: Mapping[str, str]) -> Task:
        """Return the task that holds all others.

        Args:
            kept: Which task has written a section already, by the section's key.
        """
        run = uuid4()
        written: dict[str, str] = {}
        tasks = []
        for plan in self.plans:
            key = self.writer.key(plan, self.sources)
            if key not in kept:
                tasks.append(self._section(plan, uuid5(run, plan.id)))
            written[plan.id] = kept.get(key, str(uuid5(run, plan.id)))
        end = self._end(uuid5(run, "assemble"), [*written.values()])
        end.dependencies = [task.id for task in tasks]
        return Task(
            id=run,
            description=title_of(self.type, self.project.name),
            subtasks=[*tasks, end],
            project=self.project.name,
            metadata={"title": f"{self.type} of {self.project.name}"},
        )

    def _section(self, plan: SectionPlan, task_id: UUID) -> Task:
        agent = self.writer.profile.name
        return Task(
            id=task_id,
            description=plan.words or f"{plan.title or plan.id}, from the template {plan.template}",
            task="document.section",
            kwargs={
                "document": str(self.id),
                "agent": agent,
                "section": plan.model_dump(mode="json"),
                "key": self.writer.key(plan, self.sources),
            },
            agent=None if plan.template else agent,
            inputs=[TaskInput(name=name, text=self.sources[name].text) for name in plan.sources],
            metadata={"title": plan.title or plan.id},
        )

    def _end(self, task_id: UUID, written: list[str]) -> Task:
        return Task(
            id=task_id,
            description="Put the sections together",
            task="document.assemble",
            kwargs={
                "project": str(self.project.id),
                "doc_type": str(self.type),
                "agent": self.writer.profile.name,
                "sections": written,
                "sources": self.depends_on,
                "folder": self.folder,
            },
            metadata={"title": "put together"},
        )


def _writer(project: Project, doc_type: DocumentationType) -> Writer:
    """Return who writes a document: of the agents that the project may use, the first that fits."""
    profiles = agent_manager().profiles
    allowed = [
        p for p in profiles if not project.resources.agents or p.name in project.resources.agents
    ]
    wanted = agent_type_of(doc_type)
    for profile in (*(p for p in allowed if p.type is wanted), *allowed):
        agent = agent_manager().get_agent(profile.name)
        if isinstance(agent, Writer):
            return agent
    named = ", ".join(project.resources.agents)
    raise InvalidDocument(
        f"none of the agents of project {project.name} writes documents ({named}): "
        f"add one to its resources, such as the {wanted}"
    )
