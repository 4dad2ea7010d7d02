"""`onhand audit` on real workers: all agree, and whatever was planted is found, named, repaired."""

import asyncio
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from dev.kafka import Kafka
from dev.oracle.stock import partition_of
from dev.workers import Worker, onhand, until
from domain.rows import Row, decode_row, encode_row, row_key
from tables.home.rocks import RocksStores
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster

PARTITIONS = 2
LOCATION = "store 1"
#: For one command, on a machine that does much else.
PATIENCE_S = 300.0


@pytest.fixture
def cluster(kafka: Kafka, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(kafka.bootstrap, tmp_path, partitions=PARTITIONS)
    asyncio.run(cluster.create_topics())
    yield cluster
    cluster.close()


async def audit(cluster: Cluster, *words: str) -> tuple[int, str]:
    url = next(iter(cluster.alive)).url
    words = ("--url", url, *words)
    return await onhand("audit", *words, settings=cluster.settings, timeout_s=PATIENCE_S)


async def audited(cluster: Cluster, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """Its exit code and the copies of all partitions."""
    code, said = await audit(cluster, "--json", *words)
    partitions = json.loads(said.splitlines()[-1])["partitions"]
    return code, [copy for one in partitions for copy in one["copies"]]


def sku_of(partition: int, number: int) -> str:
    skus = (f"SKU-{n}" for n in range(100))
    return [sku for sku in skus if partition_of(sku, PARTITIONS) == partition][number]


async def some_facts(worker: Worker, source: str = "truck") -> None:
    """Of each SKU four shipments and two sales."""
    async with aiohttp.ClientSession() as http:
        for path, count in (("shipments", 4), ("sales", 2)):
            lines = [
                {"source": source, "id": f"{path}-{sku_of(p, s)}-{n}", "quantity": 10 * n + 7,
                 "sku": sku_of(p, s), "location": LOCATION}
                for p in range(PARTITIONS) for s in range(4) for n in range(count)
            ]  # fmt: skip
            async with http.post(f"{worker.url}/v1/{path}", json=lines) as answer:
                assert answer.status == 202, await answer.text()


async def each_has_both(cluster: Cluster) -> None:
    """Wait until every partition has an owner and a standby, as every worker has heard."""

    async def so() -> bool:
        for worker in cluster.alive:
            async with aiohttp.request("GET", f"{worker.url}/v1/cluster") as answer:
                held = (await answer.json())["partitions"]
            if not all(one["active"] and len(one["standbys"]) == 1 for one in held):
                return False
        return True

    await until(so, "held by both: each partition", 120, every_s=0.2)


class Shelf:
    """The stores of a worker that does not run."""

    def __init__(self, worker: Worker, cluster: Cluster) -> None:
        self._stores = RocksStores(worker.data / f"{cluster.name}-v1", "inventory")

    def change(self, sku: str, change: Any) -> None:
        """Write another row in the place of one, as damage without a trace would."""
        store = self._stores.open(partition_of(sku, PARTITIONS))
        key = row_key(sku, LOCATION)
        stored = store.get(key)
        assert stored is not None
        changed = change(decode_row(stored))
        puts = {} if changed is None else {key: encode_row(changed)}
        store.write(puts, [] if puts else [key], store.local)
        store.close()

    def close(self) -> None:
        self._stores.close()


def without(row: Row, path: str, ident: str, quantity: int, times: int = -1) -> Row:
    crc = zlib.crc32(f"truck\0{ident}".encode())
    field = "received" if path == "shipments" else "sold"
    return replace(
        row,
        events=row.events + times,
        checksum=(row.checksum + times * crc) % 2**64,
        **{field: getattr(row, field) + times * quantity},
    )


def plant(shelf: Shelf, partition: int) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """A dropped, a doubled and a changed fact, and a row that is gone; what must be said."""
    dropped, doubled, changed, gone = (sku_of(partition, n) for n in range(4))
    shelf.change(dropped, lambda row: without(row, "shipments", f"shipments-{dropped}-2", 27))
    shelf.change(doubled, lambda row: without(row, "sales", f"sales-{doubled}-1", 17, times=1))
    shelf.change(changed, lambda row: replace(row, sold=row.sold + 1_000))
    shelf.change(gone, lambda row: None)
    all_of_it = [f"shipments-{gone}-{n}" for n in range(4)] + [f"sales-{gone}-{n}" for n in (0, 1)]
    return {
        dropped: ("", [("missing", f"shipments-{dropped}-2")]),
        doubled: ("", [("twice", f"sales-{doubled}-1")]),
        changed: ("sold is +1,000", []),
        gone: ("", [("missing", ident) for ident in sorted(all_of_it)]),
    }


async def test_what_was_planted_under_a_stopped_worker_is_found_named_and_repaired(
    cluster: Cluster,
) -> None:
    await cluster.start("one", "two")
    await cluster.settled()
    one = cluster.worker("one")
    await some_facts(one)
    await cluster.caught_up()
    await each_has_both(cluster)
    code, copies = await audited(cluster)
    assert (code, len(copies)) == (0, 2 * PARTITIONS), copies
    assert all(copy["agrees"] and copy["rows"] == 4 for copy in copies), copies
    assert {copy["role"] for copy in copies} == {"active", "standby"}

    await one.stop()
    shelf = Shelf(one, cluster)
    planted = {sku: says for p in range(PARTITIONS) for sku, says in plant(shelf, p).items()}
    shelf.close()
    await cluster.start("one")
    await cluster.settled()
    await each_has_both(cluster)

    code, copies = await audited(cluster)
    assert code == 1
    wrong = {one["sku"]: one for copy in copies for one in copy["differences"]}
    assert {copy["where"] for copy in copies if copy["differences"]} == {one.url}
    for sku, (says, causes) in planted.items():
        found = [(c["what"], f["id"]) for c in wrong[sku]["causes"] for f in c["facts"]]
        assert sorted(found) == sorted(causes), wrong[sku]
        assert says in " ".join(wrong[sku]["says"])
    assert wrong.keys() == planted.keys()

    dropped = sku_of(0, 0)
    code, said = await audit(cluster, "--explain", dropped, LOCATION)
    assert code == 1
    assert f"missing: shipments-{dropped}-2 of truck (received 27, offset" in said
    assert "events 5, should be 6" in said
    await everything_is_repaired(cluster, list(planted))
    await assert_says_what_cannot_be_compared(cluster)


async def everything_is_repaired(cluster: Cluster, skus: list[str]) -> None:
    # Work goes on meanwhile: other rows change, and these as well.
    words = [word for sku in skus for word in ("--repair", sku, LOCATION)]
    with cluster.feeding(a_shop(partitions=PARTITIONS, skus=20), 1_500, rate=500) as feeder:
        await feeder.more(200)
        await some_facts(cluster.worker("one"), "more")
        code, said = await audit(cluster, *words)
    assert code == 0, said
    assert said.count("was repaired") == len(skus)
    # The changelog holds it, too: whoever restores has what is right.
    await cluster.assert_exact()
    code, said = await audit(cluster)
    assert code == 0
    assert f"rows of {2 * PARTITIONS} copies of {PARTITIONS} partitions compared: all agree" in said


async def assert_says_what_cannot_be_compared(cluster: Cluster) -> None:
    code, said = await onhand(
        "audit", "--url", "http://127.0.0.1:1", settings=cluster.settings, timeout_s=PATIENCE_S
    )
    assert (code, "No worker answers" in said) == (2, True)
    other = cluster.settings | {"ONHAND_DEDUP_WINDOW": "77"}
    code, said = await onhand(
        "audit", "--url", cluster.alive[0].url, settings=other, timeout_s=PATIENCE_S
    )
    assert code == 2
    assert "is of other rules (window 100000, here 77)" in said
