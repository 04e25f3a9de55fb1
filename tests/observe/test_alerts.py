"""Each kind of alert fires once, groups and resolves; who is told is told, even if not at once."""

from __future__ import annotations

import hmac
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiosmtpd.controller import Controller
from click.testing import CliRunner

from celery_app import LogContext, LogEvent, LogManager
from celery_app.celery import database, logs
from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.errors import ConfigurationError, PermissionDenied
from celery_app.observe.alert_desk import AlertDesk
from celery_app.observe.alert_rules import AlertFile
from celery_app.observe.alerts import Alerts
from celery_app.observe.jobs import alerts as alerts_of_the_system
from celery_app.observe.log_reader import LogReader
from celery_app.observe.outbox import Outbox
from celery_app.security.guard import Guard, Subject
from celery_app.security.policy import Decision, Policy, Request
from celery_app.store.alert_look import Alert
from celery_app.store.alerts import AlertStore
from celery_app.store.logs import LogFilter
from celery_app.store.notifications import NotificationStore
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(240)

STORE = AlertStore(database)
OUTBOX = NotificationStore(database)


class Desk:
    """Rules of a test's own, and what they lead to."""

    def __init__(self, folder: Path, rules: str, notifiers: str = "{}") -> None:
        self.name = f"rule-{uuid4().hex[:8]}"
        self.to = f"to-{uuid4().hex[:8]}"
        text = f"notifiers: {notifiers}\nrules:\n{rules}".replace("NAME", self.name)
        file = folder / f"{self.name}.yaml"
        file.write_text(text.replace("TO", self.to))
        self.file = AlertFile.load(file)
        self.metrics: dict[str, float | None] = {}
        self.alerts = Alerts(STORE, self.file, self.metrics.get, lambda _: [])
        self.look()

    def say(self, message: str, level: Any = "ERROR", logger: str = "shop", **ids: str) -> None:
        LogManager().log(LogEvent(message=message, level=level, logger=logger), LogContext(**ids))

    def look(self) -> list[Alert]:
        """Look, and return all alerts of the rule, newest first."""
        assert logs.flush(30)
        assert self.alerts.look()
        return self.found()

    def found(self, rule: str | None = None) -> list[Alert]:
        return [each for each in STORE.newest(limit=500) if each.rule == (rule or self.name)]

    def told(self) -> list[dict[str, Any]]:
        """Return what the notifier was told or is to be told, oldest first."""
        rows = database.rows(
            "SELECT id, body FROM notification WHERE notifier = :to ORDER BY id", to=self.to
        )
        return [database.vault.unpack(row.body, "notification.body", row.id) for row in rows]

    def age(self, seconds: float) -> None:
        """Let what was found so far be older."""
        for table, column in (("alert", "last_at"), ("alert_hit", "at")):
            database.rows(
                f"UPDATE {table} SET {column} = {column} - make_interval(secs => :seconds) "
                "WHERE rule = :rule",
                seconds=seconds,
                rule=self.name,
            )
        database.rows(
            """
            UPDATE alert_rule SET since = since - make_interval(secs => :seconds),
                   met_at = met_at - make_interval(secs => :seconds),
                   hit_at = hit_at - make_interval(secs => :seconds) WHERE name = :rule
            """,
            seconds=seconds,
            rule=self.name,
        )


NOTIFY = "notify: [TO]"
HOOK = '{TO: {kind: webhook, url: "http://127.0.0.1:9/"}}'


def kinds(told: list[dict[str, Any]]) -> list[str]:
    return [each["kind"] for each in told]


