"""What keeps somebody out of a page, in each way that pages are looked at."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

#: Faults of these kinds keep somebody out.
KEEPS_OUT = ("serious", "critical")
SCHEMES = ("light", "dark")
SIZES = {"desk": (1400, 900), "phone": (390, 844)}


def faults_of(page: Page, name: str) -> dict[str, list[object]]:
    """Return what is wrong with a page as it stands, in light and dark, on a desk and on a phone.

    SCREENSHOTS names a folder for a picture of each.
    """
    found: dict[str, list[object]] = {}
    for scheme, (size, (width, height)) in product(SCHEMES, SIZES.items()):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # it is one of its words
        page.set_viewport_size({"width": width, "height": height})
        look = f"{name}-{scheme}-{size}"
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{look}.png", full_page=True)
        if faults := [*_kept_out(page), *_too_wide(page)]:
            found[look] = faults
    return found


def _kept_out(page: Page) -> list[object]:
    return [
        (fault["id"], fault["impact"], [node["html"] for node in fault["nodes"][:3]])
        for fault in Axe().run(page).response["violations"]
        if fault["impact"] in KEEPS_OUT
    ]


def _too_wide(page: Page) -> list[object]:
    width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [f"{width} px too wide"] if width > 0 else []
