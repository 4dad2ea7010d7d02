"""`python -m bench.healing`: the worker that serves page and feed is killed, again and again.

Two workers, a ledger and traffic, and a Chromium with three tabs: the board and the feed at the
demo's address, behind which both workers stand, and the board of the worker itself. At a moment
that nobody chose the first worker gets SIGKILL, and at once the other one is told one fact of each
partition. What counts is when a person can see them, by what stands in the tabs, and when a reader
of the stream, who goes on at the other worker, has them. What tab and reader were told is held
against the whole feed: nothing may be missing, nothing may be there twice.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
from playwright.async_api import Browser, Page

from bench.harness.machine import describe
from bench.harness.measure import DidNotFinish
from bench.harness.progress import say
from bench.harness.targets import most
from bench.healing.told import Reader, by_partition, not_whole
from dev.browser import PATIENCE_MS, NoChromium, a_browser
from dev.demo.stage import PARTITIONS, Stage, staged
from dev.demo.steps import all_owned, stop
from dev.demo.watched import watched
from dev.kafka import free_port
from dev.oracle.stock import sku_in
from dev.reads.answers import owners
from dev.traffic.sending import run_tag
from dev.traffic.shop import Shop
from dev.workers import LEDGER, Late, Worker, onhand, until

EVENTS_PER_S, MOST_MS = 50, 2000
#: What `sku_in` begins its SKUs with; nobody else has any.
PREFIX, PLACE = "PROBE-", "store-001"
#: Longer than a take-over behind a kill, and than a start.
PATIENCE_S = 120.0
#: In a tab: each word that it shows, with when it stood there first, and how often.
WATCHES = """([selector, cells]) => {
  window.shown = {};
  window.often = {};
  const known = new Map();
  const look = () => {
    for (const row of document.querySelectorAll(selector)) {
      const word = cells.map((cell) => row.querySelector(cell)?.textContent ?? "").join("=");
      if (known.get(row) === word) continue;
      known.set(row, word);
      window.shown[word] ??= Date.now();
      window.often[word] = (window.often[word] ?? 0) + 1;
    }
  };
  look();
  new MutationObserver(look).observe(document.body,
    { subtree: true, childList: true, characterData: true });
}"""
BOARD = ["table.stock tbody tr", ["th", "td.stock b"]]
FEED = ["table.facts tbody tr", ["td.id.dim.wide"]]
GONE = ["#alerts a", []]


class Scene:
    """Everything that runs.

    Attributes:
        delays_ms: of each kill, by what was waited for.
        wrong: what was missing or there twice.
    """

    def __init__(self, http: aiohttp.ClientSession, workers: Sequence[Worker], front: str) -> None:
        self._http, self._front = http, front
        self._victim, self._other = workers
        self.delays_ms: dict[str, list[float]] = defaultdict(list)
        self.wrong: list[str] = []
        self._skus = [sku_in(p, PARTITIONS) for p in range(PARTITIONS)]

    async def settled(self) -> None:
        """Each worker owns half, and stands by for the other half."""

        async def is_so() -> bool:
            for worker in (self._victim, self._other):
                async with self._http.get(f"{worker.url}/v1/cluster") as answer:
                    alive = [one for one in (await answer.json())["workers"] if one["alive"]]
                if [(one["active"], one["standby"]) for one in alive] != [
                    (PARTITIONS // 2,) * 2
                ] * 2:
                    return False
            return True

        await until(is_so, "shared evenly: all partitions", PATIENCE_S, every_s=0.5)

    async def tell(self, name: str) -> list[str]:
        """One piece more in each partition, through the other worker; the facts' positions."""
        lines = [
            {"source": "dock", "id": f"{name}-{sku}", "sku": sku, "location": PLACE, "quantity": 1}
            for sku in self._skus
        ]
        async with self._http.post(f"{self._other.url}/v1/shipments", json=lines) as answer:
            body = await answer.json()
        if answer.status != 202:
            raise DidNotFinish(f"POST /v1/shipments: {answer.status} {body}")
        return [event["position"] for event in body["events"]]

    async def kill(self, browser: Browser, number: int) -> None:
        """Once: everything is there, the worker is killed, everything is waited for."""
        await self.settled()
        await self.tell(f"before-{number}")
        filtered = f"#/?sku={PREFIX}"
        mine = (await owners(self._http, self._other.url, PARTITIONS), self._other.url)
        living = [self._skus[p] for p, owner in enumerate(mine[0]) if owner == mine[1]]
        reader = Reader([self._victim.url, self._other.url])
        reading = asyncio.create_task(reader.run(self._http))
        try:
            async with (
                a_tab(browser, f"{self._front}{filtered}", BOARD, len(self._skus)) as board,
                a_tab(browser, f"{self._front}#/feed", FEED, 1) as feed,
                a_tab(browser, f"{self._victim.url}/{filtered}", BOARD, len(self._skus)) as alone,
            ):
                await shown(board, [f"{sku}={number + 1}" for sku in self._skus])
                await alone.evaluate(WATCHES, GONE)
                await asyncio.sleep(random.uniform(0, 3))  # no moment of its clock is preferred
                self._victim.kill()
                killed = time.time() * 1000
                facts = await self.tell(f"behind-{number}")
                after = [f"{sku}={number + 2}" for sku in living]
                await self._took("the page offers the other worker", alone, killed, [""])
                await self._took("the feed's tab has all facts", feed, killed, facts)
                await self._took(
                    "the board shows the living partitions' facts", board, killed, after
                )
                rest = [f"{sku}={number + 2}" for sku in self._skus]
                await self._took(
                    "the board shows those of the dead worker's, too", board, killed, rest
                )
                times = await self._read_by(reader, facts)
                self.delays_ms["a reader of the stream has all facts"].append(times - killed)
                told = await feed.evaluate("Object.entries(window.often)")
                positions = [word for word, often in told for _ in range(often)]
                await self._check(positions, [one for one, _ in reader.told])
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        self._victim.start()
        await self._victim.ready()

    async def _took(self, what: str, page: Page, killed: float, words: Sequence[str]) -> None:
        times = await shown(page, words)
        self.delays_ms[what].append(max(times) - killed)

    async def _read_by(self, reader: Reader, facts: Sequence[str]) -> float:
        async def has_all() -> bool:
            return {*facts} <= {position for position, _ in reader.told}

        await until(has_all, "read: all facts", PATIENCE_S)
        return max(at for position, at in reader.told if position in facts)

    async def _check(self, *each: Sequence[str]) -> None:
        everything, after = list[str](), ""
        while True:
            query = {"after": after, "limit": "1000"}
            async with self._http.get(f"{self._other.url}/v1/changes", params=query) as answer:
                page = await answer.json()
            everything += [line["data"]["position"] for line in page["changes"]]
            after = page["after"]
            if page["at_end"]:
                break
        for told in each:
            self.wrong += not_whole(told, by_partition(everything))


