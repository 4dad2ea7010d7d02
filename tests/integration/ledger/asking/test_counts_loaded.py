"""`onhand load` holds a count against the stock of its moment, asked of a worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from dev.oracle.log import read_topics
from dev.workers import Worker, onhand, until
from tests.support.cluster.workers import LEDGER, Cluster

PARTITIONS = 2
PATIENCE_S = 120
MAP = """time_form = "rfc3339"

[columns]
sku = "sku"
quantity = "qty"
time = "at"
kind = "kind"

[constants]
location = "store-7"

[words.kind]
counted = "counted"
sold = "sold"
"""


async def get(url: str, **query: str) -> tuple[int, dict[str, Any]]:
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.request("GET", URL(url).update_query(query), timeout=timeout) as answer:
        return answer.status, await answer.json(content_type=None)


async def post(worker: Worker, kind: str, sku: str, quantity: int, time: str) -> None:
    body = {
        "source": "wms", "id": f"{sku}-{kind}", "sku": sku, "location": "store-7",
        "quantity": quantity, "time": time,
    }  # fmt: skip
    query = {"outcome": "true", "wait_ms": "10000"}
    async with aiohttp.request(
        "POST", URL(f"{worker.url}/v1/{kind}").update_query(query), json=body
    ) as answer:
        assert (await answer.json())["events"][0]["outcome"] == "applied"


class Loader:
    """Loads tables, and looks at rows, by one worker."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.worker = cluster.worker("a")
        self._folder = folder
        self._variables = cluster.settings | {"ONHAND_URL": self.worker.url}
        (folder / "m.toml").write_text(MAP)

    def row(self, sku: str) -> str:
        return f"{self.worker.url}/v1/inventory/{sku}/store-7"

    async def load(self, name: str, *rows: str, dry: bool = False) -> tuple[int, str]:
        path = self._folder / name
        path.write_text("\n".join(("sku,qty,at,kind", *rows, "")))
        words = ["load", str(path), "--map", str(self._folder / "m.toml")]
        words += ["--dry-run"] * dry
        return await onhand(*words, settings=self._variables, timeout_s=PATIENCE_S)

    async def holds(self, sku: str, on_hand: int) -> None:
        async def so() -> bool:
            _, row = await get(self.row(sku))
            return bool(row.get("on_hand") == on_hand)

        await until(so, f"{on_hand} of {sku}", PATIENCE_S)

    async def begin_ledger(self, cluster: Cluster) -> None:
        ledger = Worker("ledger", cluster.folder, cluster.settings, command=LEDGER)
        cluster.workers["ledger"] = ledger
        ledger.start()

        async def is_kept() -> bool:
            past = {"as_of": "2026-11-23T09:00:00Z", "clock": "occurred"}
            return (await get(self.row("A"), **past))[0] == 200

        await until(is_kept, "a ledger that answers", PATIENCE_S)


async def test_a_count_is_held_against_the_stock_of_its_moment_and_decided_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    await cluster.create_topics()
    await cluster.start("a")
    shop = Loader(cluster, tmp_path)

    # Nobody keeps history: what came after the last fact of its row can be told, and no more.
    await post(shop.worker, "shipments", "A", 10, "2026-11-23T09:00:00Z")
    _, row = await get(shop.row("A"))
    code, said = await shop.load("old.csv", "A,12,2026-11-23T09:00:00Z,counted")
    assert (code, "and nobody keeps what was there before" in said) == (1, True), said
    last = row["updated_at"]
    code, said = await shop.load("new.csv", f"A,12,{last},counted", f"N,3,{last},counted")
    assert (code, "2 counts = 2 adjusted." in said) == (0, True), said
    await shop.holds("A", 12)
    await shop.holds("N", 3)

    await shop.begin_ledger(cluster)
    await post(shop.worker, "shipments", "B", 10, "2026-11-23T09:00:00Z")
    await post(shop.worker, "sales", "B", 3, "2026-11-23T11:00:00Z")
    # Of the file's own sale the book knows, wherever it stands.
    rows = (
        "B,8,2026-11-23T10:00:00Z,counted",
        "B,1,2026-11-23T09:30:00Z,sold",
        "B,5,2026-11-23T11:30:00Z,counted",
    )
    code, said = await shop.load("stock.csv", *rows, dry=True)
    assert (code, "2 counts = 1 adjusted + 1 confirmed." in said) == (0, True), said
    first = next(line for line in said.splitlines() if "adjusted   B" in line)
    assert first.split()[:8] == ["line", "2", "adjusted", "B", "store-7", "8", "9", "-1"]

    code, said = await shop.load("stock.csv", *rows)
    assert (code, "3 facts were sent." in said) == (0, True), said
    assert "3 lines = 1 facts + 2 levels + 0 revocations + 0 not for stock + 0 refused." in said
    assert "2 counts = 1 adjusted + 1 confirmed." in said
    await shop.holds("B", 5)
    (sent,) = (
        json.loads(record.value or b"")
        for record in read_topics(cluster.kafka, cluster.sources)
        if b"file:stock.csv#2" in (record.value or b"")
    )
    assert (sent["onhandcounted"], sent["onhandbook"]) == ("8", "9")
    assert "shipments" in sent["onhandposition"]

    assert (await shop.load("stock.csv", *rows))[0] == 1
    code, said = await shop.load("late.csv", "B,9,2026-11-23T08:00:00Z,counted")
    assert (code, "was counted later, at 2026-11-23T10:00:00" in said) == (1, True), said
    await shop.holds("B", 5)
