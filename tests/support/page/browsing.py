"""The page in a real Chromium, whose faults are the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page

from dev.browser import PATIENCE_MS, NoChromium, a_browser
from tests.support.deploying.installing import installed

AXE = Path(__file__).parents[2] / "axe"
PHONE = {"viewport": {"width": 390, "height": 800}, "has_touch": True}


@asynccontextmanager
async def chromium_here() -> AsyncIterator[Browser]:
    """Without one the test is left out."""
    try:
        async with a_browser() as browser:
            yield browser
    except NoChromium as none:
        pytest.skip(str(none))


@asynccontextmanager
async def a_tab(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """The page there. At the end it must have had no fault, and no policy must have stopped it.

    That a worker refuses or is gone Chromium tells on the console, too: that is no fault.
    """
    wide = {"width": 1280, "height": 800}
    context = await browser.new_context(**{"viewport": wide, "locale": "en-GB", **options})
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"{error}"))

    def heard(message: ConsoleMessage) -> None:
        is_fault = message.type in ("error", "warning")
        if is_fault and not message.text.startswith("Failed to load resource"):
            faults.append(message.text)

    page.on("console", heard)
    try:
        await page.goto(url)
        yield page
    finally:
        await context.close()
    assert faults == []


def axe_core() -> str:
    """What looks for what keeps people from reading a page."""
    folder = installed(AXE, "axe", ("package.json", "package-lock.json"), "npm", "ci", "--no-audit")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


async def no_violations(page: Page, axe: str, where: str) -> None:
    """Nothing keeps anybody from reading it, and it does not scroll sideways."""
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(axe)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    told = [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"][:3]
    ]
    assert told == [], where
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(wide) <= 0, f"{where} scrolls sideways"
