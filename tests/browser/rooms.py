"""What stands in the rooms of the console: a project at work, documents, workflows, alerts, logs, figures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from agents.scripted import ScriptedModel
from agents.writer import document_id
from celery_app.celery import artifacts, database, documents, logs, projects, triggers
from celery_app.client import Client
from celery_app.observe.log_manager import LogManager
from celery_app.observe.metrics_collector import MetricsCollector
from celery_app.orchestrator.project_manager import ProjectManager
from celery_app.orchestrator.workflow_files import WorkflowFiles
from celery_app.records import LogContext, LogEvent
from celery_app.store.alert_look import AlertLook, Hit
from celery_app.store.alerts import AlertStore
from celery_app.store.metrics import MetricsStore
from tests.browser.site import Site, site
from workflows.artifact import ArtifactType
from workflows.document import (
    Document,
    DocumentationType,
    DocumentMetadata,
    Section,
    assemble,
)
from workflows.project import Project, ProjectSpec

#: Asks for inputs of every kind, and has triggers of two.
TOUR = """
name: mill-tour
description: Show guests the mill, and count them
inputs:
  host: {type: string, description: Who leads the tour.}
  guests: {type: integer, default: 12, description: How many come.}
  price: {type: number, default: 7.5}
  day: {enum: [Monday, Friday], default: Friday}
  lunch: {type: boolean, default: true}
  wishes: {type: array, items: {type: string}, default: []}
triggers:
  - cron: "0 7 * * mon"
    timezone: Europe/Berlin
    with: {host: the miller}
  - event: guests-came
    with: {host: nobody}
steps:
  - {id: greet, task: chore.echo, args: ["{{ inputs.host }} greets {{ inputs.guests }} on {{ inputs.day }}"]}
  - {id: count, task: chore.echo, args: ["{{ inputs.wishes }}"], needs: []}
  - id: bill
    when: "{{ inputs.lunch }}"
    task: chore.echo
    args: ["{{ inputs.guests * inputs.price }}"]
    needs: [greet, count]
outputs:
  said: "{{ steps.greet.output }}"
  wishes: "{{ steps.count.output }}"
  bill: "{{ steps.bill.output }}"
