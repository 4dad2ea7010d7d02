"""Readers and writers go on through all doors while versions are promoted and rolled back."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from core.positions import epoch_in, parse_position
from dev.kafka import Kafka
from dev.oracle.stock import sku_in
from dev.workers import until
from tests.support.cluster.upgrading import upgraded
from tests.support.cluster.workers import Cluster
from tests.support.http.rowreader import RowReader

PARTITIONS = 2
SKUS = [sku_in(p, PARTITIONS) for p in range(PARTITIONS)]


class Read(NamedTuple):
    """One answer, and through which worker."""

    door: str
    began: float
    ended: float
    sku: str
    status: int
    version: int
    epoch: int
    position: dict[tuple[str, int], int]
    on_hand: int
    problem: str


class Load:
    """An open loop: each request at its time, whatever became of the one before."""

    def __init__(self, doors: list[str], prefix: str) -> None:
        self.doors, self.prefix = doors, prefix
        self.reads: list[Read] = []
        self.lists: list[tuple[int, str]] = []
        self.failed: list[str] = []
        self.sold = 0

    @asynccontextmanager
    async def running(self, per_s: float = 40) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            goes_on = True
            tasks: set[asyncio.Task[None]] = set()

            async def pace() -> None:
                number, at = 0, time.monotonic()
                while goes_on:
                    number += 1
                    door = self.doors[number % len(self.doors)]
                    work = self._one(http, door, number)
                    task = asyncio.create_task(work)
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    at += 1 / per_s
                    await asyncio.sleep(max(0, at - time.monotonic()))

            pacing = asyncio.create_task(pace())
            try:
                yield
            finally:
                goes_on = False
                await pacing
                await asyncio.gather(*tasks)

    async def every_door_answers(self, version: int, times: int = 10) -> None:
        """Wait until the newest answers of every door, so many, are of this version."""

        async def answers() -> bool:
            newest = [[r.version for r in self.reads if r.door == d][-times:] for d in self.doors]
            return all(versions == [version] * times for versions in newest)

        await until(answers, f"every door answers from version {version}", 120)

    async def _one(self, http: aiohttp.ClientSession, door: str, number: int) -> None:
        try:
            if number % 5 == 0:
                await self._sell(http, door, number)
            elif number % 7 == 0:
                async with http.get(f"{door}/v1/inventory?limit=10") as got:
                    self.lists.append((got.status, await got.text()))
            else:
                await self._read(http, door, SKUS[number % 2])
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failed.append(f"{door}: {error!r}")

    async def _read(self, http: aiohttp.ClientSession, door: str, sku: str) -> None:
        began = time.monotonic()
        async with http.get(f"{door}/v1/inventory/{sku}/here") as got:
            body: dict[str, Any] = json.loads(await got.read())
        fresh = body.get("freshness", {})
        token = fresh.get("position", "")
        epoch = fresh.get("epoch", 0)
        problem = "" if got.status == 200 and epoch_in(token) == epoch else json.dumps(body)
        self.reads.append(
            Read(
                *(door, began, time.monotonic(), sku, got.status),
                *(fresh.get("version", 0), epoch, parse_position(token)),
                *(body.get("on_hand", 0), problem),
            )
        )

    async def _sell(self, http: aiohttp.ClientSession, door: str, number: int) -> None:
        line = {"source": "till", "id": str(number), "sku": SKUS[0], "location": "here"}
        async with http.post(f"{door}/v1/sales", json={**line, "quantity": 1}) as got:
            if got.status == 202:
                self.sold += 1
            else:
                self.failed.append(f"{door}: {got.status} {await got.text()}")

    def verdict(self) -> None:
        assert not self.failed, self.failed[:3]
        assert not [one for one in self.reads if one.problem], [
            one for one in self.reads if one.problem
        ][:2]
        assert {status for status, _ in self.lists} == {200}
        self.never_back()

    def never_back(self) -> None:
        """Through one door neither epoch nor position goes back."""
        seen: dict[tuple[str, str], list[Read]] = defaultdict(list)
        for one in self.reads:
            seen[one.door, one.sku].append(one)
        for reads in seen.values():
            reads.sort(key=lambda one: one.began)
            ended = sorted(reads, key=lambda one: one.ended)
            done, epoch = 0, 0
            highest: dict[tuple[str, int], int] = {}
            for one in reads:
                while ended[done].ended < one.began:
                    before = ended[done]
                    epoch = max(epoch, before.epoch)
                    for place, offset in before.position.items():
                        highest[place] = max(offset, highest.get(place, 0))
                    done += 1
                assert one.epoch >= epoch, (one, epoch)
                for place, offset in highest.items():
                    assert one.position.get(place, -1) >= offset, (one, highest)


async def owns_all(url: str) -> bool:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/ready") as got:
        held = json.loads(await got.read())["partitions"]
    return bool(sum(one["role"] == "active" for one in held) == PARTITIONS)


async def get(url: str) -> tuple[int, Any, dict[str, Any]]:
    async with aiohttp.ClientSession() as http, http.get(url) as got:
        return got.status, got.headers, json.loads(await got.read())


async def deliver(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        for sku in SKUS:
            line = {"source": "d", "id": sku, "sku": sku, "location": "here", "quantity": 10_000}
            async with http.post(f"{url}/v1/shipments", json=line) as got:
                assert got.status == 202


async def previews(doors: list[str]) -> None:
    """A staged version answers who names it, through any door; nobody else."""
    path = f"/v1/inventory/{SKUS[0]}/here"
    for door in doors:
        for query, version in (("", 1), ("?version=2", 2), ("?version=1", 1)):
            status, headers, _ = await get(f"{door}{path}{query}")
            assert (status, headers["Onhand-Version"]) == (200, str(version))
            assert headers["ETag"].startswith(f'W/"v{version}-')
    status, _, body = await get(f"{doors[0]}{path}?min_position=control@9&wait_ms=0")
    assert (status, body["type"]) == (503, "/problems/not-caught-up")


async def has_all(readers: list[RowReader], load: Load) -> None:
    """Nothing was lost on the way."""

    async def all_have() -> bool:
        return all(one.on_hand(SKUS[0], "here") == 10_000 - load.sold for one in readers)

    await until(all_have, "told: all that was sold", 60)


def goes_over_by_resets(reader: RowReader) -> None:
    """Each switch is one reset, and behind it comes nothing of the version before.

    A reader that is too slow for a switch and its rollback has missed both.
    """
    assert reader.resets.count("other-table") <= 2, reader.told
    epochs = [epoch for _, epoch in reader.told]
    assert epochs == sorted(epochs), reader.told
    for (_, before), (event, after) in pairwise(reader.told):
        assert after == before or event == "reset", reader.told


async def test_promote_and_rollback_fail_no_request_and_no_door_goes_back(
    kafka: Kafka, tmp_path: Path
) -> None:
    one = Cluster(kafka.bootstrap, tmp_path, PARTITIONS)
    two = Cluster(
        kafka.bootstrap, tmp_path, PARTITIONS, name=one.name, settings={"ONHAND_VERSION": "2"}
    )
    a, b = one.worker("a"), two.worker("b")

    async def staged() -> bool:
        try:
            return await owns_all(b.url)
        except aiohttp.ClientError:
            return False

    try:
        await one.create_topics()
        await one.start("a")
        await deliver(a.url)
        await upgraded(one.settings, "stage", "2")
        two.launch("b")
        await until(staged, "owned by version 2", 90, every_s=0.2)
        await one.caught_up()
        await previews([a.url, b.url])

        load = Load([a.url, b.url], one.prefix)
        force = ("--force", "not-caught-up")
        readers = [RowReader(a.url), RowReader(b.url)]
        async with readers[0].following(), readers[1].following():
            async with load.running():
                assert "2 of 2 workers" in await upgraded(one.settings, "promote", "2", *force)
                await load.every_door_answers(2)
                assert "2 of 2 workers" in await upgraded(one.settings, "rollback", *force)
                await load.every_door_answers(1)
            await has_all(readers, load)

        load.verdict()
        for reader in readers:
            goes_over_by_resets(reader)
        for door in (a.url, b.url):
            versions = [r.version for r in load.reads if r.door == door]
            assert {1, 2} == set(versions), door
            assert (versions[0], versions[-1]) == (1, 1)
        await one.caught_up()
        for door in (a.url, b.url):
            _, _, body = await get(f"{door}/v1/inventory/{SKUS[0]}/here")
            assert body["on_hand"] == 10_000 - load.sold
    except AssertionError as error:
        raise AssertionError(f"{error}\n{one.logs()}\n{two.logs()}") from None
    finally:
        one.close()
        two.close()
