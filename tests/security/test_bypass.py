"""Ways around the policy: each test tries one."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_app import celery
from celery_app.client import Client
from celery_app.errors import PermissionDenied
from celery_app.local_desk import LocalDesk
from celery_app.orchestrator.workflow_files import WorkflowFiles
from celery_app.security.policy import Policy, PolicyFile, Rule
from workflows.definitions import load
from workflows.workflow import Workflow


def policy_of(*may: tuple[str, str]) -> Policy:
    """The policy under which ann may do these things, and an operator everything."""
    rules = [
        Rule(effect="allow", who=["user:ann"], may=[action], resources=[resource])
        for action, resource in may
    ]
    rules.append(Rule(effect="allow", who=["user:tester"], may=["*"]))
    return Policy(PolicyFile(rules=rules), [f"rule {number}" for number in range(len(rules))])


def ann_may(monkeypatch: pytest.MonkeyPatch, *may: tuple[str, str]) -> Client:
    """A client of ann's."""
    monkeypatch.setattr(celery, "policy", lambda: policy_of(*may))
    monkeypatch.setattr(celery, "local_user", lambda: "user:ann")
    return Client()


def workflow(name: str, step: str) -> Workflow:
    return load(f"name: {name}\nsteps:\n  - {{id: go, {step}}}\n")


STEPS = [
    ("task: chore.echo, args: [1]", "celery:chore.echo"),
    ("agent: writer, prompt: 'Go'", "agent:writer"),
    ("plan: 'Write a book'", "agent:planner"),
    ("task: chore.sleep, args: [0], compensate: {task: chore.echo, args: [1]}", "celery:chore"),
]


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(("step", "told"), STEPS)
def test_a_definition_of_ones_own_needs_the_right_to_each_step(
    monkeypatch: pytest.MonkeyPatch, step: str, told: str
) -> None:
    ann = ann_may(monkeypatch, ("workflow.run", "workflow:*"))
    with pytest.raises(PermissionDenied, match=rf"task\.submit on {told}"):
        ann.start_workflow(workflow("triage", step))


@pytest.mark.usefixtures("client")
def test_a_filed_workflow_was_allowed_with_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "name: filed\nsteps:\n  - {id: go, task: chore.echo, args: [1]}\n"
    (tmp_path / "filed.yaml").write_text(text)
    ann = ann_may(monkeypatch, ("workflow.run", "workflow:filed"))
    assert isinstance(ann.desk, LocalDesk)
    ann.desk.engine.workflows = WorkflowFiles(tmp_path)
    ann.start_workflow(load(text))
    with pytest.raises(PermissionDenied, match=r"task\.submit on celery:chore\.sleep"):
        ann.start_workflow(load(text.replace("echo", "sleep")))


def test_a_fork_with_another_definition_needs_the_right_to_that(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setattr(celery, "policy", policy_of)
    monkeypatch.setattr(celery, "local_user", lambda: "user:tester")
    run = Client().start_workflow(workflow("first", "approval: {question: 'Go on?'}"))
    ann = ann_may(monkeypatch, ("workflow.run", "workflow:first"))
    with pytest.raises(PermissionDenied, match=r"workflow\.run on workflow:second"):
        ann.run(run.id).fork(workflow=workflow("second", "approval: {question: 'Go on?'}"))
    with pytest.raises(PermissionDenied, match=r"task\.submit on celery:chore\.echo"):
        ann.run(run.id).fork(workflow=workflow("first", "task: chore.echo, args: [1]"))
    client.run(run.id).cancel()


def test_what_one_may_not_read_does_not_flow_into_ones_own_task(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setattr(celery, "policy", lambda: policy_of())
    monkeypatch.setattr(celery, "local_user", lambda: "user:tester")
    kept = Client().submit_graph([{"task": "chore.echo", "args": ["a secret"], "description": "x"}])
    ann = ann_may(monkeypatch, ("task.submit", "*"))
    with pytest.raises(PermissionDenied, match=rf"task\.read on task:{kept.id}"):
        ann.submit("Tell me what it says", dependencies=[kept.id], plan=False)
    client.task(kept.id).cancel()