"""
BROKEN = "name: broken\nsteps:\n  - {id: a, task: no.such.task}\n"

#: What somebody might write into a document to harm whoever reads it.
HOSTILE = (
    "A <script>window.wasHarmed = true</script> and an <img src=x onerror='window.wasHarmed = true'> "
    "are text.\n\nSo is [this](javascript:window.wasHarmed=true), and "
    "![a picture](https://elsewhere.example/p.png) loads nothing.\n\n"
    "<h1 onclick='window.wasHarmed = true'>So is this</h1>"
)
TABLE = "| Wheel | Turns |\n|---|--:|\n| upper | 12 |\n| lower | 7 |"
VERSIONS = (
    "The wheel is made of oak.\n\nIt turns twelve times a minute.\n\n- one axle\n- two stones\n",
    "The wheel is made of larch.\n\nIt turns twelve times a minute.\n\n"
    f"- one axle\n- three stones\n\n{TABLE}\n",
    f"The wheel is made of larch.\n\nIt turns ten times a minute.\n\n{TABLE}\n\n{HOSTILE}\n\n"
    "```python\nturn(wheel, times=10)\n```\n",
)


@dataclass(frozen=True)
class Rooms:
    """A site, and what it shows."""

    site: Site
    project: str
    task: str
    rule: str

    @property
    def url(self) -> str:
        return self.site.url

    @property
    def addresses(self) -> dict[str, str]:
        """One page of each kind, by name."""
        readme = f"/console/documents/{self.project}/readme"
        return {
            "projects": "/console/projects",
            "project": f"/console/projects/{self.project}",
            "documents": "/console/documents",
            "document": readme,
            "old-document": f"{readme}?version=1",
            "difference": f"{readme}/diff?old=1&new=3",
            "check": f"{readme}/check",
            "workflows": "/console/workflows",
            "workflow": "/console/workflows/mill-tour",
            "broken": "/console/workflows/broken",
            "system": "/console/system",
            "alerts": "/console/alerts?show=all",
            "logs": f"/console/logs?task={self.task}",
        }


@contextmanager
def rooms(client: Client, folder: Path) -> Iterator[Rooms]:
    """Serve the console with something in each room."""
    (folder / "workflows").mkdir()
    (folder / "workflows" / "mill-tour.yaml").write_text(TOUR)
    (folder / "workflows" / "broken.yaml").write_text(BROKEN)
    files = WorkflowFiles(folder / "workflows")
    with site(client, folder) as served:
        served.served.app.state.desks._files = files
        client.register_workflow(files.named("mill-tour"))
        name = f"mill-{uuid4().hex[:6]}"
        project = planned(name)
        written(project)
        task = said()
        rule = fired()
        measured()
        yield Rooms(served, name, task, rule)
        triggers.forget(["mill-tour"])


def planned(name: str) -> Project:
    """Create a project with a goal that is reached, one that waits to be accepted, and two that are open."""
    manager = ProjectManager(model=ScriptedModel(rules=[lambda _: "no plan at all"]))
    soon = datetime.now(UTC) + timedelta(hours=2)
    spec = ProjectSpec.model_validate(
        {
            "name": name,
            "description": "Bring the old mill back to work.\nWith what is left of it.",
            "inputs": ["notes.md"],
            "deadline": soon.isoformat(),
            "resources": {"budget": {"tokens": 50_000, "model_calls": 40}},
            "goals": [
                {
                    "name": "survey",
                    "description": "List what is left of the mill",
                    "acceptance": [{"contains": "wheel"}, {"min_words": 3}],
                },
                {
                    "name": "design",
                    "description": "Draw how it is to be",
                    "needs": ["survey"],
                    "acceptance": [{"contains": "oak"}, {"person": "Is it as it was?"}],
                },
                {
                    "name": "report",
                    "description": "Write a report about all of it",
                    "needs": ["survey", "design"],
                    "deadline": soon.isoformat(),
                },
                {
                    "name": "letter",
                    "description": "Thank those who have helped",
                    "needs": ["report"],
                },
            ],
        }
    )
    manager.create(
        spec,
        {"notes.md": "# The mill\nThe wheel is of oak. The race is dry. Two stones lie there."},
    )
    reach(manager.get(name), "survey", "reached", {'contains "wheel"': True, "min_words 3": True})
    reach(
        manager.get(name),
        "design",
        "to-accept",
        {'contains "oak"': True, 'person "Is it as it was?"': None},
    )
    return manager.get(name)


def reach(project: Project, goal: str, state: str, checks: dict[str, bool | None]) -> None:
    """Let a goal come to an end, as its run does."""
    run, end = str(uuid4()), str(uuid4())
    projects.begin(project, run, {goal: end})
    text = f"The wheel is of oak, says the {goal}."
    artifacts.put(project.name, goal, text.encode(), ArtifactType.TEXT, run=run, task=end)
    assert projects.close(str(project.id), goal, run, state, checks)


def written(project: Project) -> None:
    """Write a README in three versions, each with where it comes from."""
    kind = DocumentationType.README
    paper_id = document_id(project.id, kind)
    documents.open(paper_id, project.id, kind)
    for text in VERSIONS:
        content, paragraphs = assemble("The mill", sections(text))
        metadata = DocumentMetadata(
            project=project.name,
            title="The mill",
            agent="writer",
            sha256=hashlib.sha256(content.encode()).hexdigest(),
            sections={"wheel": "1" * 64, "facts": "2" * 64},
            paragraphs=paragraphs,
            sources={"facts:goals": "0" * 64, "input:notes.md": "1" * 64},
        )
        documents.store(Document(id=paper_id, type=kind, content=content, metadata=metadata))


def sections(text: str) -> list[Section]:
    """Return a section that an agent has written, and one of a template."""
    return [
        Section(
            id="wheel", title="The wheel", level=2, key="1" * 64, text=text, agent="writer",
            task=UUID(int=7), sources={"input:notes.md": "1" * 64},
        ),
        Section(
            id="facts", title="Facts", level=2, key="2" * 64, text="It has **4** goals.\n",
            template="goals.md", sources={"facts:goals": "0" * 64},
        ),
    ]  # fmt: skip


def said() -> str:
    """Return the id of a task within which something was said."""
    task = str(uuid4())
    for level, message in (
        ("INFO", "the wheel turns"),
        ("WARNING", "the race is nearly dry"),
        ("ERROR", "the axle is broken"),
    ):
        say(task, level, message)
    return task


def say(task: str, level: str, message: str) -> None:
    """Say something within a task."""
    event = LogEvent(
        message=message, level=level, logger="mill.wheel", details={"turns": 12},
        exception="Traceback\n  in wheel\nBroken: the axle" if level == "ERROR" else None,
    )  # fmt: skip
    LogManager().log(event, LogContext(task_id=task, agent_id="writer"))
    assert logs.flush()


#: What no line has room for on a phone.
LOGGER = "celery.worker.consumer.consumer"
LONG = (
    "celery.app.trace: Task workflow.finish[dd3f7f1c-478a-458d-89f3-cae1b9dcd318] raised unexpected"
)


def fired() -> str:
    """Return the rule of two alerts that are firing; there is a third one, and a silence, of a long name."""
    rule = f"mill-{uuid4().hex[:6]}"
    long = f"the-rule-of-somebody-else-{uuid4().hex[:6]}"

    def work(look: AlertLook) -> None:
        look.fire(rule, "warning", Hit("race", "The race has been dry for 2 h.", count=3))
        look.fire(rule, "critical", Hit("axle", "The axle is broken."))
        look.fire(long, "info", Hit(LOGGER, LONG))

    AlertStore(database).look(work)
    AlertStore(database).silence(long, LOGGER, 3600, "user:somebody-with-a-long-name")
    return rule


def measured() -> None:
    """Keep samples of the last hour."""
    store, now = MetricsStore(database), datetime.now(UTC).replace(microsecond=0)
    body = MetricsCollector().collect()
    for minute in range(60, 0, -1):
        body.tasks.duration.count += minute % 7
        body.resources.generated_tokens += 40 * (minute % 11)
        body.system.live_leases = minute % 5
        store.keep(now - timedelta(minutes=minute), body.model_dump(mode="json"))
