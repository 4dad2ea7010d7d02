"""`make screenshots`: the page as docs/page/ shows it, from real workers over a shop's facts."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from confluent_kafka import Producer
from playwright.async_api import Browser, Page, expect

from dev.browser import PATIENCE_MS, NoChromium, a_browser
from dev.demo.stage import PARTITIONS, Stage, staged
from dev.demo.steps import Failed, all_owned, an_audit, port, stop
from dev.demo.watched import watched
from dev.kafka import KafkaUnavailable, free_port
from dev.traffic.sending import run_tag
from dev.traffic.shop import Shop
from dev.workers import LEDGER, ROOT, Late, Worker, onhand, until

FOLDER = ROOT / "docs" / "page"
SKUS, STORES, ROUNDS = 40, 5, 14
DEMO_EVENTS_PER_S, DEMO_EVENTS = 200, 2_000
TEA = ("TEA-1", "store-001")
ROW = f"#/row/{TEA[0]}/{TEA[1]}"
RULES = """[[rule]]
name = "low"
below = 10
above = 14

[[rule]]
name = "oversold"
below = 0
"""
#: What the receiver of alerts never takes.
UNWANTED = "SKU-000002"
#: A day's table, with one line of each kind.
TABLE = """item,place,count,kind
TEA-1,store-002,5,sale
TEA-1,store-003,2,sale
TEA-1,store-004,two,sale
TEA-1,store-004,1,deposit
"""
MAP = """[columns]
sku = "item"
location = "place"
quantity = "count"
kind = "kind"
[words.kind]
sale = "sold"
deposit = "ignored"
"""


#: Each view, and what must be seen before it is taken.
VIEWS = {
    "#/": "table.stock tbody tr",
    ROW: ".proof .good >> nth=1",
    "#/feed": ".none",
    "#/alerts": "table tbody tr >> text=nobody took it >> visible=true",
    "#/documents": ".letters > li",
    "#/dead-letters": ".letters > li >> nth=2",
    "#/cluster": f"table tbody tr >> nth={PARTITIONS - 1}",
    "#/audit": f"table tbody tr >> nth={PARTITIONS - 1}",
    "#/calls": ".calls dt",
}


class Picture(NamedTuple):
    """One file: an address on the page, and how large it is."""

    name: str
    address: str
    width: int = 1280
    height: int = 800
    scheme: str = "light"


PICTURES = (
    Picture("board", "#/"),
    Picture("row", ROW, height=1000),
    Picture("alerts", "#/alerts"),
    Picture("documents", "#/documents", height=500),
    Picture("dead-letters", "#/dead-letters"),
    Picture("audit", "#/audit", height=600),
    Picture("phone", "#/", 390),
    Picture("dark", ROW, height=1000, scheme="dark"),
)
#: Of each view on one sheet: on a desk and on a phone, in both themes.
SIZES = ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"))
SHEET_SCALE = 0.36


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


async def load(http: aiohttp.ClientSession, url: str) -> None:
    """Two tables, without the line that is refused."""
    for name, more in (("2026-11-23.csv", ""), ("2026-11-24.csv", "TEA-1,store-005,1,sale\n")):
        form = aiohttp.FormData()
        form.add_field("file", (TABLE + more).encode(), filename=name)
        form.add_field("map", MAP.encode(), filename="map.toml")
        async with http.post(f"{url}/v1/documents?leave_out_refused=true", data=form) as response:
            if response.status != 202:
                raise Failed(f"POST /v1/documents: {response.status} {await response.text()}")


@asynccontextmanager
async def told(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Settings of alerts, and who is told, until the end of the block."""

    async def take(request: web.Request) -> web.Response:
        message = json.loads(await request.read())
        return web.Response(status=503 if message["data"]["sku"] == UNWANTED else 204)

    rules, secret = folder / "rules.toml", folder / "alerts.secret"
    rules.write_text(RULES)
    secret.write_text("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    secret.chmod(0o600)
    app, at = web.Application(), free_port()
    app.router.add_post("/stock-alerts", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", at).start()
        yield {
            "ONHAND_ALERTS": str(rules),
            "ONHAND_ALERTS_SECRET": str(secret),
            "ONHAND_ALERTS_URL": f"http://127.0.0.1:{at}/stock-alerts",
            "ONHAND_ALERTS_WAITS_S": "1,1",
        }
    finally:
        await runner.cleanup()


async def watch_the_feed(browser: Browser, http: aiohttp.ClientSession, url: str) -> None:
    """Facts while they come, one of them twice, and one under an id that was taken."""
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    await page.goto(f"{url}/#/feed")
    await page.locator(".none").wait_for()
    for n in range(12):
        sale: dict[str, Any] = {
            "source": f"till-{n % 4 + 1}",
            "id": f"live-{n}",
            "sku": f"SKU-{n % 7:06}",
        }
        sale |= {"location": f"store-{n % STORES + 1:03}", "quantity": n % 3 + 1}
        await post(http, url, "sales", [sale])
        if n % 5 == 3:
            await post(http, url, "sales", [sale | {"quantity": n - 1}])
        if n % 5 == 4:
            await post(http, url, "sales", [sale])
    await page.locator(".facts tbody tr >> nth=14").wait_for()
    await kept(page, "feed")
    await page.close()


@asynccontextmanager
async def opened(browser: Browser, url: str, picture: Picture) -> AsyncIterator[Page]:
    """The view, as it is to be taken."""
    size = {"width": picture.width, "height": picture.height}
    scheme: Any = picture.scheme
    context = await browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    await page.goto(f"{url}/{picture.address}")
    await page.locator(VIEWS[picture.address]).first.wait_for()
    yield page
    await context.close()


async def photograph(browser: Browser, url: str, picture: Picture) -> None:
    """Take one picture."""
    async with opened(browser, url, picture) as page:
        if picture.name == "dead-letters":
            await page.locator("summary").first.click()
        await kept(page, picture.name)


async def all_sizes(browser: Browser, url: str) -> None:
    """One sheet with every view in every size and theme."""
    sheet = ""
    for address in VIEWS:
        for width, scheme in SIZES:
            async with opened(browser, url, Picture("", address, width, scheme=scheme)) as page:
                taken = base64.b64encode(await page.screenshot()).decode()
            sheet += f'<img src="data:image/png;base64,{taken}" width="{width * SHEET_SCALE:.0f}"> '
        sheet += "<br>"
    page = await browser.new_page()
    await page.set_content(f'<body style="margin:12px;background:#888;width:max-content">{sheet}')
    await page.locator("body").screenshot(path=FOLDER / "sizes.png")
    print("docs/page/sizes.png", flush=True)
    await page.close()


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
async def a_cluster(names: str, *, is_whole: bool) -> AsyncIterator[tuple[Stage, list[Worker]]]:
    """Workers with these names on a Kafka of their own, which own all partitions.

    `is_whole`: there are a ledger, an audit and alerts.
    """
    with tempfile.TemporaryDirectory(prefix="onhand-page-") as name, staged(Path(name)) as stage:
        async with told(Path(name)) as alerts:
            settings = {**stage.variables, "ONHAND_SESSION_TIMEOUT_MS": "6000"}
            settings |= alerts if is_whole else {}
            async with _workers(names, Path(name), settings, is_whole=is_whole) as workers:
                yield stage, workers


@asynccontextmanager
async def _workers(
    names: str, folder: Path, settings: dict[str, str], *, is_whole: bool
) -> AsyncIterator[list[Worker]]:
    code, said = await onhand("topics", "create", settings=settings)
    if code:
        raise Failed(said)
    workers = [Worker(n, folder, settings, port(6066 + i)) for i, n in enumerate(names)]
    ledger = Worker("ledger", folder, settings, port(6166), command=LEDGER)
    audit = an_audit(workers, ledger)
    answering = [*workers, *([ledger] if is_whole else [])]
    try:
        for worker in answering:
            worker.start()
        for worker in answering:
            await worker.ready()
        await all_owned(workers)
        if is_whole:
            audit.start()
        yield workers
    finally:
        await stop([*answering, audit])


async def the_page(browser: Browser) -> None:
    """Its views, over facts that a shop told."""
    async with a_cluster("abc", is_whole=True) as (stage, workers):
        async with aiohttp.ClientSession() as http:
            await tell(http, workers[0].url)
            await load(http, workers[0].url)
            await watch_the_feed(browser, http, workers[0].url)
        spoil(stage.settings.kafka)
        for picture in PICTURES:
            await photograph(browser, workers[0].url, picture)
        await all_sizes(browser, workers[0].url)
        await watch_a_kill(browser, workers[0].url, workers[1])


async def the_demo(browser: Browser) -> None:
    """Its panel, after a visitor has killed a worker."""
    shop = Shop(seed=1, skus=SKUS, stores=STORES, partitions=PARTITIONS, run=run_tag())
    async with (
        a_cluster("ab", is_whole=False) as (stage, workers),
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
