"""Real workers on a changelog that was compacted while one of them was down."""

from pathlib import Path

import aiohttp

from core.stages import Role
from dev.kafka import start
from dev.oracle import sku_in
from dev.workers import Worker
from tests import faults, lives
from tests.faults import under_load
from tests.kafka_tools import set_topic
from tests.oracle import changelog_topic
from tests.torture.test_long_faults import EAGER
from tests.workers import Cluster

PARTITIONS = 2
BROKER = {"log.cleaner.backoff.ms": 500, "log.segment.delete.delay.ms": 0}


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
