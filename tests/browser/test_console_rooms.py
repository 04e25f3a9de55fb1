"""Projects, documents, workflows, the system, alerts and logs, as a person uses their pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from celery_app.client import Client
from celery_app.observe.alert_desk import AlertDesk
from celery_app.orchestrator.triggers import Triggers
from tests.browser.conftest import OpenPage
from tests.browser.rooms import Rooms, rooms, say

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def console(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rooms]:
    with rooms(client, tmp_path_factory.mktemp("rooms")) as served:
        yield served


def opened(open_page: OpenPage, console: Rooms, name: str) -> Page:
    return open_page(f"{console.url}{console.addresses[name]}")


def test_a_project_shows_its_goals_and_its_time(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "projects")
    row = page.locator("tr", has_text=console.project)
    expect(row).to_contain_text("1 of 4")
    row.get_by_role("link", name=console.project).click()
    expect(page.locator("h1")).to_have_text(console.project)
    goals = page.locator("#goals tbody tr")
    states = goals.locator(".state").evaluate_all("all => all.map(each => each.dataset.state)")
    assert states == ["reached", "to-accept", "open", "open"]
    expect(goals.nth(1)).to_contain_text('open: person "Is it as it was?"')
    expect(page.locator("#facts")).to_contain_text("of 50,000 tokens")
    assert page.locator(".gantt text.goal").all_text_contents()[0] == console.project
    assert page.locator(".gantt polygon").count() == 4
    page.locator("#timeline-table > summary").click()
    rows = page.locator("#timeline-table tbody tr")
    assert rows.count() == len(page.locator(".gantt text[class='']").all()) + 4
    expect(rows.filter(has_text="the end waits for it").first).to_be_visible()


def test_an_artifact_is_downloaded(console: Rooms, open_page: OpenPage, tmp_path: Path) -> None:
    page = opened(open_page, console, "project")
    with page.expect_download() as downloaded:
        page.locator("#artifacts a", has_text="survey").click()
    downloaded.value.save_as(tmp_path / "survey")
    assert (tmp_path / "survey").read_text() == "The wheel is of oak, says the survey."


def test_a_goal_is_accepted_and_others_are_worked_on(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "project")
    page.get_by_role("button", name="Accept").click()
    expect(page.locator(".notice")).to_have_text("The result was accepted.")
    expect(page.locator("#goals tbody tr").nth(1)).to_contain_text("accepted by")
    work_on(page, "survey")
    expect(page.locator(".notice")).to_have_text("The work has begun.")
    run = page.url.rpartition("/")[2].partition("?")[0]
    page.goto(f"{console.url}{console.addresses['project']}")
    work_on(page, "no-such-goal")
    expect(page.get_by_role("alert")).to_contain_text("has no goal 'no-such-goal'")
    console.site.client.task(run).cancel()


def work_on(page: Page, goal: str) -> None:
    page.get_by_text("Only some goals").click()
    box = page.get_by_label("survey", exact=True)
    box.evaluate("(box, goal) => { box.value = goal }", goal)
    box.check()
    page.get_by_role("button", name="Work on").click()


def test_a_document_is_read_and_harms_nobody(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "documents")
    page.locator("tr", has_text=console.project).get_by_role(
        "link", name="README", exact=True
    ).click()
    paper = page.locator(".paper")
    expect(paper.locator("h2").first).to_have_text("The mill")
    expect(paper.locator("pre")).to_have_text("turn(wheel, times=10)\n")
    expect(paper.locator("td.num").first).to_have_text("12")
    expect(paper).to_contain_text("<script>window.wasHarmed = true</script>")
    assert paper.locator("img, script, [onclick], [style], a[href^=javascript]").count() == 0
    paper.get_by_text("So is this").click()
    assert page.evaluate("window.wasHarmed") is None


def test_a_paragraph_leads_to_where_it_comes_from(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "document")
    block = page.locator(".block", has_text="It has 4 goals")
    block.get_by_role("link", name="where it comes from").click()
    row = page.locator("tr:target")
    expect(row).to_contain_text("template goals.md")
    expect(row.locator("code")).to_have_text("facts:goals")
    row.get_by_role("link", name="Back to paragraph").click()
    expect(block.locator("a:target")).to_be_visible()
    written = page.locator(".block", has_text="made of larch").locator(".origin a")
    row = page.locator((written.get_attribute("href") or "").replace("#", "tr#"))
    expect(row).to_contain_text("writer")
    expect(row).to_contain_text("input:notes.md")


def test_two_versions_are_compared(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "document")
    page.get_by_role("link", name="What changed", exact=True).click()
    expect(page.locator("h1")).to_have_text("What changed from version 2 to 3")
    page.get_by_label("From version").select_option("1")
    page.get_by_label("To version").select_option("2")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("h1")).to_have_text("What changed from version 1 to 2")
    removed = page.locator("tr.removed")
    assert removed.locator("del").all_inner_texts() == ["The wheel is made of oak.", "- two stones"]
    added = page.locator("tr.added")
    assert added.locator("ins").all_inner_texts()[:2] == [
        "The wheel is made of larch.",
        "- three stones",
    ]
    # A sign for those who see no colours, a word for those who see nothing.
    expect(removed.first.locator(".sign")).to_have_text("−removed")
    expect(added.first.locator(".sign")).to_have_text("+added")
    assert removed.first.locator("td").first.inner_text() == "5"
    colours = [
        each.locator("td.text").evaluate("cell => getComputedStyle(cell).backgroundColor")
        for each in (removed.first, added.first)
    ]
    assert len(set(colours)) == 2


def test_an_old_version_is_restored(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "old-document")
    expect(page.locator(".paper")).to_contain_text("made of oak")
    page.get_by_role("button", name="Let it hold again").click()
    expect(page.locator(".notice")).to_have_text("This version holds again.")
    expect(page.locator(".facts").first).to_contain_text("1, which holds")
    assert console.site.client.documents.get(console.project, "readme").version == 1
    page.get_by_role("button", name="Restore version 3").click()
    assert console.site.client.documents.get(console.project, "readme").version == 3


def test_what_a_document_was_made_of_is_checked(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "document")
    page.get_by_role("link", name="Check its sources").click()
    row = page.locator("tr", has_text="facts:goals")
    expect(row.locator("td").nth(1)).to_have_text("changed")
    expect(row.locator("td").nth(2)).to_have_text("facts")
    page.get_by_role("button", name="Write it anew").click()
    expect(page.locator(".notice")).to_have_text("The document is being written.")
    console.site.client.task(page.url.rpartition("/")[2].partition("?")[0]).cancel()


def test_a_workflow_is_started_by_its_form(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "workflows")
    expect(page.locator(".wrong")).to_contain_text("broken has mistakes")
    row = page.locator("tr", has_text="mill-tour")
    expect(row).to_contain_text("Show guests the mill")
    row.get_by_role("link", name="mill-tour").click()
    assert page.locator(".drawing .step").count() == 3
    page.get_by_label("guests").fill("many")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("the input 'guests' cannot be read")
    page.get_by_label("guests").fill("3")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("the input 'host' is missing")
    page.get_by_label("host").fill("Ann")
    page.get_by_label("day").select_option("Monday")
    page.get_by_label("wishes").fill('["a flag", "flour"]')
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".notice")).to_have_text("The run has begun.")
    result = page.locator("#result .result")
    expect(result).to_contain_text("Ann greets 3 on Monday")
    expect(result).to_contain_text("a flag")
    expect(result).to_contain_text("22.5")
    last = opened(open_page, console, "workflow").locator("#runs tbody tr").first
    expect(last).to_contain_text("succeeded")


def test_a_trigger_is_paused_and_goes_on(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "workflow")
    row = page.locator("#triggers tr", has_text="0 7 * * mon")
    assert row.locator("td").nth(2).inner_text().count("-") == 6, "three dates"
    row.get_by_role("button", name="Pause").click()
    expect(page.locator(".notice")).to_contain_text("starts nothing until it is resumed")
    expect(row.locator(".state")).to_contain_text("paused")
    assert paused() == {"cron": True, "event": False}
    row.get_by_role("button", name="Resume").click()
    expect(row.locator(".state")).to_contain_text("ready")
    assert paused() == {"cron": False, "event": False}


def paused() -> dict[str, bool]:
    return {each["kind"]: each["paused"] for each in Triggers().listed("mill-tour")}


def test_mistakes_of_a_file_are_told(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "broken")
    expect(page.locator("h1")).to_have_text("broken has mistakes")
    row = page.locator("tbody tr")
    assert row.locator("td").all_inner_texts()[:2] == ["3", "a"]
    expect(row).to_contain_text("there is no task 'no.such.task'")


def test_the_system_is_seen(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "system")
    workers = page.locator("section", has=page.locator("#workers-head"))
    expect(workers.locator("tbody tr")).to_have_count(1)
    expect(workers).to_contain_text("agent.writer")
    expect(workers).to_contain_text("smollm2:135m")
    hosts = page.locator("section", has=page.locator("#hosts-head"))
    expect(hosts).to_contain_text(console.site.model.address)
    assert page.locator(".charts svg rect").count() > 100
    tokens = page.locator(".charts figure", has_text="tokens").locator("svg")
    assert "in all" in (tokens.get_attribute("aria-label") or "")
    expect(page.locator("section", has=page.locator("#agents-head"))).to_contain_text("planner")


def test_alerts_are_silenced_and_resolved(console: Rooms, open_page: OpenPage) -> None:
    page = opened(open_page, console, "alerts")
    axle = page.locator("article", has_text="The axle is broken.").first
    axle.get_by_label("Tell nobody for").select_option("8 hours")
    axle.get_by_role("button", name="Silence").click()
    expect(page.locator(".notice")).to_contain_text("Nobody is told of it")
    [silence] = [each for each in AlertDesk().silences() if each["rule"] == console.rule]
    assert silence["about"] == "axle"
    row = page.locator("#silences tr", has_text=console.rule)
    row.get_by_role("button", name="End").click()
    expect(page.locator(".notice")).to_have_text("The silence is over.")
    assert console.rule not in [each["rule"] for each in AlertDesk().silences()]
    race = page.locator("article", has_text="The race has been dry").first
    race.get_by_role("button", name="Resolve").click()
    expect(page.locator(".notice")).to_contain_text("The alert is closed")
    firing = [each.about for each in AlertDesk().alerts() if each.rule == console.rule]
    assert firing == ["axle"]
    page.get_by_role("link", name="all", exact=True).click()
    expect(race.locator(".state")).to_contain_text("resolved")


def test_the_log_is_searched_and_live(console: Rooms, open_page: OpenPage) -> None:
    page = open_page(f"{console.url}/console/logs")
    page.get_by_label("Task, how its id begins").fill(console.task)
    page.get_by_label("At least").select_option("warning")
    page.get_by_role("button", name="Show").click()
    lines = page.locator("#lines tbody tr")
    expect(lines).to_have_count(2)
    expect(lines.first).to_contain_text("the axle is broken")
    page.evaluate("window.isTheSamePage = true")
    say(console.task, "INFO", "too quiet to be seen")
    say(console.task, "WARNING", "the sluice is open")
    expect(lines.first).to_contain_text("the sluice is open")
    expect(lines).to_have_count(3)
    assert page.evaluate("window.isTheSamePage")


def test_who_may_not_sees_no_room(console: Rooms, stranger: str, open_page: OpenPage) -> None:
    page = open_page(f"{console.url}/console/login")
    page.get_by_label("Token").fill(stranger)
    page.get_by_role("button", name="Log in").click()
    for name, address in console.addresses.items():
        response = page.goto(f"{console.url}{address}")
        assert response is not None
        assert response.status == 403, name
        expect(page.get_by_role("alert")).to_contain_text("may not")


def test_a_form_from_elsewhere_changes_nothing(console: Rooms) -> None:
    for path in (
        f"/console/projects/{console.project}/runs",
        f"/console/documents/{console.project}/readme/restore",
        "/console/workflows/mill-tour/runs",
        "/console/alerts/silences",
    ):
        response = httpx.post(
            f"{console.url}{path}", data={"version": "1", "rule": "*"}, trust_env=False
        )
        assert response.status_code == 403, path
