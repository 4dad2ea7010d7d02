"""Colours and motion of the page, as its reader wants them."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from dev.browser import PATIENCE_MS
from tests.support.page.browsing import a_tab
from tests.support.page.paper import Paper

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=PATIENCE_MS)


async def test_colours_are_chosen_by_a_button_and_nothing_moves_for_who_wants_no_motion(
    browser: Browser,
) -> None:
    paper = Paper()
    paper.furnish()
    await paper.start()
    try:
        async with a_tab(browser, paper.url, color_scheme="light", reduced_motion="reduce") as page:
            await expect(page.locator("table.stock tbody tr")).to_have_count(100)
            paper.busy = paper.shelves["SKU-000001", "store-001"]
            moving = "(row) => getComputedStyle(row).animationName"
            assert await page.locator("tr.changed").evaluate(moving) == "none"
            button = page.get_by_role("button", name="Colours")
            await button.click()
            await button.click()
            await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
            await page.reload()
            await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    finally:
        await paper.stop()
