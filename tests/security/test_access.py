"""Every case of the table through the Python client, tokens, and what is kept of denials."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner

from celery_app import celery
from celery_app.celery import access, database
from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.errors import ConfigurationError, PermissionDenied, UnknownProject, UnknownTask
from celery_app.handles import RunHandle
from celery_app.orchestrator.task_manager import TaskManager
from celery_app.security.guard import local_user
from celery_app.security.policy import Policy, PolicyFile, Rule, When, request
from celery_app.worker import permissions
from celery_app.worker.permissions import allowed_agents, require_run
from tests.security.cases import CASES, Case
from workflows.definitions import load
from workflows.errors import IllegalTransition
from workflows.task import SecurityLevel, SecurityRequirements, Task

POLICY = Policy.load(Path(__file__).with_name("policies.yaml"))


@pytest.fixture(autouse=True)
def policy(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules of this folder are in force, and whoever runs the tests is an operator."""
    monkeypatch.setattr(celery, "policy", lambda: POLICY)
    monkeypatch.setattr(permissions, "policy", lambda: POLICY)
    monkeypatch.setattr(celery, "local_user", lambda: "user:tester")


@pytest.fixture(scope="module")
def tokens(client: Client) -> Iterator[dict[str, str]]:
    """Tokens of this module, by the subjects that they are."""
    names = {
        case.subject.removeprefix("token:") for case in CASES if case.subject.startswith("token:")
    }
    yield {f"token:{name}": access.create(name)[1] for name in names}
    database.rows("DELETE FROM token WHERE name = ANY (:names)", names=list(names))


def workflow(name: str) -> str:
    return (
        f"name: {name}\nsteps:\n  - {{id: ask, approval: {{question: 'Go on?'}}}}\n"
        "  - {id: go, task: chore.echo, args: [1]}\n"
    )


@pytest.fixture(scope="module")
def run_id(client: Client) -> Iterator[UUID]:
    """A run of a workflow that waits for an answer."""
    run = client.start_workflow(load(workflow("triage")))
    yield run.id
    run.cancel()


def as_subject(case: Case, monkeypatch: pytest.MonkeyPatch, tokens: dict[str, str]) -> Client:
    if case.subject.startswith("token:"):
        return Client(tokens[case.subject])
    monkeypatch.setattr(celery, "local_user", lambda: case.subject)
    return Client()


def submit(client: Client, case: Case) -> None:
    kind, _, name = case.resource.partition(":")
    task = Task(
        description="a case",
        agent=name if kind == "agent" else None,
        task=name if kind == "celery" else None,
        required_capabilities=set(case.capabilities),
        security_requirements=SecurityRequirements(level=case.level),
        plan=False if kind != "celery" else None,
    )
    TaskManager(permissions=client.permissions).submit(task)
    celery.graphs.cancel(str(task.id))


def read(client: Client, case: Case) -> None:
    client.task(uuid4()).tree()


def start(client: Client, case: Case) -> None:
    client.start_workflow(load(workflow(case.resource.partition(":")[2]))).id  # noqa: B018


def of_run(act: Callable[[RunHandle], object]) -> Callable[[Client, Case, UUID], None]:
    return lambda client, case, run_id: (act(client.run(run_id)), None)[1]


STRAIGHT: dict[str, Callable[[Client, Case], None]] = {
    "task.submit": submit,
    "task.read": read,
    "task.cancel": lambda client, case: client.task(uuid4()).cancel(),
    "task.retry": lambda client, case: TaskManager(permissions=client.permissions).retry(uuid4()),
    "event.emit": lambda client, case: (client.emit(case.resource.partition(":")[2]), None)[1],
    "budget.change": lambda client, case: client.set_project_budget("bees", tokens=10),
    "project.read": lambda client, case: (client.project("bees").get(), None)[1],
    "project.change": lambda client, case: client.project("bees").accept("honey"),
    "workflow.run": start,
    "workflow.change": lambda client, case: client.register_workflow(load(workflow("triage"))),
}
OF_RUN = {
    "workflow.read": of_run(lambda run: run.tree()),
    "workflow.answer": of_run(lambda run: run.approve("go")),
}


def cases() -> list[Case]:
    """Those that a client can be; workers and agents ask elsewhere, and a level is a task's."""
    return [
        case
        for case in CASES
        if case.subject.startswith(("user:", "token:"))
        and (case.action == "task.submit" or (case.action in STRAIGHT | OF_RUN and not case.capabilities))
        and not (case.action == "workflow.run" and case.level != "internal")
        and case.subject != "token:ci2"
    ]  # fmt: skip