@asynccontextmanager
async def a_tab(browser: Browser, url: str, what: list[Any], rows: int) -> AsyncIterator[Page]:
    """The page there, watched, with at least so many rows."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    try:
        await page.goto(url)
        await page.locator(f"{what[0]} >> nth={rows - 1}").wait_for()
        await page.evaluate(WATCHES, what)
        yield page
    finally:
        await context.close()


async def shown(page: Page, words: Sequence[str]) -> list[float]:
    """When each of them stood there first, in ms since the epoch; waits for all."""

    async def all_there() -> list[float]:
        times = await page.evaluate("(words) => words.map((one) => window.shown[one] ?? 0)", words)
        return times if all(times) else []

    return await until(all_there, f"shown: {words}", PATIENCE_S, every_s=0.1)


async def measured(folder: Path, stage: Stage, kills: int) -> Scene:
    """Start all, kill so often, and check."""
    code, said = await onhand("topics", "create", settings=stage.variables)
    if code:
        raise DidNotFinish(said)
    workers = [Worker(name, folder, stage.variables) for name in "ab"]
    ledger = Worker("ledger", folder, stage.variables, command=LEDGER)
    shop = Shop(seed=1, skus=50, stores=3, partitions=PARTITIONS, run=run_tag())
    try:
        for worker in (*workers, ledger):
            worker.start()
        for worker in (*workers, ledger):
            await worker.ready()
        await all_owned(workers)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=15)
        async with (
            watched(stage.settings, workers, shop, EVENTS_PER_S, free_port(), say=say) as seen,
            a_browser() as browser,
            aiohttp.ClientSession(timeout=timeout) as http,
        ):
            scene = Scene(http, workers, seen.panel.url)
            for number in range(kills):
                await scene.kill(browser, 2 * number)
                seen.check()
                told = ", ".join(f"{what} {d[-1]:,.0f} ms" for what, d in scene.delays_ms.items())
                say(f"kill {number + 1} of {kills}: {told}")
            return scene
    finally:
        await stop([*workers, ledger])


def main() -> int:
    """The command; 1 where something was lost, or could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.healing", description=__doc__)
    parser.add_argument("--kills", type=int, default=12, help="so often (12)")
    given = parser.parse_args()
    print("; ".join(f"{what} {value}" for what, value in describe().items()))
    try:
        with tempfile.TemporaryDirectory() as name, staged(Path(name)) as stage:
            scene = asyncio.run(measured(Path(name), stage, given.kills))
    except (DidNotFinish, Late, NoChromium) as why:
        print(f"Not measured: {why}", file=sys.stderr)
        return 1
    print(f"{given.kills} kills, from the kill until … (median, slowest):")
    for what, found in scene.delays_ms.items():
        print(f"{what}: {median(found):,.0f} ms, {max(found):,.0f} ms")
    for what in list(scene.delays_ms)[:3]:
        for goal in most(f"{what}, slowest", max(scene.delays_ms[what]), MOST_MS, " ms"):
            print(f"{goal.what}: {goal.measured} (wanted {goal.wanted}): {goal.word}")
    print(f"lost or told twice: {', '.join(scene.wrong) or 'nothing'}")
    return 1 if scene.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
