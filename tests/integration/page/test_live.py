"""The feed in the page: facts come by themselves, each once and with what became of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from dev.browser import PATIENCE_MS
from dev.workers import until
from tests.support.page.browsing import PHONE, a_tab, axe_core, no_violations
from tests.support.page.paper import HOSTILE, Paper

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=PATIENCE_MS)
TEA, STORE = "SKU-000007", "store-003"


@pytest_asyncio.fixture(loop_scope="session")
async def paper() -> AsyncIterator[Paper]:
    worker = Paper()
    worker.put(TEA, STORE).add("received", 24)
    worker.feed.tell(TEA, STORE, 24)  # before anybody looks
    await worker.start()
    yield worker
    await worker.stop()


def lines(page: Page) -> Locator:
    return page.locator("table.facts tbody tr")


def says(page: Page) -> Locator:
    return page.locator("p.freshness")


async def followed(page: Page) -> None:
    await expect(says(page)).to_contain_text("Facts as they come")


def questions(paper: Paper, since: int) -> list[dict[str, list[str]]]:
    """Parameters of those about the feed."""
    asked = [urlsplit(one) for one in paper.asked[since:]]
    return [parse_qs(one.query) for one in asked if one.path == "/v1/changes"]


async def asks_on(paper: Paper, since: int, **wanted: str) -> None:
    """Wait until a question behind a position has these parameters."""

    async def is_asked() -> bool:
        told = questions(paper, since)
        return any(
            one["after"] != ["end"] and {n: [v] for n, v in wanted.items()}.items() <= one.items()
            for one in told
        )

    await until(is_asked, f"asked: {wanted}", 60)


async def test_facts_come_by_themselves_newest_first_with_what_became_of_each(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, f"{paper.url}/#/feed") as page:
        await followed(page)
        await expect(page.get_by_text("No fact has come since this was opened.")).to_be_visible()

        sale = paper.feed.tell(TEA, STORE, -2)
        await expect(lines(page)).to_have_count(1)
        await expect(lines(page).first).to_contain_text("sold")
        await expect(lines(page).first).to_contain_text("−2")
        paper.feed.repeat(sale)
        paper.feed.refuse("bad_data", "quantity is no whole number.")
        paper.feed.tell(HOSTILE, HOSTILE, 5, type="inventory.stock.adjusted.v1", reason=HOSTILE)
        await expect(lines(page)).to_have_count(4)
        await expect(lines(page).nth(2)).to_contain_text(f"repeats {sale['position']}")
        await expect(lines(page).nth(1)).to_contain_text("refused bad_data")
        await expect(lines(page).nth(1)).to_contain_text("quantity is no whole number.")
        await expect(lines(page).first).to_contain_text(f"{HOSTILE} at {HOSTILE}")
        await expect(says(page)).to_contain_text("2 applied, 1 repeated, 1 refused")
        assert await page.locator("img").count() == 0

        await page.get_by_role("link", name=f"{TEA} at {STORE}").first.click()
        heading = page.get_by_role("heading", level=1)
        await expect(heading).to_have_text(f"{TEA} at {STORE}")


async def test_rows_as_they_change_say_by_how_much_and_where_some_are_missing(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, f"{paper.url}/#/feed?type=inventory.sale.completed.v1") as page:
        await followed(page)
        asked = len(paper.asked)
        await page.get_by_label("Show").select_option("rows")
        await expect(says(page)).to_contain_text("Rows as they change")
        await expect(page).to_have_url(re.compile(r"#/feed\?of=rows$"))
        await expect(page.get_by_label("Kind")).to_have_count(0)
        await asks_on(paper, asked, of="rows")
        await expect(page.get_by_text("No row has changed since this was opened.")).to_be_visible()

        paper.feed.change(TEA, STORE, 24, events=1)
        await expect(lines(page)).to_have_count(1)
        paper.feed.change(HOSTILE, HOSTILE, -3, events=2)
        paper.feed.change(TEA, STORE, 21, events=2)
        await expect(lines(page)).to_have_count(3)
        await expect(lines(page).first).to_contain_text("−3")
        await expect(lines(page).nth(1)).to_contain_text(f"{HOSTILE} at {HOSTILE}")
        await expect(says(page)).to_contain_text("3 changes")

        paper.feed.reset()
        await expect(lines(page).first).to_contain_text("some have another owner")
        paper.feed.missing = [3]
        paper.feed.change(TEA, STORE, 20, events=3)
        await expect(says(page)).to_contain_text("nobody owns 1 partition now")
        await expect(lines(page).first).to_contain_text("−1")


async def test_a_pause_shows_nothing_new_and_leaves_nothing_out(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, f"{paper.url}/#/feed") as page:
        await followed(page)
        paper.feed.tell(TEA, STORE, -1)
        await expect(lines(page)).to_have_count(1)
        before = paper.feed.after

        await page.get_by_role("button", name="Pause").click()
        await expect(says(page)).to_contain_text("Paused")
        for _ in range(3):  # a question that is on its way hears of them
            paper.feed.tell(TEA, STORE, -1)

        async def is_answered() -> bool:
            return paper.feed.waiting == 0

        await until(is_answered, "answered: the last question before the pause", 60)
        since = len(paper.asked)
        await expect(lines(page)).to_have_count(1)
        await page.get_by_role("button", name="Go on").click()
        await expect(lines(page)).to_have_count(4)
        assert questions(paper, since)[0]["after"] == [before]


async def test_filters_stand_in_the_address_and_each_begins_anew(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, f"{paper.url}/#/feed") as page:
        await followed(page)
        paper.feed.tell("COFFEE", STORE, -1)
        await expect(lines(page)).to_have_count(1)
        await page.keyboard.press("/")
        await page.keyboard.type("SKU-")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(r"#/feed\?sku=SKU-$"))
        await expect(page.get_by_text("No such fact has come")).to_be_visible()
        since = len(paper.asked)
        await page.get_by_label("Kind").select_option("inventory.sale.returned.v1")
        await expect(page).to_have_url(re.compile(r"type=inventory\.sale\.returned\.v1$"))
        await asks_on(paper, since, type="inventory.sale.returned.v1", sku_prefix="SKU-")
        paper.feed.tell("COFFEE", STORE, 1, type="inventory.sale.returned.v1")
        paper.feed.tell(TEA, STORE, -1)
        paper.feed.tell(TEA, STORE, 1, type="inventory.sale.returned.v1")
        await expect(lines(page)).to_have_count(1)
        await expect(lines(page).first).to_contain_text("returned")
        await page.reload()
        await expect(page.get_by_label("Kind")).to_have_value("inventory.sale.returned.v1")


async def test_what_comes_while_no_ledger_answers_is_told_when_one_does(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, f"{paper.url}/#/feed") as page:
        await followed(page)
        paper.feed.tell(TEA, STORE, -1)
        await expect(lines(page)).to_have_count(1)
        paper.keeps_history = False
        await expect(page.locator(".problem")).to_contain_text("onhand ledger worker")
        await expect(lines(page)).to_have_count(1)
        paper.feed.tell(TEA, STORE, -1)
        paper.keeps_history = True
        await expect(lines(page)).to_have_count(2)
        await expect(page.locator(".problem")).to_have_count(0)


async def test_where_it_cannot_go_on_or_keep_up_it_says_that_some_are_left_out(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, f"{paper.url}/#/feed") as page:
        await followed(page)
        paper.feed.tell(TEA, STORE, -1)
        await expect(lines(page)).to_have_count(1)
        paper.feed.log = 8
        await expect(
            page.get_by_text("From its last position there is no going on")
        ).to_be_visible()
        paper.feed.tell(TEA, STORE, -1)
        await expect(lines(page)).to_have_count(3)

        paper.feed.never_ends = True
        await expect(page.get_by_text("Facts came faster").first).to_be_visible()
        paper.feed.never_ends = False
        await followed(page)


async def test_the_feed_keeps_nobody_from_reading_it_in_either_theme_or_on_a_phone(
    browser: Browser, paper: Paper
) -> None:
    axe = axe_core()
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark", **PHONE}):
        asked = len(paper.asked)
        async with a_tab(browser, f"{paper.url}/#/feed", **options) as page:
            await followed(page)
            await no_violations(page, axe, f"empty {options}")
            paper.feed.repeat(paper.feed.tell(TEA, STORE, -2))
            paper.feed.refuse("bad_data", "x" * 90)
            paper.feed.tell("S" * 100, "L" * 100, -1)
            await expect(lines(page)).to_have_count(4)
            await expect(page.locator("tr.changed")).to_have_count(0)
            await page.get_by_role("button", name="Pause").click()
            await expect(says(page)).to_contain_text("Paused")
            await no_violations(page, axe, f"facts {options}")
            await page.get_by_role("button", name="Go on").click()
            await page.get_by_label("Show").select_option("rows")
            await asks_on(paper, asked, of="rows")
            paper.feed.change("S" * 100, "L" * 100, -1, events=1)
            paper.feed.reset()
            await expect(lines(page)).to_have_count(2)
            await expect(page.locator("tr.changed")).to_have_count(0)
            await no_violations(page, axe, f"rows {options}")
