"""The rooms of the console for everybody: on a phone, in the dark, without scripts, read aloud."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from celery_app.client import Client
from celery_app.orchestrator.triggers import Triggers
from tests.browser.conftest import OpenPage
from tests.browser.everybody import faults_of
from tests.browser.rooms import Rooms, rooms

pytestmark = pytest.mark.timeout(180)

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


@pytest.mark.parametrize("name", PAGES)
def test_no_page_keeps_anybody_out(console: Rooms, open_page: OpenPage, name: str) -> None:
    page = open_page(f"{console.url}{console.addresses[name]}")
    open_all(page)
    let_it_take_long(page)
    assert not faults_of(page, name)


def test_every_page_was_looked_at(console: Rooms) -> None:
    assert console.addresses.keys() == set(PAGES)


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
