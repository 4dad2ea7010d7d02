"""What a person sees in a browser while the worker that serves the page is killed."""

from __future__ import annotations

from typing import Any

import aiohttp
from playwright.async_api import Page, expect

from dev.browser import PATIENCE_MS
from dev.workers import Worker
from tests.support.cluster.workers import LEDGER, Cluster
from tests.support.page.browsing import a_tab, chromium_here

PARTITIONS = 3
KEY = {"sku": "TEA-1", "location": "store-001"}
ROW = "#/row/TEA-1/store-001"


async def post(worker: Worker, kind: str, name: str, quantity: int) -> str:
    """What became of one fact."""
    line = {"source": "till-3", "id": name, "quantity": quantity, **KEY}
    url = f"{worker.url}/v1/{kind}?outcome=true&wait_ms=10000"
    async with aiohttp.request("POST", url, json=line) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 202, answer
        return str(answer["events"][0]["outcome"])


async def shows(page: Page, on_hand: int) -> None:
    """The number, and that a ledger and this browser come to the same one."""
    await expect(page.locator(".big")).to_have_text(f"{on_hand} on hand")
    await expect(page.locator(".proof .good")).to_have_count(2)


async def test_the_page_follows_the_stock_and_outlives_its_worker(cluster: Cluster) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    await cluster.create_topics()
    ledger = Worker("ledger", cluster.folder, cluster.settings, command=LEDGER)
    cluster.workers["ledger"] = ledger
    ledger.start()
    await cluster.start("a", "b")
    a, b = cluster.worker("a"), cluster.worker("b")
    assert await post(a, "shipments", "truck-1", 10) == "applied"
    assert await post(a, "sales", "900", 2) == "applied"
    assert await post(b, "sales", "900", 2) == "repeated"

    async with chromium_here() as browser, a_tab(browser, a.url) as page:
        await page.get_by_role("link", name="TEA-1").click()
        await shows(page, 8)
        await expect(page.locator(".facts")).to_contain_text("repeats")
        assert await post(b, "sales", "901", 3) == "applied"
        await shows(page, 5)

        assert await post(b, "sales", "901", 4) == "refused"
        await page.get_by_role("link", name="Dead letters").click()
        await expect(page.locator(".letters > li")).to_contain_text("id_conflict")
        await page.get_by_role("link", name="Cluster").click()
        await expect(page.locator(".freshness")).to_contain_text("3 of 3 partitions have an owner")
        await expect(page.locator(".workers > li")).to_have_count(2)

        a.kill()
        gone = page.get_by_role("alert")
        other = gone.get_by_role("link", name=b.url)
        await expect(other).to_be_visible()
        async with a_tab(browser, f"{b.url}/{ROW}") as beside:
            await shows(beside, 5)
        cluster.launch("a")
        await expect(gone).to_have_count(0)
        await page.goto(f"{a.url}/{ROW}")
        await shows(page, 5)
