"""The cluster in the page: who answers for what, who took over, and what is said of who is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from core.partitioning import partition_for
from dev.browser import PATIENCE_MS
from tests.support.page.browsing import a_tab
from tests.support.page.paper import Paper

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=PATIENCE_MS)


@pytest_asyncio.fixture(loop_scope="session")
async def paper() -> AsyncIterator[Paper]:
    worker = Paper()
    await worker.start()
    yield worker
    await worker.stop()


async def test_who_answers_for_a_sku_is_found_and_is_another_one_when_that_is_lost(
    browser: Browser, paper: Paper
) -> None:
    partition = partition_for(b"SKU-000007", paper.partitions)
    owner, copy = paper.holders(partition)
    async with a_tab(browser, f"{paper.url}/#/cluster") as page:
        await expect(page.locator(".workers > li")).to_have_count(3)
        await page.keyboard.press("/")
        await page.keyboard.type("SKU-000007")
        await page.keyboard.press("Enter")
        said = page.get_by_role("status").filter(has_text="SKU-000007")
        await expect(said).to_have_text(
            f"SKU-000007 is in partition {partition}: {owner} answers for it; a copy at {copy}."
        )
        await expect(page.locator("tr.here th")).to_have_text(str(partition))
        paper.missing = [partition]
        await expect(said).to_contain_text(f"nobody owns it now; a copy at {copy}.")


async def test_a_worker_that_is_gone_or_frozen_is_told_with_the_others_until_it_is_back(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, f"{paper.url}/#/cluster") as page:
        await expect(page.locator(".workers > li")).to_have_count(3)
        gone = page.get_by_role("alert")
        await paper.stop()
        await expect(gone).to_contain_text("has not answered since")
        await expect(page.locator("main.old .freshness")).to_be_visible()
        for url in paper.others:
            await expect(gone.get_by_role("link", name=url)).to_have_attribute("href", f"{url}/")
        await expect(page.locator(".workers > li")).to_have_count(3)  # as it was, and said so
        paper.lost = {paper.others[0]}
        await paper.start()
        await expect(gone).to_have_count(0)
        moves = page.locator("section", has_text="Moves since")
        await expect(moves).to_contain_text(f"{paper.others[0]} → ")
        await expect(page.locator("#said")).to_contain_text("Partition")

        paper.thaw.clear()
        await expect(gone).to_contain_text("has not answered since")
        paper.thaw.set()
        await expect(gone).to_have_count(0)


async def test_whoever_only_looked_at_the_board_is_offered_the_others_too(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, "about:blank") as page:
        async with page.expect_response("**/v1/cluster") as answer:
            await page.goto(paper.url)
        await (await answer.value).finished()
        await paper.stop()
        gone = page.get_by_role("alert")
        for url in paper.others:
            await expect(gone.get_by_role("link", name=url)).to_be_visible()