class TestEachKind:
    def test_a_level(self, client: Client, tmp_path: Path) -> None:
        desk = Desk(tmp_path, f"  - {{name: NAME, kind: level, logger: 'shop*', {NOTIFY}}}", HOOK)
        desk.say("fine", "WARNING")
        desk.say("other", logger="elsewhere")
        assert desk.look() == []
        for each in range(3):
            desk.say(f"broken {each}")
        (alert,) = desk.look()
        assert (alert.is_open, alert.hits) == (True, 3)
        assert alert.message == "shop: broken 2"
        assert desk.look() == [alert], "it fires once however often somebody looks"
        desk.say("again")
        (again,) = desk.look()
        assert (again.id, again.hits) == (alert.id, 4)
        assert kinds(desk.told()) == ["firing"]
        desk.age(601)
        (over,) = desk.look()
        assert not over.is_open
        assert kinds(desk.told()) == ["firing", "resolved"]
        desk.say("once more")
        assert [each.is_open for each in desk.look()] == [True, False]

    def test_a_pattern_in_groups(self, client: Client, tmp_path: Path) -> None:
        rule = "name: NAME, kind: pattern, pattern: 'disk (full|gone)', group_by: [logger, agent]"
        desk = Desk(tmp_path, f"  - {{{rule}, {NOTIFY}}}", HOOK)
        desk.say("disk full", "INFO", "a")
        desk.say("disk gone", "INFO", "b", agent_id="writer")
        desk.say("disk fine", "INFO", "c")
        desk.say("disk full", "INFO", "a")
        found = {alert.about: alert.hits for alert in desk.look()}
        assert found == {"logger=a agent=-": 2, "logger=b agent=writer": 1}
        (told,) = desk.told()
        assert len(told["alerts"]) == 2, "what fires together is told together"

    def test_a_rate(self, client: Client, tmp_path: Path) -> None:
        desk = Desk(
            tmp_path,
            f"  - {{name: NAME, kind: rate, pattern: slow, more_than: 3, within: 60s, {NOTIFY}}}",
            HOOK,
        )
        for _ in range(3):
            desk.say("slow")
        assert desk.look() == []
        desk.say("slow")
        (alert,) = desk.look()
        assert "4 times within 60 s, more than 3" in alert.message
        assert desk.look() == [alert]
        desk.age(61)
        assert [each.is_open for each in desk.look()] == [False]
        assert kinds(desk.told()) == ["firing", "resolved"]

    def test_a_threshold(self, client: Client, tmp_path: Path) -> None:
        desk = Desk(
            tmp_path,
            "  - {name: NAME, kind: threshold, metric: agents.error_rate, above: 0.2, for: 60s,"
            f" {NOTIFY}}}",
            HOOK,
        )
        desk.metrics["agents.error_rate"] = 0.5
        assert desk.look() == [], "it has not lasted"
        desk.age(61)
        (alert,) = desk.look()
        assert alert.message == "agents.error_rate is 0.5, above 0.2"
        desk.metrics["agents.error_rate"] = None
        assert desk.look() == [alert], "what nobody measures changes nothing"
        desk.metrics["agents.error_rate"] = 0.2
        assert [each.is_open for each in desk.look()] == [False]
        assert kinds(desk.told()) == ["firing", "resolved"]

    def test_an_absence(self, client: Client, tmp_path: Path) -> None:
        desk = Desk(
            tmp_path,
            f"  - {{name: NAME, kind: absence, logger: nightly, within: 1h, {NOTIFY}}}",
            HOOK,
        )
        assert desk.look() == [], "it counts from when the rule is there"
        desk.age(3500)
        desk.say("done", "INFO", "nightly")
        desk.look()
        desk.age(3500)
        assert desk.look() == []
        desk.age(200)
        (alert,) = desk.look()
        assert alert.is_open
        assert desk.look() == [alert]
        desk.say("done", "INFO", "nightly")
        assert [each.is_open for each in desk.look()] == [False]
        assert kinds(desk.told()) == ["firing", "resolved"]

    def test_a_deadline(self, client: Client, tmp_path: Path) -> None:
        desk = Desk(tmp_path, f"  - {{name: NAME, kind: deadline, {NOTIFY}}}", HOOK)
        handle = client.submit_graph([{"id": str(uuid4()), "task": "chore.echo", "args": [1]}])
        run = str(handle.id)
        database.rows("UPDATE task SET risk = 'late' WHERE id = :id", id=run)
        database.rows(
            "INSERT INTO event (task_id, root_id, kind) VALUES (:id, :id, 'at-risk')", id=run
        )
        (alert,) = desk.look()
        assert (alert.about, alert.root_id) == (f"run={run}", run)
        assert desk.look() == [alert]
        database.rows("UPDATE task SET risk = NULL WHERE id = :id", id=run)
        assert [each.is_open for each in desk.look()] == [False]
        assert kinds(desk.told()) == ["firing", "resolved"]
        events = [(each["kind"], each["cause"]) for each in handle.events()]
        named = f"alert {alert.id}"
        assert ("alerted", named) in events
        assert ("alert-resolved", named) in events
        handle.cancel()


def test_it_fires_once_however_many_look_at_once(client: Client, tmp_path: Path) -> None:
    desk = Desk(tmp_path, f"  - {{name: NAME, kind: level, {NOTIFY}}}", HOOK)
    for each in range(200):
        desk.say(f"broken {each}")
    assert logs.flush(30)
    with ThreadPoolExecutor(8) as pool:
        looks = list(pool.map(lambda _: desk.alerts.look(), range(24)))
    assert any(looks)
    (alert,) = desk.look()
    assert alert.hits == 200
    assert kinds(desk.told()) == ["firing"]


