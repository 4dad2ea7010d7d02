"""`make screenshots`: the page as docs/page/ shows it, from real workers over a shop's facts."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from confluent_kafka import Producer
from playwright.async_api import Browser, Page, expect

from dev.browser import PATIENCE_MS, NoChromium, a_browser
from dev.demo.stage import PARTITIONS, Stage, staged
from dev.demo.steps import Failed, all_owned, port, stop
from dev.demo.watched import watched
from dev.kafka import KafkaUnavailable
from dev.traffic.sending import run_tag
from dev.traffic.shop import Shop
from dev.workers import ROOT, Late, Worker, onhand, until

LEDGER = ("-m", "faust", "-A", "app.ledger", "worker", "-l", "info")
FOLDER = ROOT / "docs" / "page"
SKUS, STORES, ROUNDS = 40, 5, 14
DEMO_EVENTS_PER_S, DEMO_EVENTS = 200, 2_000
TEA = ("TEA-1", "store-001")
ROW = f"#/row/{TEA[0]}/{TEA[1]}"


class Picture(NamedTuple):
    """One file: an address on the page, what must be seen first, and how large it is."""

    name: str
    address: str
    waits_for: str
    width: int = 1280
    height: int = 800
    scheme: str = "light"


PICTURES = (
    Picture("board", "#/", "table.stock tbody tr"),
    Picture("row", ROW, ".proof .good >> nth=1", height=1000),
    Picture("dead-letters", "#/dead-letters", ".letters > li >> nth=2"),
    Picture("phone", "#/", "table.stock tbody tr", 390),
    Picture("dark", ROW, ".proof .good >> nth=1", height=1000, scheme="dark"),
)


async def post(http: aiohttp.ClientSession, url: str, kind: str, lines: list[Any]) -> str:
    """Append facts; up to where."""
    async with http.post(f"{url}/v1/{kind}", json=lines) as response:
        answer: Mapping[str, Any] = await response.json()
        if response.status != 202:
            raise Failed(f"POST /v1/{kind}: {response.status} {answer}")
        return str(answer["position"])


async def tell(http: aiohttp.ClientSession, url: str) -> None:
    """A shop's facts, some seconds of them, so that a line of time has steps."""
    chance = random.Random(1)  # pictures come out alike
    rows = [(f"SKU-{n:06}", f"store-{s:03}") for n in range(SKUS) for s in range(1, STORES + 1)]
    rows.append(TEA)

    def lines(names: str, at: int, some: list[tuple[str, str]], most: int) -> list[Any]:
        return [
            {"source": f"{names}-{chance.randint(1, 4)}", "id": f"{at}-{n}", "sku": sku,
             "location": location, "quantity": chance.randint(1, most)}
            for n, (sku, location) in enumerate(some)
        ]  # fmt: skip

    await post(http, url, "shipments", lines("dock", 0, rows, 40))
    more = {"source": "dock-1", "id": "PO-77-1", "sku": TEA[0], "location": TEA[1], "quantity": 48}
    await post(http, url, "shipments", [more | {"reference": "PO-77"}])
    for at in range(1, ROUNDS):
        for kind, names, share, most in (
            ("sales", "till", 0.5, 6),
            ("returns", "till-r", 0.1, 1),
            ("dispatches", "wms", 0.1, 3),
            ("shipments", "dock", 0.1, 25),
        ):
            some = [row for row in rows if row == TEA or chance.random() < share]
            if kind == "returns" or (kind == "shipments" and at % 5):
                some = [row for row in some if row != TEA]
            await post(http, url, kind, lines(names, at, some, most))
        await asyncio.sleep(0.7)
    sale = {"source": "till-3", "id": "900", "sku": TEA[0], "location": TEA[1], "quantity": 1}
    await post(http, url, "sales", [sale])
    await post(http, url, "sales", [sale])
    loss = sale | {"id": "count-7", "quantity": -1, "reason": "theft", "actor": "ann"}
    await post(http, url, "adjustments", [loss])
    await post(http, url, "sales", [sale | {"quantity": 3}])


def spoil(kafka: str) -> None:
    """Records that nobody can count."""
    producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random"})
    producer.produce("sales", b"<sale/>", b"SKU-000007")
    producer.produce(
        "shipments",
        b'{"specversion":"1.0","id":"4713-1","source":"till-2","type":"inventory.sale.completed.v1",'
        b'"data":{"sku":"SKU-000011","location":"store-002","quantity":1}}',
        b"SKU-000011",
    )
    producer.flush(10)


