"""What is measured, said and raised, asked for over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from celery_app import celery
from celery_app.celery import access, database
from celery_app.client import Client
from celery_app.observe.log_manager import LogManager
from celery_app.records import LogContext, LogEvent
from celery_app.security.policy import Policy
from celery_app.store.alert_look import AlertLook, Hit
from celery_app.store.alerts import AlertStore


@pytest.fixture
def watching(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A token that may see everything and change nothing, as one for Prometheus."""
    policy = Policy.load(Path(__file__).parents[1] / "security" / "policies.yaml")
    monkeypatch.setattr(celery, "policy", lambda: policy)
    name = f"watch-{uuid4().hex[:6]}"
    yield access.create(name)[1]
    database.rows("DELETE FROM token WHERE name = :name", name=name)


def pages(asking: httpx.Client, path: str, **wanted: Any) -> list[dict[str, Any]]:
    """Return all entries, following `next`."""
    found: list[dict[str, Any]] = []
    while True:
        page = asking.get(path, params=wanted).raise_for_status().json()
        found += page["items"]
        if page["next"] is None:
            return found
        wanted["cursor"] = page["next"]


def test_prometheus_reads_the_metrics(asking: httpx.Client) -> None:
    response = asking.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = {each.name for each in text_string_to_metric_families(response.text)}
    assert len(families) > 20
    batch = asking.get("/metrics.json").json()
    assert batch.keys() == {"system", "agents", "tasks", "resources"}
    since = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    later = asking.get("/metrics.json", params={"since": since}).json()
    assert later["tasks"] != batch["tasks"] or not asking.get("/tasks").json()["items"]


@pytest.fixture
def said(client: Client) -> str:
    """The id of a task within which five things were said, two of them warnings."""
    task = str(uuid4())
    for number, level in enumerate(("INFO", "WARNING", "INFO", "ERROR", "INFO")):
        event = LogEvent(message=f"{number}", level=level, logger="shop")
        LogManager().log(event, LogContext(task_id=task, agent_id="writer"))
    return task


def test_the_log_is_read_in_pages(asking: httpx.Client, said: str) -> None:
    for limit in (1, 2, 5, 6):
        found = pages(asking, "/logs", task=said, limit=limit)
        assert [each["message"] for each in found] == ["4", "3", "2", "1", "0"]
    bad = pages(asking, "/logs", task=said, level="warning", agent="writer")
    assert [each["level"] for each in bad] == ["ERROR", "WARNING"]
    assert pages(asking, "/logs", task=said, agent="nobody") == []
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert pages(asking, "/logs", task=said, since=soon) == []
    assert asking.get("/logs", params={"since": "yesterday"}).status_code == 422


@pytest.fixture
def firing(client: Client) -> list[int]:
    """The numbers of three alerts that are firing, the newest first."""
    rule = f"rule-{uuid4().hex[:6]}"

    def work(look: AlertLook) -> None:
        for about in "abc":
            look.fire(rule, "warning", Hit(about, f"about {about}"))

    AlertStore(database).look(work)
    return [each.id for each in AlertStore(database).newest() if each.rule == rule]


def test_alerts_are_read_in_pages_and_resolved(asking: httpx.Client, firing: list[int]) -> None:
    assert [n for n in numbers(asking, limit=1) if n in firing] == firing
    assert asking.post(f"/alerts/{firing[1]}/resolve").status_code == 204
    assert [n for n in numbers(asking) if n in firing] == [firing[0], firing[2]]
    assert [n for n in numbers(asking, resolved=True) if n in firing] == firing
    again = asking.post(f"/alerts/{firing[1]}/resolve")
    assert (again.status_code, again.json()["kind"]) == (404, "UnknownAlert")
    for number in (firing[0], firing[2]):
        asking.post(f"/alerts/{number}/resolve")


def numbers(asking: httpx.Client, **wanted: Any) -> list[int]:
    return [each["id"] for each in pages(asking, "/alerts", **wanted)]


def test_a_silence_is_made_and_ended(asking: httpx.Client) -> None:
    body = {"rule": f"errors-{uuid4().hex[:6]}*", "seconds": 60, "about": "logger=shop*"}
    number = asking.post("/alerts/silences", json=body).json()["id"]
    [found] = [each for each in asking.get("/alerts/silences").json() if each["id"] == number]
    assert (found["rule"], found["about"]) == (body["rule"], body["about"])
    assert asking.delete(f"/alerts/silences/{number}").status_code == 204
    assert asking.delete(f"/alerts/silences/{number}").status_code == 404
    assert asking.post("/alerts/silences", json={"rule": "a b"}).status_code == 422


def test_a_token_that_may_look_scrapes_and_changes_nothing(
    asking: httpx.Client, watching: str, firing: list[int]
) -> None:
    headers = {"Authorization": f"Bearer {watching}"}
    for path in ("/metrics", "/metrics.json", "/logs", "/alerts", "/alerts/silences"):
        assert asking.get(path, headers=headers).status_code == 200, path
    silence = {"rule": "*", "seconds": 60}
    assert asking.post("/alerts/silences", json=silence, headers=headers).status_code == 403
    for number in firing:
        path = f"/alerts/{number}/resolve"
        assert asking.post(path, headers=headers).status_code == 403
        assert asking.post(path).status_code == 204