def test_a_look_that_was_just_done_is_not_done_again(client: Client, tmp_path: Path) -> None:
    desk = Desk(tmp_path, "  - {name: NAME, kind: deadline}")
    assert desk.alerts.look()
    assert not desk.alerts.look(not_within=600)


def test_a_silence_holds_back_and_is_told_afterwards(client: Client, tmp_path: Path) -> None:
    desk = Desk(tmp_path, f"  - {{name: NAME, kind: level, group_by: [logger], {NOTIFY}}}", HOOK)
    number = STORE.silence(desk.name[:8] + "*", "logger=quiet*", 600, "user:me")
    desk.say("one", logger="quiet.one")
    desk.say("two", logger="loud")
    found = {alert.about: alert.silenced for alert in desk.look()}
    assert found == {"logger=quiet.one": True, "logger=loud": False}
    assert [each["about"] for told in desk.told() for each in told["alerts"]] == ["logger=loud"]
    assert STORE.end_silence(number)
    assert not STORE.end_silence(number)
    desk.look()
    assert [each["about"] for told in desk.told() for each in told["alerts"]] == [
        "logger=loud", "logger=quiet.one",
    ]  # fmt: skip


def test_what_is_over_while_it_is_silenced_is_never_told(client: Client, tmp_path: Path) -> None:
    desk = Desk(tmp_path, f"  - {{name: NAME, kind: level, {NOTIFY}}}", HOOK)
    STORE.silence(desk.name, "*", 600, "user:me")
    desk.say("one")
    desk.look()
    desk.age(601)
    assert [each.is_open for each in desk.look()] == [False]
    assert desk.told() == []


def test_alerts_of_a_rule_that_is_gone_are_closed(client: Client, tmp_path: Path) -> None:
    desk = Desk(tmp_path, "  - {name: NAME, kind: level}")
    desk.say("one")
    desk.look()
    other = Desk(tmp_path, "  - {name: NAME, kind: deadline}")
    assert [each.is_open for each in other.found(desk.name)] == [False]


def test_what_alerts_say_makes_no_alerts(client: Client, tmp_path: Path) -> None:
    desk = Desk(tmp_path, "  - {name: NAME, kind: level, level: DEBUG, notify: [log]}")
    desk.say("one", logger="celery_app.alerts")
    assert desk.look() == []


