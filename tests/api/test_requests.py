"""What every request passes: keys, pages, tags, sizes, rates, JSON that means one thing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from celery_app.api.problems import Refusal
from celery_app.api.rates import Rates
from celery_app.celery import database, settings
from celery_app.client import Client
from tests.api.serving import Served

ECHO = {"task": "chore.echo", "args": [1]}


def post(asking: httpx.Client, body: Any, **headers: str) -> httpx.Response:
    return asking.post("/tasks", json=body, headers=headers)


def test_a_keyed_request_is_done_once(asking: httpx.Client) -> None:
    key = {"Idempotency-Key": f"k-{uuid4()}"}
    first = post(asking, ECHO, **key)
    second = post(asking, ECHO, **key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    other = post(asking, {"task": "chore.echo", "args": [2]}, **key)
    assert (other.status_code, other.json()["kind"]) == (422, "KeyReused")
    assert post(asking, ECHO).json()["id"] != first.json()["id"]
    for wrong in ("", "x" * 256):
        refused = post(asking, ECHO, **{"Idempotency-Key": wrong})
        assert (refused.status_code, refused.json()["kind"]) == (422, "InvalidKey")


def test_of_many_with_one_key_one_is_done(asking: httpx.Client) -> None:
    key = {"Idempotency-Key": f"k-{uuid4()}"}
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(post(asking, ECHO, **key))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {201, 409}
    ids = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(ids) == 1
    kept = database.row("SELECT * FROM request_key WHERE key = :key", key=key["Idempotency-Key"])
    assert next(iter(ids)).encode() not in bytes(kept.body), "it is sealed"


def test_what_failed_may_be_put_right(asking: httpx.Client) -> None:
    key = {"Idempotency-Key": f"k-{uuid4()}"}
    assert post(asking, {"task": "no.such"}, **key).status_code == 422
    assert post(asking, ECHO, **key).status_code == 201


def test_a_key_is_one_subjects_own(asking: httpx.Client, stranger: str) -> None:
    key = {"Idempotency-Key": f"k-{uuid4()}"}
    assert post(asking, ECHO, **key).status_code == 201
    other = post(asking, ECHO, **key, Authorization=f"Bearer {stranger}")
    assert other.status_code == 403


def test_a_request_that_was_cut_short_is_taken_up_again(asking: httpx.Client) -> None:
    key = f"k-{uuid4()}"
    assert post(asking, ECHO, **{"Idempotency-Key": key}).status_code == 201
    change = (
        "UPDATE request_key SET status = NULL, body = NULL, begun_at = now() - {} WHERE key = :key"
    )
    database.rows(change.format("interval '1 second'"), key=key)
    waits = post(asking, ECHO, **{"Idempotency-Key": key})
    assert (waits.status_code, waits.json()["kind"]) == (409, "KeyInUse")
    assert waits.headers["retry-after"] == "1"
    database.rows(change.format("interval '3 minutes'"), key=key)
    assert post(asking, ECHO, **{"Idempotency-Key": key}).status_code == 201


def pages(asking: httpx.Client, path: str, **wanted: Any) -> Iterator[list[dict[str, Any]]]:
    cursor = None
    while True:
        params = {**wanted, **({"cursor": cursor} if cursor else {})}
        page = asking.get(path, params=params).raise_for_status().json()
        yield page["items"]
        if (cursor := page["next"]) is None:
            return


def test_pages_have_everything_once(asking: httpx.Client, client: Client) -> None:
    made = [str(client.submit_graph([ECHO]).id) for _ in range(7)]
    seen: list[str] = []
    for items in pages(asking, "/tasks", limit=3):
        assert len(items) <= 3
        seen += [item["id"] for item in items]
        # What comes in meanwhile moves nothing.
        client.submit_graph([ECHO])
        if len(seen) >= 7:
            break
    assert seen[:7] == made[::-1]
    assert len(set(seen)) == len(seen)


def test_filters(asking: httpx.Client, client: Client) -> None:
    wanted = client.submit("Review it", type="review", priority="critical", plan=False)
    client.submit("Write it", type="writing", plan=False)
    for params in (
        {"type": "review", "priority": "critical"},
        {"agent": "reviewer", "type": "review"},
        {"requested_by": client.permissions.name, "type": "review"},
        {"state": "queued", "type": "review"},
    ):
        items = next(pages(asking, "/tasks", **params))
        assert str(wanted.id) in [item["id"] for item in items], params
        assert {item["type"] for item in items} == {"review"}
    assert next(pages(asking, "/tasks", state="failed", type="review")) == []
    for wrong in (
        {"state": "odd"},
        {"limit": 0},
        {"limit": 501},
        {"cursor": "x"},
        {"cursor": "W10"},
    ):
        response = asking.get("/tasks", params=wrong)
        assert response.status_code == 422, wrong
        assert next(iter(wrong)) in response.json()["detail"]


def test_what_has_not_changed_is_not_sent(asking: httpx.Client, client: Client) -> None:
    handle = client.submit_graph([ECHO])
    path = f"/tasks/{handle.id}"
    tag = asking.get(path).headers["etag"]
    for known in (tag, f'"x", W/{tag}', "*"):
        same = asking.get(path, headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    handle.cancel()
    changed = asking.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'{"task": NaN}', b'{"task": "a", "task": "b"}', b"\xff", b"nul\0",
        b'{"description": "a\\u0000b"}', b'{"description": "\\ud800"}', b"[" * 100_000,
        b'{"description": "a", "metadata": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"description": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:30]),
)  # fmt: skip
def test_odd_bodies_are_refused_in_words(asking: httpx.Client, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = asking.post("/tasks", content=body, headers=headers)
    assert response.status_code == 422, response.text
    told = response.json()
    assert told["detail"].strip()
    assert told["errors"][0]["place"].startswith("body")


def test_no_body_is_larger_than_the_limit(client: Client) -> None:
    with (
        Served(largest_body=1000) as served,
        httpx.Client(base_url=served.url, trust_env=False, timeout=20) as asking,
    ):
        large = {"description": "x" * 1000}
        response = asking.post("/tasks", json=large)
        assert response.status_code == 413
        assert "1,000 bytes" in response.json()["detail"]

        def pieces() -> Iterator[bytes]:
            yield b'{"description": "'
            for _ in range(100):
                yield b"x" * 100

        # Nobody says how large this one is.
        assert asking.post("/tasks", content=pieces()).status_code == 413
        assert asking.post("/tasks", json=ECHO).status_code == 201


def test_whoever_asks_too_often_is_told_to_wait(client: Client, stranger: str) -> None:
    with (
        Served(rate="5/m") as served,
        httpx.Client(base_url=served.url, trust_env=False, timeout=20) as asking,
    ):
        headers = {"Authorization": f"Bearer {stranger}"}
        statuses = [asking.get("/tasks", headers=headers).status_code for _ in range(7)]
        assert statuses == [403] * 5 + [429] * 2
        response = asking.get("/tasks", headers=headers)
        assert 1 <= int(response.headers["retry-after"]) <= 60
        # Others have a share of their own, and health costs nothing.
        other = asking.get("/tasks", headers={"Authorization": "Bearer aiat_0_0"})
        assert other.status_code == 401
        assert all(asking.get("/healthz").status_code == 200 for _ in range(10))


def test_of_what_is_taken_at_once_nobody_loses_their_share() -> None:
    async def work() -> None:
        rates = Rates("60/m", settings.broker_url, f"t-{uuid4()}")
        await asyncio.gather(*(rates.count("ann") for _ in range(60)))
        with pytest.raises(Refusal, match="more than 60/m were asked for"):
            await rates.count("ann")
        for _ in range(60):
            await rates.count("bob")
        with pytest.raises(Refusal, match="more than 60/m were asked for"):
            await rates.count("bob")
        await rates.close()

    asyncio.run(work())


def test_a_counter_that_is_away_stops_nobody(client: Client) -> None:
    with (
        Served(rate="5/m") as served,
        httpx.Client(base_url=served.url, trust_env=False, timeout=20) as asking,
    ):
        shared = served.app.state.rates
        served.app.state.rates = Rates("2/m", "redis://127.0.0.1:9/0", f"t-{uuid4()}")
        assert [asking.get("/agents").status_code for _ in range(3)] == [200, 200, 429]
        served.app.state.rates = shared


def test_health_says_what_is_missing(asking: httpx.Client, client: Client) -> None:
    assert asking.get("/healthz").json() == {"status": "alive"}
    response = asking.get("/readyz")
    assert response.status_code == 200
    told = response.json()
    assert told["ready"] is True
    assert set(told["checks"]) == {"postgres", "migrations", "broker", "workers", "models"}
    assert told["missing"] == ["workers"]
    assert "ai-agent worker" in told["checks"]["workers"]["advice"]


def test_what_is_needed_and_away_is_not_ready(
    asking: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery_app import celery
    from celery_app.api import health
    from celery_app.postgres.connection import Database

    gone = Database("postgresql://nobody@127.0.0.1:9/none", patience=False)
    monkeypatch.setattr(celery, "database", gone)
    monkeypatch.setattr(health, "_GOOD", -1.0)
    response = asking.get("/readyz")
    assert response.status_code == 503
    assert {"postgres", "migrations"} <= set(response.json()["missing"])
    assert "127.0.0.1" not in response.text


def test_a_webhook_is_let_in_by_its_signature(asking: httpx.Client) -> None:
    response = asking.post("/webhooks/nobody", json={}, headers={"X-Signature": "t=1,v1=x"})
    assert (response.status_code, response.json()["kind"]) == (404, "UnknownTask")
    large = asking.post("/webhooks/nobody", content=b"x" * 1_000_001)
    assert large.status_code == 413


def test_what_nobody_expected_tells_nothing(
    asking: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from celery_app.local_desk import LocalDesk

    def fail(*_: object) -> None:
        raise RuntimeError("the inside of it")

    monkeypatch.setattr(LocalDesk, "tree", fail)
    response = asking.get(f"/tasks/{uuid4()}")
    assert response.status_code == 500
    assert "inside" not in response.text
    assert response.json()["kind"] == "RuntimeError"
    assert "the inside of it" in caplog.text


def test_secrets_are_in_no_answer(asking: httpx.Client) -> None:
    made = asking.post("/tokens", json={"name": f"t-{uuid4().hex[:8]}"}).json()
    secret = made["token"].split("_", 2)[2]
    assert secret not in asking.get("/tokens").text
    refused = asking.get("/policy/explain", params={
        "subject": "user:ann", "action": made["token"], "resource": "task:1",
    })  # fmt: skip
    assert refused.status_code == 422
    assert secret not in refused.text
    assert asking.delete(f"/tokens/{made['name']}").json()["good"] is False
    assert settings.api.rate == "300/s"
    assert json.loads(asking.get("/openapi.json").text)["openapi"].startswith("3.")
