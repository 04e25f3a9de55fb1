"""Flower as a person sees it: who is let in, what stands in its tables, and what does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect

from celery_app.client import Client
from celery_app.testing.processes import wait_until
from tests.browser.conftest import OpenPage
from tests.faults.model import AnsweringModel
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(180)

#: Stands in arguments, descriptions, results and errors.
SECRET = "the-mill-on-the-Aller"


@contextmanager
def running_flower(log: Path, *args: str, **environ: str) -> Iterator[str]:
    """Run Flower; yield its address."""
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "flower", "--port=0"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--address=127.0.0.1", *args],
            env={**os.environ, **environ}, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_until(lambda: "Visit me at" in log.read_text() or process.poll() is not None, 60)
        found = re.search(r"Visit me at (\S+)", log.read_text())
        assert found, log.read_text()
        wait_until(lambda: answers(found[1]), 30)
        yield found[1]
    finally:
        process.terminate()
        process.wait(timeout=20)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthcheck").is_success
    except httpx.HTTPError:
        return False


@dataclass(frozen=True)
class Site:
    """A Flower, the worker that it watches, and tasks by what became of them."""

    url: str
    login: dict[str, str]
    log: Path
    worker: str
    tasks: dict[str, str]


def step(task: str, *args: Any, needs: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    needed = [one["id"] for one in needs]
    return {"id": str(uuid4()), "task": task, "args": list(args), "dependencies": needed}


def work(client: Client) -> dict[str, str]:
    """Let a task succeed, fail, be skipped, cancelled, asked of an agent, and one run on."""
    good, bad = step("own.join_words", SECRET, "turns"), step("own.fail", SECRET)
    skipped = step("own.echo", SECRET, needs=(bad,))
    mixed = client.submit_graph([good, bad, skipped])
    agent = client.submit(f"Say whether {SECRET} is so.", plan=False)
    agent.result(timeout=60)
    wait_until(lambda: mixed.state == "failed", 60)
    slow, stopped = step("own.pause", 100), step("own.pause", 100)
    client.submit_graph([slow])
    leaving = client.submit_graph([stopped])
    wait_until(lambda: leaving.tree()["tasks"][0]["state"] == "running", 30)
    leaving.cancel()
    named = {"good": good, "bad": bad, "skipped": skipped, "slow": slow, "stopped": stopped}
    return {**{name: one["id"] for name, one in named.items()}, "agent": str(agent.id)}


@pytest.fixture(scope="module")
def site(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("flower")
    roster = Path("config/agents.yaml").read_text(encoding="utf-8")
    (folder / "agents.yaml").write_text(roster.replace("quotes: true", "quotes: false"))
    with (
        AnsweringModel() as model,
        running_flower(folder / "log") as url,
        WorkerProcess(
            AI_AGENT__COMPONENTS__OLLAMA__HOSTS=f"[{model.address}]",
            AI_AGENT__AGENTS_FILE=str(folder / "agents.yaml"),
        ) as worker,
    ):
        place = Path(os.environ["AI_AGENT_HOME"]) / "flower"
        user, _, password = place.read_text().strip().partition(":")
        login = {"user": user, "password": password}
        hostname = f"{worker.name}@{os.uname().nodename}"
        yield Site(url, login, folder / "log", hostname, work(client))
        worker.kill()


def rows(page: Page) -> dict[str, dict[str, str]]:
    """Read the table of tasks: what stands in its columns, by id."""
    heads = [
        head.inner_text().strip().lower() for head in page.locator("#tasks-table thead th").all()
    ]
    found = {}
    for row in page.locator("#tasks-table tbody tr").all():
        cells = [(cell.text_content() or "").strip() for cell in row.locator("td").all()]
        found[(row.get_attribute("id") or "").removeprefix("row-")] = dict(
            zip(heads, cells, strict=False)
        )
    return found


def test_nobody_is_let_in_without_the_password(site: Site) -> None:
    assert httpx.get(f"{site.url}/tasks").status_code == 401
    assert httpx.get(f"{site.url}/api/tasks").status_code == 401
    assert httpx.get(f"{site.url}/tasks", auth=("ai-agent", "guessed")).status_code == 401
    login = (site.login["user"], site.login["password"])
    assert httpx.get(f"{site.url}/api/tasks", auth=login).status_code == 200
    # These are open by Flower's own choice.
    assert httpx.get(f"{site.url}/metrics").status_code == 200
    assert httpx.get(f"{site.url}/healthcheck").status_code == 200


def test_the_password_is_for_its_owner_and_in_no_log(site: Site) -> None:
    place = Path(os.environ["AI_AGENT_HOME"]) / "flower"
    assert place.stat().st_mode & 0o777 == 0o600
    assert len(site.login["password"]) >= 32
    assert str(place) in site.log.read_text()
    assert site.login["password"] not in site.log.read_text()


def test_the_table_of_tasks_says_what_became_of_each(site: Site, open_page: OpenPage) -> None:
    page = open_page(f"{site.url}/tasks", **site.login)
    expected = {"good": "SUCCESS", "bad": "FAILURE", "slow": "STARTED", "stopped": "REVOKED",
                "skipped": "REVOKED", "agent": "SUCCESS"}  # fmt: skip

    def states() -> dict[str, str]:
        page.reload()
        expect(page.locator("#tasks-table tbody tr").first).to_be_visible()
        found = rows(page)
        return {name: found.get(id_, {}).get("state", "") for name, id_ in site.tasks.items()}

    wait_until(lambda: states() == expected, 30, f"{states()}")
    shown = rows(page)
    assert shown[site.tasks["good"]]["name"] == "own.join_words"
    assert (shown[site.tasks["agent"]]["name"], shown[site.tasks["agent"]]["args"]) == (
        "task.run",
        "(writer)",
    )
    assert shown[site.tasks["bad"]]["worker"] == site.worker
    assert SECRET not in page.content()


@pytest.mark.parametrize("name", ["good", "bad", "skipped", "agent"])
def test_a_tasks_page_shows_its_ids_and_nothing_of_what_it_is_about(
    site: Site, open_page: OpenPage, name: str
) -> None:
    page = open_page(f"{site.url}/task/{site.tasks[name]}", **site.login)
    assert page.locator(".task-uuid-value code").inner_text().strip() == site.tasks[name]
    assert "Root id" in page.content() or name == "agent"
    assert SECRET not in page.content()
    assert "It is so" not in page.content()


def test_its_pages_lead_to_the_console(site: Site, open_page: OpenPage) -> None:
    host = re.sub(r":\d+$", "", site.url)
    for here, there in (
        ("/tasks", "/"),
        ("/workers", "/"),
        (f"/task/{site.tasks['good']}", f"/console/tasks/{site.tasks['good']}"),
    ):
        page = open_page(f"{site.url}{here}", **site.login)
        link = page.get_by_role("link", name="Console", exact=True)
        expect(link).to_have_attribute("href", f"{host}:8000{there}")
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"flower{here.replace('/', '-')[:9]}.png")


def test_a_workers_page_shows_its_models(site: Site, open_page: OpenPage) -> None:
    page = open_page(f"{site.url}/worker/{site.worker}", **site.login)
    page.locator("#worker-tab-other").click()
    models = page.locator("#tab-other tr", has_text="models")
    expect(models).to_contain_text("smollm2:135m")
    expect(models).to_contain_text("open")


@pytest.mark.parametrize(
    ("args", "environ", "login"),
    [
        (("--basic_auth=ann:on-the-line",), {}, ("ann", "on-the-line")),
        ((), {"FLOWER_BASIC_AUTH": "bob:by-the-air"}, ("bob", "by-the-air")),
        (
            (),
            {"AI_AGENT__MONITORING__FLOWER__PASSWORD_FILE": "{file}"},
            ("ai-agent", "from-a-file"),
        ),
        ((), {"AI_AGENT__MONITORING__FLOWER__AUTH": "false"}, None),
    ],
)
def test_whoever_says_who_is_let_in_is_heard(
    client: Client,
    tmp_path: Path,
    args: tuple[str, ...],
    environ: dict[str, str],
    login: tuple[str, str] | None,
) -> None:
    (tmp_path / "password").write_text("from-a-file\n")
    given = {name: value.format(file=tmp_path / "password") for name, value in environ.items()}
    with running_flower(tmp_path / "log", *args, **given) as url:
        assert httpx.get(f"{url}/tasks").status_code == (401 if login else 200)
        assert httpx.get(f"{url}/tasks", auth=login or ("x", "y")).status_code == 200
    assert login is None or login[1] not in (tmp_path / "log").read_text()
