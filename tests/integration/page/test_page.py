"""The page in a real browser, on a worker of paper that says whatever a test needs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from dev.browser import PATIENCE_MS
from tests.support.page.browsing import PHONE, a_tab, axe_core, no_violations
from tests.support.page.paper import HOSTILE, Paper, a_letter
from web.http.problems import PAGES, Problem, problem

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect.set_options(timeout=PATIENCE_MS)
ROW = "#/row/SKU-000007/store-003"
VIEWS = ("#/", ROW, "#/cluster?sku=SKU-000007", "#/dead-letters", "#/audit", "#/calls")


@pytest_asyncio.fixture(loop_scope="session")
async def paper() -> AsyncIterator[Paper]:
    """A shop of 120 rows; one has a repeated sale, and names of another are markup."""
    worker = Paper()
    worker.furnish()
    seventh = worker.put("SKU-000007", "store-003")
    seventh.add("sold", 40, reference="invoice 4711", actor="ann")
    seventh.repeat()
    seventh.add("adjusted", -1, reason="theft")
    worker.put(HOSTILE, HOSTILE).add("received", 3, source=HOSTILE, id=HOSTILE, reason=HOSTILE)
    worker.letters = [
        a_letter("misrouted", "It belongs elsewhere.", '{"id":"4711-1"}'),
        a_letter("bad_data", HOSTILE, HOSTILE, 1, key=HOSTILE),
        a_letter("bad_data", "Twice the same.", "x", 2),
        a_letter("bad_data", "Twice the same.", "x", 2),
    ]
    await worker.start()
    yield worker
    await worker.stop()


#: Remembers the most rows that were ever shown from then on.
COUNTS_ROWS = """() => {
  window.most = 0;
  const count = () => document.querySelectorAll("table.stock tbody tr").length;
  const look = () => { window.most = Math.max(window.most, count()); };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true });
}"""
#: What `show` makes of children that come, move, go and have one key.
SHOWS = """async () => {
  const { h, show } = await import("/page/dom.js");
  const [root, found] = [document.createElement("div"), {}];
  const put = (...keys) => show(root, keys.map((key) => h("input", { key, value: key })));
  put("a", "b", "c", "c");
  const [a, b] = root.children;
  document.body.append(root);
  b.focus();
  put("a", "b", "c", "c");
  found.twice = root.children.length;
  put("b", "d", "c");
  found.kept = root.children[0] === b && document.activeElement === b && !a.isConnected;
  put("c", "b");
  found.moved = root.children[1] === b;
  put("b");
  found.left = root.children.length;
  show(root, "<b>text</b>", null, 7);
  found.text = root.textContent;
  found.elements = root.children.length;
  root.remove();
  return found;
}"""


def rows(page: Page) -> Any:
    return page.locator("table.stock tbody tr")


# ---- the board


async def test_the_board_shows_rows_and_how_fresh_they_are_page_by_page(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, paper.url) as page:
        await expect(rows(page)).to_have_count(100)
        await expect(page.get_by_text("Answered by the owners")).to_contain_text("nothing left")
        await page.get_by_role("link", name="Next page").first.click()
        await expect(rows(page)).to_have_count(21)
        await expect(rows(page).last).to_contain_text("SKU-000030")
        await page.go_back()
        await expect(rows(page)).to_have_count(100)

        paper.fresh = {"role": "standby", "lag_events": 17}
        stale = page.locator(".freshness")
        await expect(stale).to_contain_text("standbys among others")
        await expect(stale).to_contain_text("at most 17 facts behind")
        await expect(stale).to_have_class(re.compile("warn"))
        paper.fresh = {"as_of": "2026-11-23T10:00:00.000Z"}
        await expect(stale).to_contain_text("Kafka has not been heard since")


async def test_filters_stand_in_the_address_and_a_late_answer_to_another_is_dropped(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, paper.url) as page:
        await expect(rows(page)).to_have_count(100)
        paper.slow = "sku_prefix=SKU-00001&"
        paper.thaw.clear()
        await page.keyboard.press("/")
        await page.keyboard.type("SKU-00001")
        await expect(page).to_have_url(re.compile(r"#/\?sku=SKU-00001$"))
        await page.get_by_label("SKU begins with").fill("SKU-000012")
        await expect(page).to_have_url(re.compile(r"sku=SKU-000012$"))
        await expect(rows(page)).to_have_count(4)
        await page.evaluate(COUNTS_ROWS)
        paper.thaw.set()
        asked = len(paper.asked)
        while len(paper.asked) < asked + 2:  # until it has asked again, and been answered
            await page.wait_for_event("response")
        assert await page.evaluate("window.most") <= 4
        await page.get_by_label("Location").fill("store-002")
        await expect(rows(page)).to_have_count(1)
        await page.reload()
        await expect(rows(page)).to_have_count(1)

        await page.get_by_role("link", name="below zero").click()
        await expect(rows(page)).to_have_count(1)
        await expect(rows(page)).to_contain_text("▼ below zero")
        await page.get_by_label("SKU begins with").fill("none such")
        await expect(page.get_by_text("No row is such a one.")).to_be_visible()
        await page.get_by_role("link", name="all rows").click()
        await expect(rows(page)).to_have_count(100)


async def test_a_row_is_reached_and_left_by_keys_alone(browser: Browser, paper: Paper) -> None:
    async with a_tab(browser, f"{paper.url}/#/?sku=SKU-000007") as page:
        await expect(rows(page)).to_have_count(4)
        await page.get_by_role("link", name="SKU-000007").first.focus()
        for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowDown", "Enter"):
            await page.keyboard.press(key)
        heading = page.get_by_role("heading", level=1)
        await expect(heading).to_have_text("SKU-000007 at store-003")
        await expect(heading).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page).to_have_url(re.compile(r"#/\?sku=SKU-000007$"))


# ---- what cannot be answered


async def test_a_refusal_is_told_in_its_own_words_with_the_remedy_and_goes_by_itself(
    browser: Browser, paper: Paper
) -> None:
    detail = "This worker restores 3 partitions: 1,000 of about 9,000 changelog records."
    paper.refusals["/v1/inventory"] = problem(Problem.NOT_READY, detail, retry_after_s=2)
    async with a_tab(browser, paper.url) as page:
        told = page.locator(".problem")
        await expect(told).to_contain_text(detail)
        await expect(told).to_contain_text(PAGES[Problem.NOT_READY].do.replace("`", "")[:40])
        await expect(told).to_contain_text("asked again")
        await expect(rows(page)).to_have_count(0)
        assert not await page.get_by_text(re.compile(r"^0 rows")).count()
        asked = len(paper.asked)
        paper.refusals.clear()
        await expect(rows(page)).to_have_count(100)
        await expect(told).to_have_count(0)
        assert len(paper.asked) > asked


async def test_missing_partitions_are_named_and_their_rows_are_not_zero(
    browser: Browser, paper: Paper
) -> None:
    missing = paper.shelves["SKU-000007", "store-003"].partition
    paper.missing = [missing]
    async with a_tab(browser, f"{paper.url}/#/?sku=SKU-000007") as page:
        await expect(page.locator(".problem")).to_contain_text(f"partition {missing}")
        await expect(page.locator(".none")).to_contain_text("partitions that answered")
        assert any("partial=true" in asked for asked in paper.asked)
        paper.missing = []
        await expect(rows(page)).to_have_count(4)
        await expect(page.locator(".problem")).to_have_count(0)


async def test_a_name_that_no_fact_has_is_an_answer_and_no_zero(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, f"{paper.url}/#/row/SKU%2F9/store-001") as page:
        await expect(page.get_by_text("No event names SKU/9 at store-001.")).to_be_visible()
        assert not await page.locator(".big").count()


# ---- one row


async def test_a_row_is_added_up_here_step_by_step_and_a_wrong_one_is_found(
    browser: Browser, paper: Paper
) -> None:
    shelf = paper.shelves["SKU-000007", "store-003"]
    async with a_tab(browser, f"{paper.url}/{ROW}") as page:
        await expect(page.locator(".big")).to_have_text(f"−{-shelf.on_hand} on hand")
        proofs = page.locator(".proof .good")
        await expect(proofs).to_have_count(2)
        await expect(proofs.first).to_contain_text(f"{shelf.checksum:016x}")
        await expect(page.locator(".facts tbody tr")).to_have_count(len(shelf.facts))
        await expect(page.locator(".facts")).to_contain_text("repeats sales-")
        assert (await page.locator("path.steps").get_attribute("d") or "").count("V") == len(
            shelf.facts
        )

        said = page.locator(".stepper output")
        await page.get_by_role("button", name="One record back").click()
        await expect(said).to_contain_text("repeated, so it changed nothing")
        await page.get_by_role("slider").fill("1")
        await expect(said).to_contain_text("received +")
        await expect(page.locator("tr.here")).to_contain_text(shelf.facts[0]["position"])

        shelf.add("received", 50)
        await expect(page.locator(".big")).to_have_text(f"{shelf.on_hand} on hand")
        await expect(proofs).to_have_count(2)
        paper.of_row, paper.fresh = {"checksum": "0" * 16}, {"position": "adjustments-0@1"}
        await expect(page.locator(".proof .warn")).to_contain_text("ahead in another topic")
        paper.of_row, paper.fresh = {}, {}
        await expect(proofs).to_have_count(2)
        shelf.checksum += 1
        shelf.add("sold", 1)
        await expect(page.locator(".proof .bad").first).to_contain_text("another one: checksum")


async def test_without_a_ledger_the_sums_are_there_and_what_to_start_is_said(
    browser: Browser, paper: Paper
) -> None:
    paper.keeps_history = False
    async with a_tab(browser, f"{paper.url}/{ROW}") as page:
        await expect(page.locator(".equation")).to_contain_text("received")
        await expect(page.locator(".why .problem")).to_contain_text("onhand ledger worker")
        paper.keeps_history = True
        await expect(page.locator(".proof .good")).to_have_count(2)


async def test_an_audit_names_each_copy_and_what_differs_or_says_what_to_start(
    browser: Browser, paper: Paper
) -> None:
    paper.drifts = None
    async with a_tab(browser, f"{paper.url}/#/audit") as page:
        await expect(page.locator(".problem")).to_contain_text("onhand audit --watch")
        paper.drifts = []
        await page.reload()  # by itself it asks seldom
        await expect(page.locator(".freshness")).to_contain_text("no drift in what was compared")
        copies = page.locator("tbody td > div")
        await expect(copies).to_have_count(5)
        await expect(copies.nth(1)).to_contain_text("not compared: it does not answer")
        await expect(copies.last).to_contain_text("4,711 lines, as the log says")

        row = dict.fromkeys(("received", "sold", "updated_at"), 7)
        wrong = {"sku": HOSTILE, "location": "store/3", "causes": [], "rest": []}
        paper.drifts = [wrong | {"found": row | {"sold": 3, "updated_at": 1}, "right": row}]
        await page.reload()
        await expect(page.locator(".freshness")).to_contain_text("1 thing differs from the log")
        await expect(copies.nth(3)).to_contain_text(f"{HOSTILE} at store/3: sold 3, should be 7")
        await expect(copies.nth(3)).to_contain_text("counted 3, 0, 0, should be 2, 0, 1")
        await copies.nth(3).get_by_role("link", name=HOSTILE).click()
        await expect(page.get_by_text(f"No event names {HOSTILE} at store/3.")).to_be_visible()


# ---- hostile texts


async def test_names_and_payloads_that_are_markup_stay_text(browser: Browser, paper: Paper) -> None:
    paper.others = ["javascript:document.title='taken'", "http://127.0.0.1:6068"]
    async with a_tab(browser, paper.url) as page:
        await rows(page).first.get_by_role("link").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(f"{HOSTILE} at {HOSTILE}")
        await expect(page.locator(".facts")).to_contain_text(HOSTILE)
        await page.goto(f"{paper.url}/#/dead-letters")
        await expect(page.locator(".letters > li")).to_have_count(4)
        await page.get_by_label("Reason").select_option("bad_data")
        await expect(page.locator(".letters > li")).to_have_count(3)
        await page.locator("summary").first.click()
        await expect(page.locator("pre").first).to_have_text(HOSTILE)
        await page.goto(f"{paper.url}/#/cluster")
        await expect(page.get_by_text("javascript:", exact=False).first).to_be_visible()
        assert await page.locator("img").count() == 0
        assert await page.locator("a[href^='javascript']").count() == 0
        assert await page.title() == "Cluster · Onhand"


async def test_what_is_shown_is_brought_in_line_and_nothing_else_is_touched(
    browser: Browser, paper: Paper
) -> None:
    async with a_tab(browser, paper.url) as page:
        found = await page.evaluate(SHOWS)

    shown = {
        "twice": 4,
        "kept": True,
        "moved": True,
        "left": 1,
        "text": "<b>text</b>7",
        "elements": 0,
    }
    assert found == shown


# ---- tokens


async def test_a_token_is_asked_for_kept_in_the_tab_and_forgotten(
    browser: Browser, paper: Paper
) -> None:
    paper.token = "read-me"
    async with a_tab(browser, paper.url) as page:
        await expect(page.locator(".problem")).to_contain_text("unauthenticated")
        await page.get_by_label("Token").fill("read me")
        await page.get_by_role("button", name="Use it").click()
        await expect(page.locator("#token-says")).to_contain_text("That is no token")
        await page.get_by_label("Token").fill("read-me")
        await page.keyboard.press("Enter")
        await expect(rows(page)).to_have_count(100)
        await page.reload()
        await expect(rows(page)).to_have_count(100)
        assert "read-me" not in await page.content()
        assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        await page.get_by_role("button", name="Forget the token").click()
        await expect(page.locator(".problem")).to_contain_text("unauthenticated")


# ---- for everybody


async def test_no_view_keeps_anybody_from_reading_it_in_either_theme_or_on_a_phone(
    browser: Browser, paper: Paper
) -> None:
    axe = axe_core()
    few = [key for key in paper.shelves if key[0] in ("SKU-000007", HOSTILE)]
    paper.shelves = {key: paper.shelves[key] for key in few}  # it looks at each cell
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark", **PHONE}):
        async with a_tab(browser, paper.url, **options) as page:
            for view in VIEWS:
                await page.goto(f"{paper.url}/{view}")
                await expect(page.locator("main .view > *").nth(1)).to_be_visible()
                if view == ROW:
                    await expect(page.locator(".proof .good")).to_have_count(2)
                await no_violations(page, axe, f"{view} {options}")
            await page.goto(f"{paper.url}/#/")
            paper.missing = [1, 2]
            await expect(page.locator(".problem")).to_be_visible()
            await no_violations(page, axe, f"missing {options}")
            paper.missing = []
            await paper.stop()
            await expect(page.get_by_role("alert")).to_be_visible()
            await no_violations(page, axe, f"gone {options}")
            await paper.start()
    async with a_tab(browser, f"{paper.url}/docs", **options) as page:  # it is long: once
        await no_violations(page, axe, "docs")
