"""The rooms of the console for everybody: on a phone, in the dark, without scripts, read aloud."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from celery_app.client import Client
from celery_app.orchestrator.triggers import Triggers
from tests.browser.conftest import OpenPage
from tests.browser.rooms import Rooms, rooms

pytestmark = pytest.mark.timeout(180)

#: Faults of these kinds keep somebody out.
KEEPS_OUT = ("serious", "critical")
PAGES = (
    "projects", "project", "documents", "document", "old-document", "difference", "check",
    "workflows", "workflow", "broken", "system", "alerts", "logs",
)  # fmt: skip


@pytest.fixture(scope="module")
def console(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rooms]:
    with rooms(client, tmp_path_factory.mktemp("rooms")) as served:
        yield served


def open_all(page: Page) -> None:
    """Open everything that can be opened."""
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")


def let_it_take_long(page: Page) -> None:
    """Let what took a moment have taken long, so that its words are long, too."""
    page.evaluate(
        "document.querySelectorAll('td.num').forEach(each => {"
        " if (/ s( ago)?$/.test(each.innerText)) each.innerText = '59 min 59 s ago' })"
    )


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_keeps_anybody_out(
    console: Rooms, open_page: OpenPage, scheme: str, phone: bool
) -> None:
    assert console.addresses.keys() == set(PAGES)
    page = open_page(console.url, scheme=scheme, phone=phone)
    faults = {}
    for name in PAGES:
        page.goto(f"{console.url}{console.addresses[name]}")
        open_all(page)
        let_it_take_long(page)
        if folder := os.environ.get("SCREENSHOTS"):
            kind = "phone" if phone else "desk"
            page.screenshot(path=Path(folder) / f"{name}-{scheme}-{kind}.png", full_page=True)
        found = [
            (fault["id"], fault["impact"], [node["html"] for node in fault["nodes"][:3]])
            for fault in Axe().run(page).response["violations"]
            if fault["impact"] in KEEPS_OUT
        ]
        width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if width > 0:
            found.append((f"{width} px too wide", "serious", []))
        if found:
            faults[name] = found
    assert not faults


def test_everything_works_without_scripts(console: Rooms, open_page: OpenPage) -> None:
    page = open_page(console.url, scripts=False)
    for name, address in console.addresses.items():
        response = page.goto(f"{console.url}{address}")
        assert response is not None
        assert response.status == (422 if name == "broken" else 200), name
        expect(page.locator("h1")).to_be_visible()
    page.goto(f"{console.url}{console.addresses['old-document']}")
    page.get_by_role("button", name="Let it hold again").click()
    expect(page.locator(".notice")).to_have_text("This version holds again.")
    page.goto(f"{console.url}{console.addresses['workflow']}")
    page.get_by_label("host").fill("Ann")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".notice")).to_have_text("The run has begun.")
    run = console.site.client.run(page.url.rpartition("/")[2].partition("?")[0])
    assert run.result(timeout=60)["said"] == "Ann greets 12 on Friday"
    page.goto(f"{console.url}{console.addresses['workflow']}")
    page.get_by_role("button", name="Pause").first.click()
    assert [each["paused"] for each in Triggers().listed("mill-tour")].count(True) == 1


def test_the_timeline_is_read_aloud(console: Rooms, open_page: OpenPage) -> None:
    page = open_page(f"{console.url}{console.addresses['project']}")
    drawn = page.get_by_role("img", name=f"Timeline of {console.project}")
    expect(drawn).to_be_visible()
    assert drawn.locator("title").count() > 4, "each bar says what it stands for"
    expect(page.get_by_role("progressbar", name="of 50,000 tokens")).to_be_visible()
    page.goto(f"{console.url}{console.addresses['system']}")
    expect(page.get_by_role("img", name="tokens:")).to_be_visible()
