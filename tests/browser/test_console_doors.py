"""Who is let in to the console: by a token, by no other site, and to nothing but the console."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import expect

from celery_app import celery
from celery_app.api.asking import Desks
from celery_app.celery import access, database
from celery_app.client import Client
from celery_app.security.policy import Policy, PolicyFile, Rule
from celery_app.testing.processes import wait_until
from tests.api.serving import Served
from tests.browser.conftest import OpenPage

pytestmark = pytest.mark.timeout(180)

RULES = [
    Rule(effect="allow", who=["token:reader-*"], may=["task.read", "workflow.read"]),
    Rule(effect="allow", who=["user:*"], may=["*"]),
]


@pytest.fixture(scope="module")
def served(client: Client) -> Iterator[Served]:
    """The console of this machine's user."""
    with Served() as served:
        yield served


@pytest.fixture(scope="module")
def configured(client: Client) -> Iterator[Served]:
    """The console of a system where nobody is known without a token."""
    policy = Policy(PolicyFile(rules=RULES), ["first", "second"])
    with pytest.MonkeyPatch.context() as patch, Served() as served:
        patch.setattr(celery, "policy", lambda: policy)
        served.app.state.desks = Desks(embedded=False)
        yield served


def made(name: str) -> Iterator[str]:
    token = f"{name}-{uuid4().hex[:6]}"
    yield access.create(token)[1]
    database.rows("DELETE FROM token WHERE name = :name", name=token)


@pytest.fixture(scope="module")
def reader(client: Client) -> Iterator[str]:
    yield from made("reader")


@pytest.fixture(scope="module")
def nobody(client: Client) -> Iterator[str]:
    yield from made("nobody")


@pytest.fixture(scope="module")
def task(client: Client) -> Iterator[str]:
    handle = client.submit("Wait for a token", plan=False)
    yield str(handle.id)
    handle.cancel()


def log_in(page: httpx.Client, token: str, **headers: str) -> httpx.Response:
    key = page.get("/console/login").text.partition('name="form_key" value="')[2].partition('"')[0]
    own = {"Origin": str(page.base_url).rstrip("/"), **headers}
    return page.post("/console/login", data={"token": token, "form_key": key}, headers=own)


@pytest.fixture
def browsing(configured: Served) -> Iterator[httpx.Client]:
    """A browser without a face."""
    with httpx.Client(base_url=configured.url, timeout=30, trust_env=False) as page:
        yield page


def test_a_token_opens_the_console_and_leaving_shuts_it(
    configured: Served, open_page: OpenPage, reader: str, task: str
) -> None:
    page = open_page(f"{configured.url}/console/tasks/{task}")
    expect(page.locator("h1")).to_have_text("Log in")
    page.get_by_label("Token").fill("aiat_0_0")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#wrong")).to_contain_text("none of this system")
    page.get_by_label("Token").fill(reader)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("h1")).to_have_text("Wait for a token")
    expect(page.locator(".visitor")).to_contain_text("token:reader-")
    kept = {cookie["name"]: cookie for cookie in page.context.cookies()}["ai_agent_session"]
    assert (kept["httpOnly"], kept["sameSite"], kept["secure"]) == (True, "Strict", False)
    assert reader not in kept["value"]
    assert reader.split("_", 2)[2] not in page.content()
    page.get_by_role("button", name="Log out").click()
    expect(page.locator(".notice")).to_have_text("You are logged out.")
    page.goto(configured.url)
    expect(page.locator("h1")).to_have_text("Log in")


def test_what_is_denied_is_said(
    configured: Served, open_page: OpenPage, reader: str, nobody: str, task: str
) -> None:
    page = open_page(configured.url)
    page.get_by_label("Token").fill(reader)
    page.get_by_role("button", name="Log in").click()
    page.goto(f"{configured.url}/console/tasks/{task}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1")).to_have_text("This is not for you")
    expect(page.locator("main")).to_contain_text(f"may not task.cancel on task:{task}")
    page.get_by_role("link", name="Log in as somebody else").click()
    page.get_by_label("Token").fill(nobody)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("main")).to_contain_text("may not task.read on task:*")
    assert page.request.get(f"{configured.url}/console/tasks/{task}").status == 403
    assert celery.store.get(task).state == "queued"


def test_the_cookie_opens_pages_and_their_streams_and_nothing_of_the_api(
    browsing: httpx.Client, reader: str, task: str
) -> None:
    assert log_in(browsing, reader).status_code == 303
    assert browsing.get("/").status_code == 200
    headers = {"Accept": "text/event-stream"}
    with browsing.stream("GET", f"/console/tasks/{task}/events", headers=headers) as stream:
        assert stream.status_code == 200
    for path in ("/tasks", f"/tasks/{task}", "/runs", "/events", "/tokens"):
        assert browsing.get(path).status_code == 401, path
    assert browsing.post("/tasks", json={"description": "Break in"}).status_code == 401


def test_a_revoked_token_is_out_and_the_browser_forgets_it(browsing: httpx.Client) -> None:
    name = f"reader-{uuid4().hex[:6]}"
    log_in(browsing, access.create(name)[1])
    assert browsing.get("/").status_code == 200
    access.revoke(name)
    seen: list[httpx.Response] = []

    def turned_away() -> bool:
        seen.append(browsing.get("/"))
        return seen[-1].status_code == 303

    wait_until(turned_away, 10)
    assert seen[-1].headers["location"] == "/console/login?said=refused"
    assert "ai_agent_session" not in browsing.cookies
    database.rows("DELETE FROM token WHERE name = :name", name=name)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Origin": "http://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, False),
    ],
    ids=str,
)
def test_a_form_of_somebody_else_does_nothing(
    served: Served, client: Client, headers: dict[str, str], key: bool
) -> None:
    before = client.tasks()
    with httpx.Client(base_url=served.url, trust_env=False) as page:
        text = page.get("/").text
        found = text.partition('name="form_key" value="')[2].partition('"')[0]
        assert len(found) > 30
        form = {"description": "Break in", "form_key": found if key else "x" * len(found)}
        response = page.post("/console/tasks", data=form, headers=headers)
        assert response.status_code == 403
        assert "open the console" in response.text or "load the page again" in response.text
        assert client.tasks() == before
        own = {"Sec-Fetch-Site": "same-origin"}
        good = page.post("/console/tasks", data={**form, "form_key": found}, headers=own)
        assert good.status_code == 303
    client.task(client.tasks()[0]["id"]).cancel()


@pytest.mark.parametrize("path", ["/", "/console/approvals", "/console/login", "/console/nothing"])
def test_no_page_can_be_framed_or_run_scripts_of_others(served: Served, path: str) -> None:
    headers = httpx.get(f"{served.url}{path}", trust_env=False).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("way", ["//evil.example", "/\\evil.example", "http://evil.example", "x"])
def test_who_logs_in_is_led_nowhere_else(browsing: httpx.Client, reader: str, way: str) -> None:
    page = browsing.get("/console/login", params={"next": way})
    assert 'name="next" value="/"' in page.text


def test_a_strangers_words_are_words(client: Client, open_page: OpenPage, served: Served) -> None:
    words = "<script>window.stolen = true</script><img src=x onerror='window.stolen = true'>"
    handle = client.submit(f"Say {words}", plan=False, inputs=[])
    page = open_page(f"{served.url}/console/tasks/{handle.id}")
    assert words in page.locator(".prompt").inner_text()
    assert page.evaluate("window.stolen") is None
    page.goto(served.url)
    assert page.evaluate("window.stolen") is None
    handle.cancel()