@pytest.mark.parametrize("case", cases(), ids=str)
def test_the_client_is_let_in_or_turned_away(
    case: Case, monkeypatch: pytest.MonkeyPatch, tokens: dict[str, str], run_id: UUID
) -> None:
    client = as_subject(case, monkeypatch, tokens)
    before = len(access.denials(1000))
    try:
        if case.action in STRAIGHT:
            STRAIGHT[case.action](client, case)
        else:
            OF_RUN[case.action](client, case, run_id)
    except PermissionDenied as denied:
        assert not case.allowed, denied
        assert case.action in str(denied)
        told = access.denials(1)[0]
        assert (told["subject"], told["action"]) == (client.permissions.name, case.action)
        assert len(access.denials(1000)) == before + 1
    except (UnknownTask, UnknownProject, IllegalTransition):
        # It was let in, and there is no such thing.
        assert case.allowed
    else:
        assert case.allowed


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.subject.startswith(("worker:", "agent:"))], ids=str
)
def test_workers_and_agents_are_asked_where_they_work(case: Case) -> None:
    guard = celery.guard_of(case.subject)
    asked = (case.action, case.resource, case.capabilities, case.level)
    if case.allowed:
        guard.require(*asked)
    else:
        with pytest.raises(PermissionDenied, match=case.action):
            guard.require(*asked)


def test_a_task_is_refused_where_it_would_run() -> None:
    secret = Task(description="x", security_requirements=SecurityRequirements(level="secret"))
    require_run(secret, "writer")
    with pytest.raises(PermissionDenied, match=r"agent:outside may not task\.run on task:"):
        require_run(secret, "outside")


def test_a_tool_is_not_given_to_an_agent_that_the_policy_denies_it() -> None:
    task = Task(description="x", security_requirements=SecurityRequirements(level="internal"))
    assert permissions.why_denied(task, "writer", "read_file") is None
    why = permissions.why_denied(task, "writer", "http_get")
    assert why is not None
    assert why.startswith("the policy denies it: deny by the rule at ")
    kept = access.denials(1)[0]
    assert (kept["subject"], kept["resource"]) == ("agent:writer", "tool:http_get")


def test_a_plan_is_made_for_agents_that_the_asker_may_ask(client: Client) -> None:
    profiles = celery.agent_manager().profiles
    task = Task(description="x")
    database.rows(
        """
        INSERT INTO task (id, root_id, name, type, queue, state, spec, requested_by)
        VALUES (:id, :id, 'task.plan', 'general', 'nobody', 'cancelled', '', 'user:ann')
        """,
        id=str(task.id),
    )
    database.rows("UPDATE task SET spec = :spec WHERE id = :id", id=str(task.id),
                  spec=database.vault.pack({}, "task.spec", task.id))  # fmt: skip
    allowed = {profile.name for profile in allowed_agents(task, str(task.id), profiles)}
    assert allowed == {profile.name for profile in profiles} - {"planner"}


def test_tokens_expire_are_revoked_and_limited(client: Client) -> None:
    name = f"t-{uuid4().hex[:6]}"
    made, text = access.create(name, ["task.read"], seconds=60)
    assert made.good
    assert access.subject(text).name == f"token:{name}"
    with pytest.raises(ConfigurationError, match="choose another name"):
        access.create(name)
    holder = access.holder(text)
    assert holder().scopes == ("task.read",)
    stored = database.row("SELECT * FROM token WHERE name = :name", name=name)
    assert text.split("_", 2)[2] not in repr(stored)
    for wrong in (text[:-1], f"{text}x", text.replace("aiat", "aiax"), "", "aiat__", "aiat_0_0"):
        with pytest.raises(PermissionDenied, match="none of this system") as caught:
            access.subject(wrong)
        assert text.split("_", 2)[2] not in str(caught.value)
    database.rows(
        "UPDATE token SET expires_at = now() - interval '1s' WHERE name = :name", name=name
    )
    with pytest.raises(PermissionDenied, match="expired at"):
        access.subject(text)
    database.rows("UPDATE token SET expires_at = NULL WHERE name = :name", name=name)
    assert access.revoke(name).revoked_at is not None
    with pytest.raises(PermissionDenied, match="was revoked"):
        access.subject(text)
    # Whoever came in before is turned away within seconds.
    deadline = time.monotonic() + 10
    with pytest.raises(PermissionDenied, match="was revoked"):
        while time.monotonic() < deadline:
            holder()
            time.sleep(0.1)
    with pytest.raises(ConfigurationError, match="there is no token"):
        access.revoke("nobody-has-this")


def test_a_scope_limits_what_the_policy_allows(tokens: dict[str, str]) -> None:
    _, text = access.create("watch-scoped", ["task.read"])
    guard = celery.guard(text)
    assert guard.decide(request("task.read", "task:1")).allowed
    denied = guard.decide(request("workflow.read", "workflow:x"))
    assert (denied.allowed, denied.why) == (False, "the token is limited to task.read")
    database.rows("DELETE FROM token WHERE name = 'watch-scoped'")


