"""What a visitor of the demo sees in a browser: a worker is killed, and the sum stays whole."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from app.config import Settings
from dev.browser import PATIENCE_MS
from dev.demo.panel import Panel
from dev.demo.watched import watched
from dev.kafka import free_port
from dev.traffic.sending import run_tag
from dev.traffic.shop import Shop
from tests.support.cluster.workers import Cluster
from tests.support.page.browsing import PHONE, a_tab, axe_core, chromium_here, no_violations
from tests.support.page.kept import PaperKeeper
from tests.support.page.paper import Paper

PARTITIONS = 3
EVENTS_PER_S = 50
#: Keeps each drift that is ever shown from then on.
KEEPS_DRIFTS = """() => {
  const cell = document.querySelector("#demo .drift dd");
  window.drifts = new Set([cell.textContent]);
  const keep = () => window.drifts.add(cell.textContent);
  new MutationObserver(keep).observe(cell, { subtree: true, childList: true, characterData: true });
}"""
expect.set_options(timeout=PATIENCE_MS)


def number(page: Page, name: str) -> Locator:
    return page.locator(f"#demo .{name} dd")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=f"Kill worker {name}")


def line(page: Page, name: str) -> Locator:
    return page.locator("#demo li").filter(has=button(page, name))


async def test_a_worker_that_a_visitor_kills_takes_nothing_with_it_and_comes_back(
    cluster: Cluster,
) -> None:
    shop = Shop(seed=1, skus=50, stores=3, partitions=PARTITIONS, run=run_tag())
    said: list[str] = []
    async with chromium_here() as browser:
        await cluster.create_topics()
        await cluster.start("a", "b")
        workers = [cluster.worker("a"), cluster.worker("b")]
        settings = Settings.from_env(cluster.settings)
        async with (
            watched(
                *(settings, workers, shop, EVENTS_PER_S, free_port()),
                say=said.append,
                back_after_s=600,  # until it was seen
            ) as seen,
            a_tab(browser, f"{seen.panel.url}#/cluster") as page,
        ):
            seen.keeper.is_open = True
            await expect(number(page, "counted")).not_to_have_text("0")
            await page.evaluate(KEEPS_DRIFTS)

            await expect(button(page, "b")).not_to_have_attribute("aria-disabled", "true")
            await button(page, "b").press("Enter")
            await expect(line(page, "b")).to_contain_text("is dead, started again in")
            await expect(button(page, "b")).to_be_focused()
            seen.keeper.back_after_s = 0
            # A start and a take-over: on a busy machine longer than any step of a page.
            await expect(line(page, "b")).to_contain_text("answers", timeout=3 * PATIENCE_MS)
            assert workers[1].starts == 2
            await expect(page.locator(".freshness")).to_contain_text("3 of 3 partitions")

            await seen.paused()
            oracle = cluster.oracle()
            await expect(number(page, "sent")).to_have_text(f"{oracle.fed:,}")
            counted = sum(oracle.applied.values())
            await expect(number(page, "counted")).to_have_text(f"{counted:,}")
            await expect(number(page, "repeated")).to_have_text(f"{len(oracle.repeated):,}")
            await expect(number(page, "refused")).to_have_text(f"{len(oracle.refused):,}")
            await expect(number(page, "in_flight")).to_have_text("0")
            assert await page.evaluate("[...window.drifts]") == ["0"]
    assert [re.sub(r"pid \d+", "pid …", one) for one in said] == [
        "kill -9 worker b (pid …), by the page",
        "worker b started again (pid …)",
        "worker b answers again",
    ]


@pytest.mark.asyncio(loop_scope="session")
async def test_the_panel_is_worked_by_keys_and_can_be_read_by_everybody(browser: Browser) -> None:
    paper = Paper()
    paper.furnish(2, 2)
    await paper.start()
    try:
        axe = axe_core()
        for options in ({"color_scheme": "light"}, {"color_scheme": "dark", **PHONE}):
            kept = PaperKeeper([paper.url], is_open=False)
            panel = Panel(free_port(), kept, kept.reading)
            async with a_tab(browser, "about:blank", **options) as page:
                async with panel.serving():
                    await page.goto(panel.url)
                    await worked_by_keys(page, kept)
                    await no_violations(page, axe, f"{options}")
                    await wrong(page, kept)
                    await no_violations(page, axe, f"drift {options}")
                await expect(page.locator("#demo")).to_contain_text("its last word")
                await no_violations(page, axe, f"ended {options}")
    finally:
        await paper.stop()


async def worked_by_keys(page: Page, kept: PaperKeeper) -> None:
    """Only when it is the visitor's turn, and no corpse twice."""
    await expect(page.locator("table.stock tbody tr")).to_have_count(4)
    await expect(button(page, "a")).to_have_attribute("aria-disabled", "true")
    await button(page, "a").press("Enter")
    kept.is_open = True
    await expect(button(page, "a")).not_to_have_attribute("aria-disabled", "true")
    assert kept.killed == []

    await button(page, "a").focus()
    await page.keyboard.press("Tab")
    link = line(page, "a").get_by_role("link")
    await expect(link).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(button(page, "b")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(line(page, "b")).to_contain_text("is dead, started again in 13 s")
    await expect(page.locator("#demo [role=status]")).to_have_text("Worker b is dead.")
    await page.keyboard.press("Enter")
    kept.dead.clear()
    await expect(line(page, "b")).to_contain_text("answers")
    await expect(page.locator("#demo [role=status]")).to_have_text("Worker b answers again.")
    assert kept.killed == ["b"]


async def wrong(page: Page, kept: PaperKeeper) -> None:
    """What must never be is told loudly, and a refusal in its own words."""
    verdict = page.locator("#demo p").first
    await expect(verdict).to_have_text("✓ Nothing lost, nothing counted twice.")
    kept.balance = kept.balance._replace(others=2)
    await expect(verdict).to_contain_text("2 records acknowledged and without a fate: lost.")
    await expect(verdict).to_contain_text("2 of those sent are not the demo's")
    kept.refusal = "It has just died by itself."
    await button(page, "b").press("Enter")
    await expect(page.locator("#demo > p.warn")).to_have_text(kept.refusal)
    kept.dead.add("a")
    await expect(line(page, "a")).to_contain_text("is dead")
