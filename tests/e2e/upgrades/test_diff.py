"""Which rows the next rules change: planted differences are found, each with its cause."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import rocksdict
from confluent_kafka import Producer

from dev.kafka import Kafka
from dev.oracle.log import oracle_of
from dev.oracle.rows import row_from_json
from dev.oracle.stock import Oracle, partition_of, sku_in
from dev.workers import onhand, until
from domain.rows import row_key
from tests.support.cluster.upgrading import upgraded
from tests.support.cluster.workers import Cluster

PARTITIONS = 2
HERE = "here"
DAMAGED, VOIDED, BOTH, GIFT, HOT, CORRUPT = (f"SKU-{name}" for name in "ABCDEF")
SKUS = (DAMAGED, VOIDED, BOTH, GIFT, HOT, CORRUPT)


def voided(sku: str) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"void-{sku}",
            "source": "till-9",
            "type": "inventory.sale.voided.v1",
            "data": {"sku": sku, "location": HERE, "quantity": 2},
        }
    ).encode()


class Two:
    """One deployment with a worker of version 1 and one of version 2, both of this build."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.one = Cluster(kafka.bootstrap, folder, PARTITIONS)
        second = {"ONHAND_VERSION": "2"}
        self.two = Cluster(kafka.bootstrap, folder, PARTITIONS, name=self.one.name, settings=second)
        self.a, self.b = self.one.worker("a"), self.two.worker("b")

    async def upgrade(self, *arguments: str) -> tuple[int, str]:
        return await onhand("upgrade", *arguments, settings=self.one.settings, timeout_s=120)

    async def says(self, code: int, words: str, *arguments: str) -> str:
        return await upgraded(self.one.settings, *arguments, codes=[code], words=words)

    async def compared(self, code: int) -> dict[str, Any]:
        found, said = await self.upgrade("diff", "--json")
        assert found == code, said
        report: dict[str, Any] = json.loads(said.splitlines()[-1])
        return report

    async def post(self, url: str, path: str, line: Any, kind: str = "application/json") -> int:
        data = line if isinstance(line, bytes) else json.dumps(line).encode()
        headers = {"Content-Type": kind}
        async with (
            aiohttp.ClientSession() as http,
            http.post(url + path, data=data, headers=headers) as got,
        ):
            return got.status

    async def shop(self) -> None:
        """Facts that both rules count alike, and some that they do not."""
        for n, sku in enumerate(SKUS):
            line = {"source": "dock", "id": f"in-{n}", "sku": sku, "location": HERE}
            assert await self.post(self.a.url, "/v1/shipments", {**line, "quantity": 100}) == 202
            assert await self.post(self.a.url, "/v1/sales", {**line, "quantity": 10}) == 202
        for sku, reason in ((DAMAGED, "damaged"), (BOTH, "damaged"), (GIFT, "gift")):
            line = {"source": "till-9", "id": f"back-{sku}", "sku": sku, "location": HERE}
            line |= {"reason": reason}
            assert await self.post(self.a.url, "/v1/returns", {**line, "quantity": 1}) == 202
        event = "application/cloudevents+json"
        assert await self.post(self.a.url, "/v1/events", voided(VOIDED), event) == 400
        self.till(VOIDED, BOTH, VOIDED)  # one is said again

    def till(self, *skus: str) -> None:
        """A till of the next release takes sales back, and writes to Kafka by itself."""
        till = Producer({"bootstrap.servers": self.one.kafka, "partitioner": "murmur2_random"})
        for sku in skus:
            till.produce(self.one.sources[1], voided(sku), sku.encode())
        assert till.flush(30) == 0

    @asynccontextmanager
    async def selling(self) -> AsyncIterator[None]:
        """One row changes all the time meanwhile."""
        goes_on = True

        async def sell() -> None:
            n = 0
            while goes_on:
                n += 1
                line = {"source": "till-1", "id": f"{n}", "sku": HOT, "location": HERE}
                assert await self.post(self.a.url, "/v1/sales", {**line, "quantity": 1}) == 202

        task = asyncio.create_task(sell())
        try:
            yield
        finally:
            goes_on = False
            await task

    async def owned(self) -> None:
        """Version 2 owns everything."""

        async def so() -> bool:
            try:
                async with aiohttp.ClientSession() as http, http.get(f"{self.b.url}/ready") as got:
                    held = json.loads(await got.read())["partitions"]
            except aiohttp.ClientError:
                return False
            return bool(sum(one["role"] == "active" for one in held) == PARTITIONS)

        await until(so, "owned by version 2", 120, every_s=0.2)

    async def corrupted(self, sku: str) -> None:
        """Another number stands in a row of version 2 than was counted."""
        assert await self.b.stop() == 0
        group = f"{self.one.name}-v2"
        path = self.b.data / group / f"inventory-{partition_of(sku, PARTITIONS)}"
        store = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
        key = row_key(sku, HERE)
        row = msgspec.json.decode(store[key] or b"")
        store[key] = msgspec.json.encode({**row, "received": row["received"] + 1})
        store.close()
        self.two.launch("b")
        await self.owned()

    async def served(self, oracle: Oracle, version: int) -> None:
        """Every row of a version is what the oracle by its rules says."""
        expected = oracle.rows()
        async with aiohttp.ClientSession() as http:
            for (sku, location), row in expected.items():
                url = f"{self.a.url}/v1/inventory/{sku}/{location}?version={version}"
                async with http.get(url) as got:
                    body = json.loads(await got.read())
                assert (got.status, row_from_json(body)[1]) == (200, row), body


