"""A real Chromium without a screen. Without one these tests are skipped, except where it is required."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from celery_app.celery import access, database
from celery_app.client import Client

#: Nothing but the page under test is to be asked for anything.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser (Debian: `apt-get install chromium`)."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        reason = "there is no chromium: `apt-get install chromium`"
        if os.environ.get("REQUIRE_CHROMIUM"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A browser for the tests of one module."""
    # Pages are looked at on machines that are busy with other tests.
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


OpenPage = Callable[..., Page]


def forbidden(line: str) -> list[str]:
    """Return what a page's policy has refused, if a line of its console says so."""
    return [line] if "Content Security Policy" in line else []


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[OpenPage]:
    """Open a page in a context of its own, as `open_page(url, user=..., password=..., scheme="dark", ...)`.

    The test fails if a script of it does, or if it asks for what its policy forbids. SCREENSHOTS names a
    folder for a picture of each page.
    """
    faults: list[str] = []
    pages: list[Page] = []
    with ExitStack() as contexts:

        def opened(
            url: str,
            user: str | None = None,
            password: str = "",
            *,
            scheme: Literal["light", "dark"] = "light",
            phone: bool = False,
            scripts: bool = True,
        ) -> Page:
            login = None if user is None else {"username": user, "password": password}
            context: BrowserContext = browser.new_context(
                http_credentials=login,  # type: ignore[arg-type] # a plain dict is one
                viewport={"width": 390, "height": 844} if phone else {"width": 1400, "height": 900},
                color_scheme=scheme,
                java_script_enabled=scripts,
            )
            contexts.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda line: faults.extend(forbidden(line.text)))
            pages.append(page)
            page.goto(url)
            return page

        yield opened
        if folder := os.environ.get("SCREENSHOTS"):
            for number, page in enumerate(pages, 1):
                name = f"{tmp_path.name}-{number}.png"
                page.screenshot(path=Path(folder) / name, full_page=True)
    assert not faults


@pytest.fixture(scope="module")
def stranger(client: Client) -> Iterator[str]:
    """A token that the policy allows nothing."""
    name = f"stranger-{uuid4().hex[:6]}"
    yield access.create(name)[1]
    database.rows("DELETE FROM token WHERE name = :name RETURNING 1", name=name)
