"""Alerts and documents in the page: how each stands, what to do, and what is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from dev.browser import PATIENCE_MS
from tests.support.page.browsing import PHONE, a_tab, axe_core, no_violations
from tests.support.page.paper import HOSTILE, Paper
from tests.support.page.paperkept import AT, a_load, an_alert

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=PATIENCE_MS)
LONG = "SKU-" + "X" * 124


@pytest_asyncio.fixture(loop_scope="session")
async def paper() -> AsyncIterator[Paper]:
    worker = Paper()
    waits = {"attempts": 2, "failed": "503 away", "next_try": AT, "on_hand": 8}
    worker.kept.alerts = [
        an_alert("TEA-1"),
        an_alert(LONG, "pending", **waits),
        an_alert("MUG-1", "dead", attempts=10, failed=HOSTILE, rule="oversold"),
        an_alert("TEA-2", told="cleared"),
    ]
    worker.kept.loads = [
        a_load("file:monday"),
        a_load(LONG, "unfinished", lines=2, sent=2, sums=None),
        a_load(HOSTILE, taken_back_by="invoice 8", sent=None),
    ]
    await worker.start()
    yield worker
    await worker.stop()


async def test_alerts_say_what_was_told_and_what_nobody_took(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, f"{paper.url}/#/alerts") as page:
        says, lines = page.locator("p.freshness"), page.locator("tbody tr")
        await expect(says).to_contain_text("3 raised · 1 not taken yet · 1 that nobody took")
        await expect(page.locator(".rules")).to_contain_text(
            "low raised below 10, cleared above 14"
        )
        await expect(lines).to_have_count(4)
        await expect(lines.nth(0)).to_contain_text("raised: low✓ taken")
        await expect(lines.nth(1)).to_contain_text("at 8 on hand◐ not taken yet, tried 2 times 503")
        await expect(lines.nth(2)).to_contain_text(f"nobody took it, tried 10 times {HOSTILE}")
        await expect(lines.nth(2)).to_contain_text("onhand alerts resend")
        await expect(page.get_by_text("onhand alerts list")).to_have_count(0)

        await page.get_by_label("Webhook").select_option("dead")
        await expect(lines).to_have_count(1)
        assert page.url.endswith("#/alerts?state=dead")
        paper.kept.since = AT
        await expect(page.get_by_text("onhand alerts list")).to_be_visible()
        await lines.get_by_role("link").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("MUG-1 at store-003")
        paper.kept.rules = []
        await page.goto(f"{paper.url}/#/alerts")
        await expect(page.locator(".none")).to_contain_text("ONHAND_ALERTS")


async def test_documents_say_what_became_of_each_line_and_which_go_on(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, f"{paper.url}/#/documents") as page:
        items = page.locator(".letters > li")
        await expect(items).to_have_count(3)
        await expect(items.nth(0).locator(".equation")).to_have_text(
            "5 lines=3 facts+0 counts+0 taken back+1 not for stock+1 refused"
        )
        await expect(items.nth(0)).to_contain_text("3 facts in the log")
        await expect(items.nth(1)).to_contain_text("2 lines done: load the same file again")
        await expect(items.nth(1).locator(".equation")).to_have_count(0)
        await expect(items.nth(2)).to_contain_text("taken back by invoice 8")
        await page.get_by_label("Show").first.select_option("unfinished")
        await expect(items).to_have_count(1)
        paper.kept.loads = []
        await page.goto(f"{paper.url}/#/documents")
        await expect(page.locator(".none")).to_contain_text("No document was loaded yet")


async def test_both_are_read_by_everybody_in_either_theme_and_on_a_phone(
    browser: Browser, paper: Paper
) -> None:
    axe = axe_core()
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark", **PHONE}):
        async with a_tab(browser, f"{paper.url}/#/alerts", **options) as page:
            await expect(page.locator("tbody tr")).to_have_count(4)
            await no_violations(page, axe, f"alerts {options}")
            await page.goto(f"{paper.url}/#/documents")
            await expect(page.locator(".letters > li")).to_have_count(3)
            await no_violations(page, axe, f"documents {options}")
            assert await page.locator("img").count() == 0