def causes(report: dict[str, Any]) -> dict[str, set[str]]:
    return {
        "+".join(cause["names"]): {one["sku"] for one in cause["examples"]}
        for cause in report["causes"]
    }


async def a_corrupt_row_is_found(both: Two, planted: dict[str, set[str]]) -> None:
    """And keeps the version from being promoted."""
    force = ("--force", "not-caught-up")
    await both.corrupted(CORRUPT)
    report = await both.compared(1)
    assert causes(report) == {**planted, "": {CORRUPT}}, report
    accept = ("--accept", "accepted-now,damaged-returns")
    wrong = f"1 of {len(SKUS)} rows differ without a reason"
    await both.says(1, wrong, "promote", "2", *force, *accept)
    code, said = await both.upgrade("diff", "--explain", CORRUPT, HERE)
    assert (code, "That is not what its log gives" in said) == (1, True), said
    code, said = await both.upgrade("diff", "--explain", BOTH, HERE)
    assert code == 0, said
    assert "refused: unknown_type" in said
    assert "damaged +1" in said


async def promoted(both: Two) -> None:
    """Both versions answer as the oracle by their rules; the new event is taken."""
    force = ("--force", "not-caught-up")
    accept = ("--accept", "accepted-now,damaged-returns")
    overrule = (*force, "--force", "unexplained-rows")
    await both.says(0, "", "promote", "2", *overrule, *accept)
    event = "application/cloudevents+json"
    assert await both.post(both.a.url, "/v1/events", voided(VOIDED), event) == 202
    await both.one.caught_up()
    settings = both.one
    for version, rules in ((1, 2), (2, 3)):
        oracle = oracle_of(
            settings.kafka, partitions=PARTITIONS, prefix=settings.prefix, rules=rules
        )
        if version == 2:
            oracle.history.pop((CORRUPT, HERE))
        await both.served(oracle, version)


async def test_planted_differences_are_found_with_their_causes_and_promote_asks_for_each(
    kafka: Kafka, tmp_path: Path
) -> None:
    assert {partition_of(sku, PARTITIONS) for sku in SKUS} == {0, 1}
    assert sku_in(0, PARTITIONS) not in SKUS
    both = Two(kafka, tmp_path)
    try:
        await both.one.create_topics()
        await both.one.start("a")
        await both.shop()
        code, said = await both.upgrade("stage", "2", "--note", "damaged returns")
        assert code == 0, said
        assert "rules 3 (active: 2)" in said
        both.two.launch("b")
        await both.owned()

        async with both.selling():
            report = await both.compared(0)
        planted = {
            "damaged-returns": {DAMAGED},
            "accepted-now": {VOIDED},
            "accepted-now+damaged-returns": {BOTH},
        }
        assert causes(report) == planted, report
        assert (report["rows"], report["differ"], report["unexplained"]) == (len(SKUS), 3, 0)
        force = ("--force", "not-caught-up")
        await both.says(1, "--accept accepted-now,damaged-returns", "promote", "2", *force)

        await a_corrupt_row_is_found(both, planted)
        await promoted(both)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{both.one.logs()}\n{both.two.logs()}") from None
    finally:
        both.one.close()
        both.two.close()