async def photograph(browser: Browser, url: str, picture: Picture) -> None:
    """Take one picture."""
    size = {"width": picture.width, "height": picture.height}
    scheme: Any = picture.scheme
    context = await browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    await page.goto(f"{url}/{picture.address}")
    await page.locator(picture.waits_for).first.wait_for()
    if picture.name == "dead-letters":
        await page.locator("summary").first.click()
    await kept(page, picture.name)
    await context.close()


async def kept(page: Page, name: str) -> None:
    """Write the file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=FOLDER / f"{name}.png")
    print(f"docs/page/{name}.png", flush=True)


async def watch_a_kill(browser: Browser, url: str, victim: Worker) -> None:
    """The cluster, some seconds after one of its workers was killed."""
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    await page.goto(f"{url}/#/cluster")
    await expect(page.locator(".freshness")).to_contain_text(f"{PARTITIONS} of {PARTITIONS}")
    victim.kill()
    await page.locator("section", has_text="Moves since").locator("li").first.wait_for()
    await expect(page.locator(".freshness")).to_contain_text(f"{PARTITIONS} of {PARTITIONS}")
    await kept(page, "cluster")
    await page.close()


@asynccontextmanager
async def a_cluster(names: str, *, with_ledger: bool) -> AsyncIterator[tuple[Stage, list[Worker]]]:
    """Workers with these names on a Kafka of their own, which own all partitions."""
    with tempfile.TemporaryDirectory(prefix="onhand-page-") as name, staged(Path(name)) as stage:
        settings = {**stage.variables, "ONHAND_SESSION_TIMEOUT_MS": "6000"}
        code, said = await onhand("topics", "create", settings=settings)
        if code:
            raise Failed(said)
        workers = [Worker(n, Path(name), settings, port(6066 + i)) for i, n in enumerate(names)]
        ledger = Worker("ledger", Path(name), settings, port(6166), command=LEDGER)
        everyone = [*workers, *([ledger] if with_ledger else [])]
        try:
            for worker in everyone:
                worker.start()
            for worker in everyone:
                await worker.ready()
            await all_owned(workers)
            yield stage, workers
        finally:
            await stop(everyone)


async def the_page(browser: Browser) -> None:
    """Its views, over facts that a shop told."""
    async with a_cluster("abc", with_ledger=True) as (stage, workers):
        async with aiohttp.ClientSession() as http:
            await tell(http, workers[0].url)
        spoil(stage.settings.kafka)
        for picture in PICTURES:
            await photograph(browser, workers[0].url, picture)
        await watch_a_kill(browser, workers[0].url, workers[1])


async def the_demo(browser: Browser) -> None:
    """Its panel, after a visitor has killed a worker."""
    shop = Shop(seed=1, skus=SKUS, stores=STORES, partitions=PARTITIONS, run=run_tag())
    async with (
        a_cluster("ab", with_ledger=False) as (stage, workers),
        watched(stage.settings, workers, shop, DEMO_EVENTS_PER_S, port(6060), say=print) as seen,
    ):
        seen.keeper.is_open = True
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        await page.goto(f"{seen.panel.url}#/cluster")

        async def has_some() -> bool:
            seen.check()
            return seen.meter.last.counted > DEMO_EVENTS

        await until(has_some, "counted: some events", 60)
        victim = workers[1]
        await page.get_by_role("button", name=f"Kill worker {victim.name}").click()
        moves = page.locator("section", has_text="Moves since").locator("li")
        await moves.filter(has_text=f"{victim.url} →").first.wait_for()
        await expect(page.locator(".freshness")).to_contain_text(f"{PARTITIONS} of {PARTITIONS}")
        await kept(page, "demo")
        await page.close()


async def all_pictures() -> None:
    """Set up, tell, take them."""
    expect.set_options(timeout=PATIENCE_MS)
    async with a_browser() as browser:
        await the_page(browser)
        await the_demo(browser)


def main() -> int:
    """Take them; 1 where that is not possible, with a sentence."""
    try:
        asyncio.run(all_pictures())
    except (Failed, KafkaUnavailable, Late, NoChromium) as error:
        print(f"No pictures: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
