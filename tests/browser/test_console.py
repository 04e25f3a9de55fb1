"""The console as a person uses it: hand in, watch, answer, cancel, with a browser and without its scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from celery_app.client import Client
from tests.browser.conftest import OpenPage
from tests.browser.site import ASKING, Site, diamond, hand_in, site, state_of
from workflows.definitions import load

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def console(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(client, tmp_path_factory.mktemp("console")) as served:
        yield served


def test_a_job_is_handed_in_and_its_model_is_heard(console: Site, open_page: OpenPage) -> None:
    page = open_page(console.url)
    hand_in(page, console.url, "Say how the mill is", plan="no", priority="high")
    expect(page.locator(".notice")).to_have_text("The job was handed in.")
    expect(page.locator("h1")).to_have_text("Say how the mill is")
    expect(page.locator("#said")).to_contain_text("It is so.")
    expect(page.locator("#result .result")).to_contain_text("It is so.")
    expect(page.locator("#standing .state")).to_contain_text("succeeded")
    expect(page.locator("#calls tbody tr").first).to_contain_text("smollm2:135m")
    assert "high" in page.locator("#facts").inner_text()


def test_the_graph_changes_while_somebody_looks(console: Site, open_page: OpenPage) -> None:
    handle = console.client.submit_graph(diamond(1.5), description="Drawings of the mill")
    page = open_page(f"{console.url}/console/tasks/{handle.id}")
    page.evaluate("window.isTheSamePage = true")
    running = page.locator(".drawing .step.running", has_text="Draw the race")
    expect(running).to_contain_text("running")
    assert state_of(page, "Measure the mill") == "succeeded"
    done = page.locator(".drawing .step.success", has_text="Bind the drawings")
    expect(done).to_contain_text("succeeded")
    expect(page.locator("#standing .state")).to_contain_text("succeeded")
    waited_for = page.locator("#graph tr", has_text="the end waits for it").locator(".name a")
    way = ["Measure the mill", "Draw the race", "Bind the drawings"]
    assert waited_for.all_inner_texts() == way
    critical = page.locator(".drawing .step.critical title").all_text_contents()
    assert [words.partition("\n")[0] for words in critical] == way
    assert page.evaluate("window.isTheSamePage")
    expect(page.locator("#announced")).to_contain_text("Drawings of the mill: succeeded")


def test_a_plan_appears_on_the_page_that_waited_for_it(console: Site, open_page: OpenPage) -> None:
    page = open_page(console.url)
    hand_in(page, console.url, "Write a report about the wheel", plan="yes")
    page.evaluate("window.isTheSamePage = true")
    expect(page.locator("#saying")).to_be_visible()
    expect(page.locator("#graph tbody tr")).to_have_count(3)
    expect(page.locator(".drawing .step.running")).to_have_count(1)
    expect(page.locator("#saying")).to_have_count(0)
    assert page.evaluate("window.isTheSamePage")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#standing .state")).to_contain_text("cancelled")


def test_questions_are_answered_with_a_choice_and_with_json(
    console: Site, open_page: OpenPage
) -> None:
    run = console.client.start_workflow(load(ASKING))
    page = open_page(f"{console.url}/console/runs/{run.id}")
    choose = page.locator(".question", has_text="Which day for 12 guests?")
    menu = page.locator(".question", has_text="How many of each dish?")
    menu.locator("textarea").fill("no JSON")
    choose.get_by_label("Friday").check()
    choose.get_by_role("button", name="Approve").click()
    expect(page.locator(".notice")).to_have_text("The answer was taken.")
    expect(choose).to_have_count(0)
    expect(page.locator(".drawing .step.success", has_text="choose")).to_be_visible()
    page.goto(f"{console.url}/console/approvals")
    menu.locator("textarea").fill("{soup: 3}")
    menu.get_by_role("button", name="Approve").click()
    expect(page.locator(".wrong")).to_contain_text("is no JSON")
    menu.locator("textarea").fill('{"soup": 3}')
    menu.get_by_role("button", name="Approve").click()
    expect(page.locator("#standing .state")).to_contain_text("succeeded")
    expect(page.locator("#result .result")).to_contain_text("Friday")
    steps = {step["id"]: step for step in run.tree()["steps"]}
    assert steps["choose"]["output"] == {"approved": True, "answer": "Friday", "by": "root"}
    assert steps["menu"]["output"]["answer"] == {"soup": 3}


def test_what_is_being_written_stays_while_the_page_is_live(
    console: Site, open_page: OpenPage
) -> None:
    run = console.client.start_workflow(load(ASKING))
    page = open_page(f"{console.url}/console/approvals")
    menu = page.locator(f"[id='answer-{run.id}-menu']")
    menu.fill('{"soup": 1')
    page.locator("h1").click()
    later = console.client.start_workflow(load(ASKING))
    other = page.locator(f"[id='answer-{later.id}-menu']")
    expect(other).to_be_visible()
    with page.expect_response(page.url), page.expect_response(page.url):
        console.client.submit_graph(diamond(1))
    assert menu.input_value() == '{"soup": 1'
    later.cancel()
    expect(other).to_have_count(0)
    assert menu.input_value() == '{"soup": 1'
    run.cancel()


def test_a_run_is_cancelled_and_resumed(console: Site, open_page: OpenPage) -> None:
    run = console.client.start_workflow(load(ASKING))
    page = open_page(f"{console.url}/console/runs/{run.id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".notice")).to_have_text("It was cancelled.")
    expect(page.locator("#standing .state")).to_contain_text("cancelled")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".notice")).to_have_text("It goes on.")
    expect(page.locator(".question").first).to_be_visible(timeout=30_000)
    page.locator("#fork > summary").click()
    page.get_by_label("Step", exact=True).select_option("price")
    page.get_by_role("button", name="Fork").click()
    expect(page.get_by_text("Forked from")).to_be_visible()
    assert page.url.partition("?")[0] != f"{console.url}/console/runs/{run.id}"
    page.get_by_role("button", name="Cancel").click()
    run.cancel()


def test_a_task_is_cancelled_and_tried_again(console: Site, open_page: OpenPage) -> None:
    handle = console.client.submit_graph(diamond(30))
    page = open_page(f"{console.url}/console/tasks/{handle.id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".drawing .step.cancelled")).to_have_count(4)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".drawing .step.running")).to_have_count(1)
    handle.cancel()


def test_a_plan_is_seen_before_anything_is_done(
    console: Site, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery_app.local_desk.chat_model", lambda: console.model_door)
    before = [task["id"] for task in console.client.tasks()]
    page = open_page(console.url)
    hand_in(page, console.url, "Write a report about the mill", plan="ask")
    expect(page.locator("h1")).to_have_text("The plan, before anything is done")
    expect(page.locator(".drawing .step")).to_have_count(3)
    expect(page.locator("tbody tr")).to_have_count(3)
    assert [task["id"] for task in console.client.tasks()] == before
    page.get_by_role("button", name="Approve and run").click()
    expect(page.locator("#graph tbody tr")).to_have_count(3)
    first = page.locator("#graph tbody tr").first
    expect(first).to_contain_text("researcher")
    expect(first).to_contain_text("succeeded")