def test_beat_has_it_looked_at(client: Client, tmp_path: Path) -> None:
    name = f"rule-{uuid4().hex[:8]}"
    file = tmp_path / "alerts.yaml"
    file.write_text(f"rules: [{{name: {name}, kind: level, logger: {name}, notify: [log]}}]\n")
    settings = {
        "AI_AGENT__MONITORING__ALERTS": json.dumps({"file": str(file), "interval": 1}),
    }
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "beat", "-l", "INFO"]
    with WorkerProcess("-c", "2", **settings) as worker:
        LogManager().log(LogEvent(message="broken", level="ERROR", logger=name))
        logs.flush(30)
        beats = [
            subprocess.Popen(
                [*command, "-s", str(tmp_path / f"schedule-{each}")],
                env={**os.environ, **settings},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for each in range(2)
        ]
        try:
            deadline = time.monotonic() + 180
            while f"{name} firing: {name}: broken" not in worker.text():
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            for beat in beats:
                beat.terminate()
            assert all(beat.wait(timeout=30) is not None for beat in beats)
        assert worker.text().count(f"{name} firing") == 1
    assert len([each for each in STORE.newest(limit=500) if each.rule == name]) == 1


def test_who_may_not_may_not(client: Client) -> None:
    denied: list[str] = []

    def record(subject: str, wanted: Request, decision: Decision) -> None:
        denied.append(f"{subject} {wanted.action} {wanted.resource}")

    nobody = Guard(lambda: Subject("user:eve"), Policy.of_owner("user:ann"), record)
    with pytest.raises(PermissionDenied):
        AlertDesk(nobody).alerts()
    with pytest.raises(PermissionDenied):
        AlertDesk(nobody).silence("x", 1)
    with pytest.raises(PermissionDenied):
        LogReader(nobody).find(LogFilter())
    with pytest.raises(PermissionDenied):
        LogReader(nobody).follow(LogFilter())
    assert denied == [
        "user:eve system.read system:alerts", "user:eve system.change system:alerts",
        "user:eve system.read system:logs", "user:eve system.read system:logs",
    ]  # fmt: skip


class _Hook(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append((dict(self.headers), body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


class Hook(ThreadingHTTPServer):
    """Somebody else's server, which may be broken."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.status = 200
        self.calls: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Letters:
    def __init__(self) -> None:
        self.letters: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.letters.append(envelope)
        return "250 OK"


class TestNotifiers:
    def hooked(self, folder: Path, hook: Hook, more: str = "") -> Desk:
        (folder / "secret").write_text("hook-s3cret-1")
        notifier = f'{{TO: {{kind: webhook, url: "{hook.url}"{more}}}}}'
        return Desk(folder, f"  - {{name: NAME, kind: level, {NOTIFY}}}", notifier)

    def test_a_web_call_is_signed(self, client: Client, tmp_path: Path, hook: Hook) -> None:
        desk = self.hooked(tmp_path, hook, ", password_file: secret")
        desk.say("broken")
        desk.look()
        Outbox(OUTBOX, desk.file.notifiers).deliver()
        ((headers, body),) = hook.calls
        told = json.loads(body)
        assert (told["kind"], told["alerts"][0]["message"]) == ("firing", "shop: broken")
        at, mark = headers["X-AI-Agent-Signature"].removeprefix("t=").split(",v1=")
        signed = hmac.new(b"hook-s3cret-1", f"{at}.".encode() + body, "sha256")
        assert hmac.compare_digest(mark, signed.hexdigest())
        assert headers["X-AI-Agent-Notification"].isdigit()

    def test_a_broken_one_is_tried_again_and_disturbs_nobody(
        self, client: Client, tmp_path: Path, hook: Hook
    ) -> None:
        desk = self.hooked(tmp_path, hook)
        hook.status = 500
        desk.say("broken")
        desk.look()
        outbox = Outbox(OUTBOX, desk.file.notifiers, pause=0.2)
        outbox.deliver()
        (row,) = [each for each in OUTBOX.newest(500) if each["notifier"] == desk.to]
        assert (row["state"], row["tries"]) == ("waiting", 1)
        assert "500" in row["error"]
        assert desk.look()[0].is_open, "the rules are looked at all the same"
        hook.status = 200
        deadline = time.monotonic() + 20
        while len(hook.calls) < 2:
            assert time.monotonic() < deadline
            outbox.deliver()
            time.sleep(0.05)
        (row,) = [each for each in OUTBOX.newest(500) if each["notifier"] == desk.to]
        assert (row["state"], row["error"]) == ("sent", None)
        numbers = {headers["X-AI-Agent-Notification"] for headers, _ in hook.calls}
        assert len(numbers) == 1, "whoever hears it twice can know"

    def test_what_nobody_takes_for_a_day_is_given_up(
        self, client: Client, tmp_path: Path, hook: Hook
    ) -> None:
        desk = self.hooked(tmp_path, hook)
        hook.status = 503
        desk.say("broken")
        desk.look()
        database.rows(
            "UPDATE notification SET made_at = made_at - interval '2 days' WHERE notifier = :to",
            to=desk.to,
        )
        Outbox(OUTBOX, desk.file.notifiers).deliver()
        (row,) = [each for each in OUTBOX.newest(500) if each["notifier"] == desk.to]
        assert row["state"] == "given up"

    def test_mail_arrives_at_a_real_server(self, client: Client, tmp_path: Path) -> None:
        letters = _Letters()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = Controller(letters, hostname="127.0.0.1", port=port)
        server.start()
        try:
            mail = (
                f"{{TO: {{kind: email, host: 127.0.0.1, port: {port}, tls: none, "
                "sender: alerts@example.org, to: [duty@example.org, boss@example.org]}}"
            )
            desk = Desk(tmp_path, f"  - {{name: NAME, kind: level, {NOTIFY}}}", mail)
            desk.say("broken\nSubject: forged")
            desk.look()
            Outbox(OUTBOX, desk.file.notifiers).deliver()
        finally:
            server.stop()
        (letter,) = letters.letters
        assert letter.rcpt_tos == ["duty@example.org", "boss@example.org"]
        text = letter.content.decode()
        assert f"{desk.name} firing" in text
        headers, _, body = text.partition("\r\n\r\n")
        assert headers.count("Subject:") == 1 + headers.count("broken Subject: forged")
        assert "broken" in body


def test_a_failed_run_tells_whom_its_workflow_names(client: Client, tmp_path: Path) -> None:
    workflow = tmp_path / "doomed.yaml"
    to = f"to-{uuid4().hex[:8]}"
    workflow.write_text(
        "name: doomed\nsteps:\n  - {id: fall, task: chore.fail, with: {message: 'no password=abcdef'}}\n"
        f"error_handling: {{notify: [{to}]}}\n"
    )
    handle = client.start_workflow(workflow)
    with WorkerProcess("-c", "2"), pytest.raises(Exception, match="fall"):
        handle.result(timeout=60)
    for _ in range(2):
        alerts_of_the_system().look()
    rows = database.rows("SELECT id, body FROM notification WHERE notifier = :to", to=to)
    (told,) = [database.vault.unpack(row.body, "notification.body", row.id) for row in rows]
    assert (told["kind"], told["workflow"]) == ("run-failed", "doomed")
    assert told["run_id"] == str(handle.id)
    assert "fall" in told["error"]["message"]


ONE = "rules:\n  - {name: a, kind:"
MISTAKES = [
    ("rules: [{name: a, kind: levl}]", "a.yaml:1: rules.0 has the kind 'levl': known are"),
    (
        "rules:\n  - name: a\n    kind: level\n    levle: ERROR",
        "a.yaml:4: levle is not a known key",
    ),
    (f"{ONE} pattern, pattern: '('}}", "no regular expression"),
    (f"{ONE} level, notify: [nobody]}}", "a.yaml:2: there is no notifier 'nobody'"),
    (f"{ONE} threshold, metric: agents.error_rate}}", "give one of above and below"),
    (f"{ONE} threshold, metric: agents.eror_rate, above: 1}}", "there is no eror_rate"),
    (f"{ONE} deadline}}\n  - {{name: a, kind: deadline}}", "a.yaml:3: there is another"),
    ("notifiers:\n  x: {kind: webhook, url: 'ftp://x'}", "a.yaml:2: url is 'ftp://x'"),
    (f"{ONE} rate, more_than: 1, within: soon}}", "write a duration"),
    ("rule: []", "did you mean rules?"),
    ("rules: [1]", "kind"),
    (f"{ONE} absence, within: 1h, group_by: [run]}}", "has no groups"),
]


class TestTheFile:
    @pytest.mark.parametrize(("text", "words"), MISTAKES)
    def test_a_mistake_is_told_with_its_line(self, tmp_path: Path, text: str, words: str) -> None:
        file = tmp_path / "a.yaml"
        file.write_text(text)
        with pytest.raises(ConfigurationError) as refused:
            AlertFile.load(file)
        assert words in str(refused.value)

    def test_the_shipped_one_is_right(self) -> None:
        file = AlertFile.load(Path(__file__).parents[2] / "config" / "alerts.yaml")
        assert [rule.name for rule in file.rules] == ["errors", "deadlines"]


class TestTheCommand:
    def run(self, *args: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli, ["alerts", *args])
        assert done.exit_code == code, done.output
        return done.output

    def test_it_lists_silences_and_resolves(self, client: Client, tmp_path: Path) -> None:
        desk = Desk(tmp_path, "  - {name: NAME, kind: level}")
        desk.say("broken")
        (alert,) = desk.look()
        listed = json.loads(self.run("--json"))
        assert [each["state"] for each in listed if each["id"] == alert.id] == ["firing"]
        assert desk.name in self.run()
        assert desk.name in self.run("list")
        number = json.loads(self.run("silence", desk.name, "--for", "1h", "--json"))["id"]
        assert number in [each["id"] for each in json.loads(self.run("silences", "--json"))]
        self.run("unsilence", str(number))
        self.run("resolve", str(alert.id))
        self.run("resolve", str(alert.id), code=2)
        assert desk.found()[0].resolved_by
        assert desk.name not in self.run("list")
        assert desk.name in self.run("list", "--all")

    def test_it_shows_the_rules_and_what_was_told(self, client: Client, tmp_path: Path) -> None:
        names = [each["name"] for each in json.loads(self.run("rules", "--json"))]
        assert names == ["errors", "deadlines"]
        file = tmp_path / "x.yaml"
        file.write_text("rules: [{name: a, kind: nothing}]")
        self.run("rules", str(file), code=2)
        assert isinstance(json.loads(self.run("told", "--json")), list)

    def test_a_notifier_is_tried_out(self, client: Client) -> None:
        assert "has told it" in self.run("test", "log")
        assert "known are log, ops" in self.run("test", "nobody", code=2)
