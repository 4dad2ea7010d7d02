"""Real workers on logs that were compacted or cut while some of them were down."""

from pathlib import Path

import aiohttp
import pytest

from core.stages import Role
from dev.kafka import start
from dev.oracle.stock import partition_of, sku_in
from dev.workers import Worker, until
from tests.support.breaking import faults
from tests.support.breaking.faults import under_load
from tests.support.breaking.kafka_tools import set_topic
from tests.support.cluster import lives
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster
from tests.support.judges.oracle import changelog_topic
from tests.support.topics.logs import cut
from tests.torture.test_long_faults import EAGER

PARTITIONS = 2
BROKER = {"log.cleaner.backoff.ms": 500, "log.segment.delete.delay.ms": 2_000}

each_store = pytest.mark.parametrize("store", ["rocksdb", "memory"])


async def sold_one_of_each(worker: Worker, partitions: int) -> None:
    """One event on each partition."""
    lines = [
        {"id": f"{p}", "source": "quiet", "sku": sku_in(p, partitions), "location": "here",
         "quantity": 1}
        for p in range(partitions)
    ]  # fmt: skip
    async with aiohttp.request("POST", f"{worker.url}/v1/sales", json=lines) as response:
        assert response.status == 202, await response.text()


async def test_a_kill_on_a_quiet_partition_then_compaction_and_a_restart_restore_nothing_anew(
    tmp_path: Path,
) -> None:
    with start(settings=BROKER) as kafka:
        cluster = Cluster(kafka.bootstrap, tmp_path, PARTITIONS, settings=dict(faults.SETTINGS))
        try:
            async with under_load(cluster, "a", "b") as load:
                await set_topic(kafka.bootstrap, changelog_topic(cluster.name), EAGER)
                await load.more(8_000, timeout_s=120)
                a, b = cluster.worker("a"), cluster.worker("b")
                with load.feeder.halted():
                    await cluster.caught_up()
                    a.kill()
                    await sold_one_of_each(b, PARTITIONS)
                    await cluster.owned_by({b.url}, 60)
                    await cluster.caught_up()
                # Behind what it had: commits, and a tail of markers.
                await faults.abort_garbage(load, rounds=3)
                await faults.compacted(cluster, timeout_s=240)
                await cluster.start("a")
                await cluster.settled()
                b.kill()  # so that only the other one tells
                await cluster.owned_by({a.url}, 60)
                for role in (Role.ACTIVE, Role.STANDBY):
                    assert not await lives.restores(cluster, role)
                await cluster.start("b")
        finally:
            cluster.close()


@each_store
async def test_a_source_cut_past_the_position_while_all_were_down_is_told_and_nothing_is_lost(
    tmp_path: Path, store: str
) -> None:
    with start() as kafka:
        settings = {**faults.SETTINGS, "ONHAND_STORE": store}
        cluster = Cluster(kafka.bootstrap, tmp_path, PARTITIONS, settings=settings)
        try:
            async with under_load(cluster, "a", "b"):
                pass
            before = await cluster.rows(cluster.worker("a"))
            for name in "ab":
                await cluster.worker(name).stop()
            with cluster.feeding(a_shop(partitions=PARTITIONS, run="down"), 5_000):
                pass
            for topic in cluster.sources:
                cut(kafka.bootstrap, topic, -1, 1)
            for name in "ab":
                cluster.launch(name)
            told = await _stands_still(cluster.worker("a"))
            assert "was cut or recreated under partition 1" in told
            answered = await cluster.rows(cluster.worker("a"))
            stopped = {key for key in before if partition_of(key[0], PARTITIONS) == 1}
            assert stopped
            assert {key: answered[key] for key in stopped} == {key: before[key] for key in stopped}
        finally:
            cluster.close()


async def _stands_still(worker: Worker) -> str:
    async def told() -> str:
        try:
            async with aiohttp.request("GET", f"{worker.url}/v1/cluster") as response:
                found = (await response.json())["partitions"][1]
        except aiohttp.ClientError:
            return ""  # not there yet
        holders = [found["active"], *found["standbys"], *found["loading"]]
        whys = [holder.get("stopped_because") for holder in holders if holder]
        return next(filter(None, whys), "")

    return await until(told, "standing still", 60, 0.5)
