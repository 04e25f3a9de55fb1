"""The console for everybody: on a phone, in the dark, by keyboard, without scripts, read aloud."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import httpx
import pytest
from playwright.sync_api import Page, expect

from celery_app.client import Client
from tests.browser.conftest import OpenPage
from tests.browser.everybody import faults_of
from tests.browser.site import ASKING, Site, diamond, hand_in, site, step
from tests.leftovers import begin_anew
from workflows.definitions import load

pytestmark = pytest.mark.timeout(180)

PAGES = (
    "work", "nothing", "graph", "failed", "said", "asking", "many", "approvals", "login", "lost", "plan",
)  # fmt: skip


#: What stands there may be about tasks of other tests, which are gone.
OF_OTHERS = ("/console/logs", "/console/alerts")
LINK = re.compile(r'(?:href|src)="([^"]+)"')
MANY = """
name: many-mills
inputs: {mills: {default: [north, south]}}
steps:
  - {id: each, foreach: "{{ inputs.mills }}", task: chore.echo, args: ["{{ item }}"]}
  - {id: again, loop: {until: "{{ loop.index > 1 }}", max: 2}, task: chore.echo, args: [1]}
  - {id: never, when: "{{ false }}", task: chore.echo, args: [1]}
  - {id: may, task: chore.fail, args: ["no wind"], on_error: continue, needs: [again]}
  - {id: last, task: chore.echo, args: [1], run_on: always, compensate: {task: chore.echo}}
"""


@pytest.fixture(scope="module")
def console(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    begin_anew()
    with site(client, tmp_path_factory.mktemp("everybody")) as served:
        yield served


@pytest.fixture(scope="module")
def addresses(console: Site) -> Iterator[dict[str, str]]:
    """One page of each kind, by name."""
    client = console.client
    graph = client.submit_graph(diamond(0.4), description="Drawings of the mill")
    bad = step("own.fail", "the axle is broken", title="Turn the wheel")
    failed = client.submit_graph([bad, step("chore.echo", 1, needs=(bad,), title="Grind")])
    said = client.submit("Say how the mill is", plan=False)
    run = client.start_workflow(load(ASKING))
    many = client.start_workflow(load(MANY))
    many.result(timeout=60)
    graph.result(timeout=60)
    said.result(timeout=60)
    list(failed.events(follow=True))
    events = run.events(follow=True)
    asked = 0
    while asked < 2:
        asked += next(events)["kind"] == "waiting"
    yield {
        "work": "/",
        "nothing": "/?show=cancelled",
        "graph": f"/console/tasks/{graph.id}",
        "failed": f"/console/tasks/{failed.id}",
        "said": f"/console/tasks/{said.id}",
        "asking": f"/console/runs/{run.id}",
        "many": f"/console/runs/{many.id}",
        "approvals": "/console/approvals",
        "login": "/console/login",
        "lost": "/console/nowhere",
    }
    run.cancel()


@pytest.fixture
def plan_of(console: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celery_app.local_desk.chat_model", lambda: console.model_door)


def shown(page: Page, console: Site, addresses: dict[str, str], name: str) -> None:
    """Go to a page, and open everything on it that can be opened."""
    if name == "plan":
        hand_in(page, console.url, "Write a report about the mill", plan="ask")
    else:
        page.goto(f"{console.url}{addresses[name]}")
    for each in page.locator("details:not([open]) > summary").all():
        if each.is_visible():
            each.click()


@pytest.mark.usefixtures("plan_of")
@pytest.mark.parametrize("name", PAGES)
def test_no_page_keeps_anybody_out(
    console: Site, addresses: dict[str, str], open_page: OpenPage, name: str
) -> None:
    page = open_page(console.url)
    shown(page, console, addresses, name)
    assert not faults_of(page, name)


def test_every_link_leads_somewhere(console: Site, addresses: dict[str, str]) -> None:
    client = console.client
    over = client.start_workflow(load(ASKING))
    over.cancel()
    waiting = [*addresses.values(), f"/console/runs/{over.id}"]
    waiting.remove(addresses["lost"])
    seen: dict[str, int] = {}
    found_on: dict[str, str] = {}
    with httpx.Client(base_url=console.url, timeout=30, follow_redirects=True) as asking:
        while waiting:
            path = waiting.pop().partition("#")[0]
            if path in seen or not path.startswith("/"):
                continue
            response = asking.get(path)
            seen[path] = response.status_code
            if "html" in response.headers["content-type"] and not path.startswith(OF_OTHERS):
                links = [unescape(each) for each in LINK.findall(response.text)]
                found_on |= dict.fromkeys(links, path)
                waiting += links
    assert not {path: found_on.get(path) for path, status in seen.items() if status != 200}
    assert len(seen) > 30


def test_everything_works_without_scripts(console: Site, open_page: OpenPage) -> None:
    page = open_page(console.url, scripts=False)
    hand_in(page, console.url, "Say it without scripts", plan="no")
    expect(page.locator("h1")).to_have_text("Say it without scripts")
    task_id = page.url.rpartition("/")[2].partition("?")[0]
    console.client.task(task_id).result(timeout=60)
    page.reload()
    expect(page.locator("#standing .state")).to_contain_text("succeeded")
    run = console.client.start_workflow(load(ASKING))
    run_page = f"{console.url}/console/runs/{run.id}"
    page.goto(run_page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#standing .state")).to_contain_text("cancelled")


def test_the_keyboard_leads_everywhere(
    console: Site, addresses: dict[str, str], open_page: OpenPage
) -> None:
    page = open_page(f"{console.url}{addresses['graph']}")
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    names = []
    for _ in range(12):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.textContent"))
    assert any("Measure the mill" in name for name in names), names
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_what_is_focused_stays_so_while_the_page_changes(
    console: Site, open_page: OpenPage
) -> None:
    handle = console.client.submit_graph(diamond(1))
    page = open_page(f"{console.url}/console/tasks/{handle.id}")
    last = page.locator("#graph td a", has_text="Bind the drawings")
    last.focus()
    expect(page.locator("#standing .state")).to_contain_text("succeeded")
    expect(last).to_be_focused()
