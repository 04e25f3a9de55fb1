"""Every case of the table through the commands that people type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import yaml
from click.testing import CliRunner

from celery_app import celery
from celery_app.celery import access, database
from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.worker import permissions
from tests.security.cases import CASES, Case
from tests.security.test_access import POLICY, workflow
from workflows.definitions import load
from workflows.task import SecurityRequirements, Task

#: What is typed for an action, where its resource is taken from the case.
Typed = Callable[[Client, Case, Path], list[str]]


def _submit(client: Client, case: Case, folder: Path) -> list[str]:
    kind, _, name = case.resource.partition(":")
    fields = {
        "id": str(uuid4()),
        "description": "a case",
        "required_capabilities": list(case.capabilities),
        "security_requirements": {"level": str(case.level)},
    }
    if kind == "agent":
        fields["agent"] = name
    if kind == "celery":
        fields = {
            "id": str(uuid4()),
            "task": name,
            "security_requirements": {"level": str(case.level)},
        }
    file = folder / "graph.yaml"
    file.write_text(yaml.safe_dump([fields]))
    return ["task", "submit", "--graph", str(file)]


def _of_task(verb: str) -> Typed:
    def typed(client: Client, case: Case, folder: Path) -> list[str]:
        needs = SecurityRequirements(level=case.level)
        task = Task(task="chore.fail", args=["x"], security_requirements=needs)
        handle = client.submit_graph([task])
        handle.cancel()
        return ["task", verb, str(handle.id)]

    return typed


def _of_run(verb: str, *more: str) -> Typed:
    def typed(client: Client, case: Case, folder: Path) -> list[str]:
        run: UUID = client.start_workflow(load(workflow("triage"))).id
        return ["workflow", verb, str(run), *more]

    return typed


def _run(client: Client, case: Case, folder: Path) -> list[str]:
    file = folder / "case.yaml"
    file.write_text(workflow(case.resource.partition(":")[2]))
    return ["workflow", "run", str(file), "--detach"]


TYPED: dict[str, Typed] = {
    "task.submit": _submit,
    "task.read": _of_task("show"),
    "task.cancel": _of_task("cancel"),
    "task.retry": _of_task("retry"),
    "workflow.run": _run,
    "workflow.read": _of_run("show"),
    "workflow.cancel": _of_run("cancel"),
    "workflow.answer": _of_run("approve", "ask"),
    "workflow.change": lambda client, case, folder: [
        "workflow", "triggers", "pause", "triage", "daily",
    ],
    "event.emit": lambda client, case, folder: [
        "workflow", "emit", case.resource.partition(":")[2],
    ],
    "budget.change": lambda client, case, folder: [
        "project", "budget", case.resource.partition(":")[2], "--tokens", "10",
    ],
    "project.read": lambda client, case, folder: ["project", "show", case.resource.partition(":")[2]],
    "project.change": lambda client, case, folder: [
        "project", "accept", case.resource.partition(":")[2], "honey",
    ],
    "token.change": lambda client, case, folder: [
        "token", "revoke", case.resource.partition(":")[2],
    ],
    "system.read": lambda client, case, folder: ["status"],
    "system.change": lambda client, case, folder: ["keys", "reseal"],
}  # fmt: skip


def _cases() -> list[Case]:
    """Those of people and programs; a workflow's run has no level."""
    return [
        case
        for case in CASES
        if case.subject.startswith(("user:", "token:"))
        and not (case.action == "workflow.run" and case.level != "internal")
    ]


@pytest.fixture
def token(client: Client) -> Iterator[Callable[[str], str]]:
    """Makes a token of a name, for one test."""
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return access.create(name)[1]

    yield make
    database.rows("DELETE FROM token WHERE name = ANY (:names)", names=made)


def test_almost_all_cases_can_be_typed() -> None:
    assert len(_cases()) >= 50
    assert sum(not case.allowed for case in _cases()) >= 25


@pytest.mark.parametrize("case", _cases(), ids=str)
def test_a_command_is_obeyed_or_refused(
    case: Case,
    client: Client,
    token: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(celery, "policy", lambda: POLICY)
    monkeypatch.setattr(permissions, "policy", lambda: POLICY)
    monkeypatch.setattr(celery, "local_user", lambda: "user:olga")
    words = TYPED[case.action](Client(), case, tmp_path)
    if case.subject.startswith("token:"):
        monkeypatch.setenv("AI_AGENT_TOKEN", token(case.subject.removeprefix("token:")))
    else:
        monkeypatch.setattr(celery, "local_user", lambda: case.subject)
    done = CliRunner().invoke(cli, words)
    if case.allowed:
        # It was let in; there may be no such trigger or token, or no question yet.
        assert done.exit_code == 0 or re.search(
            "there is no|no triggers|waits for no answer", done.output
        ), done.output
    else:
        assert done.exit_code == 3, done.output
        assert f"{case.subject} may not {case.action}" in done.output