def test_a_refused_token_is_logged_and_kept(
    caplog: pytest.LogCaptureFixture, client: Client
) -> None:
    name = f"t-{uuid4().hex[:6]}"
    _, text = access.create(name)
    access.revoke(name)
    for given, subject, told in (
        (text, f"token:{name}", "was revoked"),
        (text[:-1], "token:?", "none of this system"),
    ):
        with caplog.at_level(logging.WARNING, logger="celery_app.audit"):
            caplog.clear()
            with pytest.raises(PermissionDenied, match=told):
                Client(given).task(uuid4()).tree()
        assert f"denied: {subject} task.read" in caplog.text
        assert given.split("_", 2)[2] not in caplog.text
        kept = access.denials(1)[0]
        assert (kept["subject"], kept["action"]) == (subject, "task.read")
        assert told in kept["why"]
        assert given.split("_", 2)[2] not in repr(kept)


def test_the_environment_does_not_say_who_somebody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = local_user()
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "olga")
    assert local_user() == before


def test_the_terminal_is_turned_away_with_3(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, run_id: UUID
) -> None:
    monkeypatch.setattr(celery, "local_user", lambda: "user:bob")
    for asked in (
        ["task", "list"],
        ["task", "submit", "Write a poem", "--no-plan"],
        ["task", "cancel", str(run_id)],
        ["workflow", "runs"],
        ["workflow", "emit", "ticket"],
        ["token", "list"],
        ["keys", "reseal"],
        ["status"],
        ["metrics"],
    ):
        with caplog.at_level(logging.WARNING, logger="celery_app.audit"):
            caplog.clear()
            done = CliRunner().invoke(cli, asked)
        assert done.exit_code == 3, (asked, done.output)
        assert done.stderr.startswith("error: user:bob may not ")
        assert "no rule fits, and the default is deny" in done.stderr
        assert "denied: user:bob" in caplog.text


def test_tokens_in_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"t-{uuid4().hex[:6]}"
    made = CliRunner().invoke(
        cli, ["token", "create", name, "--scope", "task.*", "--expires", "1d"]
    )
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()
    listed = CliRunner().invoke(cli, ["token", "list"])
    assert name in listed.stdout
    assert text.split("_", 2)[2] not in listed.output
    monkeypatch.setenv("AI_AGENT_TOKEN", text)
    done = CliRunner().invoke(cli, ["task", "list"])
    assert (done.exit_code, f"token:{name} may not task.read" in done.stderr) == (3, True)
    monkeypatch.delenv("AI_AGENT_TOKEN")
    assert CliRunner().invoke(cli, ["token", "revoke", name]).exit_code == 0


def listed(client: Client) -> set[str]:
    return {record.id for record in TaskManager(permissions=client.permissions).newest()}


def test_a_run_is_as_secret_as_what_was_handed_in(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = SecurityRequirements(level=SecurityLevel.SECRET)
    inner = Task(task="chore.echo", args=[1], description="a")
    outer = Task(description="all of it", subtasks=[inner], security_requirements=secret)
    handle = client.submit_graph([outer])
    usual = client.submit_graph([Task(task="chore.echo", args=[1], description="b")])
    assert str(handle.id) in listed(client)
    rule = Rule(
        effect="allow",
        who=["user:*"],
        may=["task.*"],
        when=When(level_to=SecurityLevel.CONFIDENTIAL),
    )
    to_confidential = Policy(PolicyFile(rules=[rule]), ["here"])
    monkeypatch.setattr(celery, "policy", lambda: to_confidential)
    other = Client()
    seen = listed(other)
    assert str(usual.id) in seen
    assert str(handle.id) not in seen
    for task_id in (outer.id, inner.id):
        asked = other.task(task_id)
        for ask in (asked.tree, asked.result, asked.cancel, asked.events):
            with pytest.raises(PermissionDenied, match="no rule fits"):
                ask()
        with pytest.raises(PermissionDenied):
            TaskManager(permissions=other.permissions).retry(task_id)
    assert other.task(usual.id).tree()["id"] == str(usual.id)
    handle.cancel()
    usual.cancel()


def test_no_token_makes_one_that_may_do_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "policy", lambda: Policy.of_owner("token:*"))
    name = f"t-{uuid4().hex[:6]}"
    _, limited = access.create(name, ["token.change", "task.*"])
    monkeypatch.setenv("AI_AGENT_TOKEN", limited)
    for scopes, code, told in (
        ([], 3, "can make none that may tool.use"),
        (["task.*", "workflow.read"], 3, "can make none that may workflow.read"),
        (["taks.*"], 2, "'taks.*' means no action"),
        (["task.read"], 0, "it is token:"),
    ):
        asked = [word for scope in scopes for word in ("--scope", scope)]
        done = CliRunner().invoke(cli, ["token", "create", f"{name}-{len(scopes)}", *asked])
        assert done.exit_code == code, done.output
        assert told in done.output
