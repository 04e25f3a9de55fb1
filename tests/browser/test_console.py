"""The console as a person uses it: hand in, watch, answer, cancel, with a browser and without its scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from celery_app.client import Client
from tests.browser.conftest import OpenPage
from tests.browser.site import Site, diamond, hand_in, site, state_of

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def console(client: Client) -> Iterator[Site]:
    with site(client) as served:
        yield served


def test_a_job_is_handed_in_and_its_model_is_heard(console: Site, open_page: OpenPage) -> None:
    page = open_page(console.url)
    hand_in(page, console.url, "Say how the mill is", plan="no", priority="high")
    expect(page.locator(".notice")).to_have_text("The job was handed in.")
    expect(page.locator("h1")).to_have_text("Say how the mill is")
    expect(page.locator("#said")).to_contain_text("It is so.", timeout=30_000)
    expect(page.locator("#result .result")).to_contain_text("It is so.", timeout=30_000)
    expect(page.locator("#standing .state")).to_contain_text("succeeded")
    expect(page.locator("#calls tbody tr").first).to_contain_text("smollm2:135m")
    assert "high" in page.locator("#facts").inner_text()


def test_the_graph_changes_while_somebody_looks(console: Site, open_page: OpenPage) -> None:
    handle = console.client.submit_graph(diamond(1.5), description="Drawings of the mill")
    page = open_page(f"{console.url}/console/tasks/{handle.id}")
    page.evaluate("window.isTheSamePage = true")
    running = page.locator(".drawing .step.running", has_text="Draw the race")
    expect(running).to_contain_text("running", timeout=20_000)
    assert state_of(page, "Measure the mill") == "succeeded"
    done = page.locator(".drawing .step.success", has_text="Bind the drawings")
    expect(done).to_contain_text("succeeded", timeout=20_000)
    expect(page.locator("#standing .state")).to_contain_text("succeeded")
    waited_for = page.locator("#graph tr", has_text="the end waits for it").locator(".name a")
    way = ["Measure the mill", "Draw the race", "Bind the drawings"]
    assert waited_for.all_inner_texts() == way
    critical = page.locator(".drawing .step.critical title").all_text_contents()
    assert [words.partition("\n")[0] for words in critical] == way
    assert page.evaluate("window.isTheSamePage")
    assert "Bind the drawings" in page.locator("#announced").inner_text()
