"""Each kind of alert fires once, groups and resolves; silences hold back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from celery_app import LogEvent, LogManager
from celery_app.celery import database, logs
from celery_app.client import Client
from celery_app.errors import PermissionDenied
from celery_app.observe.alert_desk import AlertDesk
from celery_app.observe.log_reader import LogReader
from celery_app.security.guard import Guard, Subject
from celery_app.security.policy import Decision, Policy, Request
from celery_app.store.logs import LogFilter
from tests.observe.alert_desk import HOOK, NOTIFY, STORE, Desk, kinds
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(240)


class TestEachKind:
    def test_a_level(self, client: Client, tmp_path: Path) -> None:
        desk = Desk(tmp_path, f"  - {{name: NAME, kind: level, logger: 'LOGGER*', {NOTIFY}}}", HOOK)
        desk.say("fine", "WARNING")
        desk.say("other", logger="elsewhere")
        assert desk.look() == []
        for each in range(3):
            desk.say(f"broken {each}")
        (alert,) = desk.look()
        assert (alert.is_open, alert.hits) == (True, 3)
        assert alert.message == f"{desk.logger}: broken 2"
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
        desk = Desk(tmp_path, f"  - {{{rule}, logger: 'LOGGER*', {NOTIFY}}}", HOOK)
        a, b, c = (f"{desk.logger}.{each}" for each in "abc")
        desk.say("disk full", "INFO", a)
        desk.say("disk gone", "INFO", b, agent_id="writer")
        desk.say("disk fine", "INFO", c)
        desk.say("disk full", "INFO", a)
        found = {alert.about: alert.hits for alert in desk.look()}
        assert found == {f"logger={a} agent=-": 2, f"logger={b} agent=writer": 1}
        (told,) = desk.told()
        assert len(told["alerts"]) == 2, "what fires together is told together"

    def test_a_rate(self, client: Client, tmp_path: Path) -> None:
        rule = "name: NAME, kind: rate, pattern: slow, more_than: 3, within: 60s, logger: LOGGER"
        desk = Desk(tmp_path, f"  - {{{rule}, {NOTIFY}}}", HOOK)
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
            f"  - {{name: NAME, kind: absence, logger: LOGGER, within: 1h, {NOTIFY}}}",
            HOOK,
        )
        assert desk.look() == [], "it counts from when the rule is there"
        desk.age(3500)
        desk.say("done", "INFO")
        desk.look()
        desk.age(3500)
        assert desk.look() == []
        desk.age(200)
        (alert,) = desk.look()
        assert alert.is_open
        assert desk.look() == [alert]
        desk.say("done", "INFO")
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
    desk = Desk(tmp_path, f"  - {{name: NAME, kind: level, logger: LOGGER, {NOTIFY}}}", HOOK)
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
    rule = "name: NAME, kind: level, logger: 'LOGGER.*', group_by: [logger]"
    desk = Desk(tmp_path, f"  - {{{rule}, {NOTIFY}}}", HOOK)
    quiet, loud = f"{desk.logger}.quiet.one", f"{desk.logger}.loud"
    number = STORE.silence(desk.name[:8] + "*", f"logger={desk.logger}.quiet*", 600, "user:me")
    desk.say("one", logger=quiet)
    desk.say("two", logger=loud)
    found = {alert.about: alert.silenced for alert in desk.look()}
    assert found == {f"logger={quiet}": True, f"logger={loud}": False}
    assert [each["about"] for told in desk.told() for each in told["alerts"]] == [f"logger={loud}"]
    assert STORE.end_silence(number)
    assert not STORE.end_silence(number)
    desk.look()
    assert [each["about"] for told in desk.told() for each in told["alerts"]] == [
        f"logger={loud}", f"logger={quiet}",
    ]  # fmt: skip


def test_what_is_over_while_it_is_silenced_is_never_told(client: Client, tmp_path: Path) -> None:
    desk = Desk(tmp_path, f"  - {{name: NAME, kind: level, logger: LOGGER, {NOTIFY}}}", HOOK)
    STORE.silence(desk.name, "*", 600, "user:me")
    desk.say("one")
    desk.look()
    desk.age(601)
    assert [each.is_open for each in desk.look()] == [False]
    assert desk.told() == []


def test_alerts_of_a_rule_that_is_gone_are_closed(client: Client, tmp_path: Path) -> None:
    desk = Desk(tmp_path, "  - {name: NAME, kind: level, logger: LOGGER}")
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
    said = tmp_path / "beats.log"
    with said.open("ab") as out, WorkerProcess("-c", "2", **settings) as worker:
        LogManager().log(LogEvent(message="broken", level="ERROR", logger=name))
        logs.flush(30)
        beats = [
            subprocess.Popen(
                [*command, "-s", str(tmp_path / f"schedule-{each}")],
                env={**os.environ, **settings},
                stdout=out,
                stderr=out,
            )
            for each in range(2)
        ]
        try:
            deadline = time.monotonic() + 180
            # Before the worker is at it, a beat may have looked itself, and told.
            while f"{name} firing: {name}: broken" not in worker.text() + said.read_text():
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            for beat in beats:
                beat.terminate()
            assert all(beat.wait(timeout=30) is not None for beat in beats)
        assert (worker.text() + said.read_text()).count(f"{name} firing") == 1
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
