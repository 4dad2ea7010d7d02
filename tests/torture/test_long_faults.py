"""The fault tests in full: many rounds, each on commits in flight, the figures for the docs.

Every test ends as the short ones do: each row, `events` and `checksum` equal the
oracle's, dead letters complete and single, no wrong answer, nothing durable ahead
of the committed changelog at any time.
"""

import os
from pathlib import Path

from dev.kafka import Kafka, start
from tests.support.breaking import faults
from tests.support.breaking.faults import Load, under_load
from tests.support.breaking.kafka_tools import forget_group, set_topic
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster
from tests.support.judges.oracle import changelog_topic, read_changelog
from tests.support.judges.record import record

PARTITIONS = 12
SETTINGS = faults.SETTINGS
HEAVY_PER_S = 8_000
SEED = int(os.environ.get("TORTURE_SEED", "1"))


def on(kafka: Kafka, folder: Path, partitions: int = PARTITIONS) -> Cluster:
    return Cluster(kafka.bootstrap, folder, partitions, settings=dict(SETTINGS))


async def test_fifty_random_kills_with_three_workers(cluster: Cluster) -> None:
    async with under_load(cluster, "a", "b", "c", seed=SEED) as load:
        await faults.random_kills(load, rounds=50, seed=SEED)
    cut = faults.cut_records(cluster)
    assert cut > 0, "no kill fell on a commit in flight"
    record("50 random `kill -9`, 3 workers, every third with its disk wiped", load, cut)


async def test_kills_in_heavy_traffic(cluster: Cluster) -> None:
    async with under_load(cluster, "a", "b", "c", seed=SEED, rate=HEAVY_PER_S) as load:
        await faults.kills_in_heavy_traffic(load, rounds=10, seed=SEED)
    what = f"10 random `kill -9` at {HEAVY_PER_S:,} events/s, decoding processes killed before each"
    record(what, load, faults.cut_records(cluster))


async def test_owners_that_sleep_through_their_loss(cluster: Cluster) -> None:
    async with under_load(cluster, "a", "b", seed=SEED) as load:
        for n in range(6):
            await faults.frozen_owner(load, "ab"[n % 2], {"ba"[n % 2]})
    await faults.wiped_and_restored(cluster)
    record("6 × SIGSTOP of an owner past its session, then all disks wiped", load)


async def test_a_broker_that_stops_dies_and_freezes(tmp_path: Path) -> None:
    with start() as kafka:
        cluster = on(kafka, tmp_path)
        try:
            async with under_load(cluster, "a", "b", seed=SEED) as load:
                for _ in range(3):
                    await faults.broker_fault(load, kafka, kafka.kill, away_s=1)
                    await faults.broker_fault(load, kafka, kafka.pause, away_s=5)
                    await faults.broker_fault(load, kafka, kafka.restart, away_s=0)
                await faults.broker_fault(load, kafka, kafka.kill, away_s=30)
            assert all(worker.starts == 1 for worker in cluster.workers.values())
        finally:
            cluster.close()
    record("broker 4 × killed (once for 30 s), 3 × frozen for 5 s, 3 × restarted", load)


async def test_leaders_that_move(tmp_path: Path) -> None:
    with start(brokers=3) as kafka:
        cluster = on(kafka, tmp_path)
        cluster.settings["ONHAND_REPLICATION"] = "3"
        try:
            # The coordinator of a transaction finds the next leader within seconds.
            async with under_load(cluster, "a", "b", seed=SEED, decided_s=30) as load:
                for broker in (1, 2, 3):
                    kafka.kill(broker)
                    await load.committed_more(1_000, timeout_s=120)
                    kafka.restart(broker)
                    await load.committed_more(1_000, timeout_s=120)
        finally:
            cluster.close()
    record("3 brokers, each killed and started again in turn", load)


async def test_changelog_writes_refused_again_and_again(cluster: Cluster) -> None:
    async with under_load(cluster, "a", "b", seed=SEED) as load:
        for _ in range(4):
            await faults.writes_refused(load)
    record("4 × changelog's `max.message.bytes` lowered, then raised", load)


async def test_workers_come_and_go_for_minutes(cluster: Cluster) -> None:
    async with under_load(cluster, "a", "b", seed=SEED) as load:
        await faults.joins_and_leaves(load, rounds=9, every_records=5_000)
    record("9 joins and 9 leaves, one every 10 s", load)


async def test_a_group_that_was_forgotten(cluster: Cluster) -> None:
    async def forgotten(cluster: Cluster) -> None:
        await forget_group(cluster.kafka, f"{cluster.name}-v1")

    async with under_load(cluster, "a", "b", seed=SEED) as load:
        pass
    for mishap in (forgotten, faults.group_misled):
        await faults.all_restarted(cluster, mishap)
        shop = a_shop(partitions=PARTITIONS, run=mishap.__name__)
        with cluster.feeding(shop, 5_000):
            pass
        await cluster.assert_exact()
    record("group's offsets deleted, then all set to 7", load)


async def test_a_compacted_changelog_gives_every_row_back(tmp_path: Path) -> None:
    with start(settings={"log.cleaner.backoff.ms": 500}) as kafka:
        cluster = on(kafka, tmp_path, partitions=2)
        try:
            async with under_load(cluster, "a", "b", seed=SEED) as load:
                await set_topic(kafka.bootstrap, changelog_topic(cluster.name), EAGER)
                await faults.abort_garbage(load, rounds=5)
                await load.more(40_000, timeout_s=120)
            kept = await faults.compacted(cluster)
            await faults.wiped_and_restored(cluster)
        finally:
            cluster.close()
    record(f"changelog compacted ({kept}), aborted garbage in it, all disks wiped", load)


EAGER = {
    "segment.bytes": str(2**20),
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "1000",
    "segment.ms": "1000",
}


async def test_transactional_ids_that_expired_while_nothing_was_sold(tmp_path: Path) -> None:
    expire = {
        "transactional.id.expiration.ms": 3_000,
        "transaction.remove.expired.transaction.cleanup.interval.ms": 500,
        "producer.id.expiration.ms": 3_000,
        "producer.id.expiration.check.interval.ms": 500,
    }
    with start(settings=expire) as kafka:
        cluster = on(kafka, tmp_path)
        try:
            async with under_load(cluster, "a", "b", seed=SEED) as load:
                for _ in range(2):
                    await _idle(load)
            assert all(worker.starts == 1 for worker in cluster.workers.values())
        finally:
            cluster.close()
    record("2 × idle past `transactional.id.expiration.ms`", load)


async def _idle(load: Load) -> None:
    with load.feeder.halted():
        await faults.passes(10)
    await load.committed_more(1_000)


async def test_a_restore_is_the_same_on_another_number_of_workers(cluster: Cluster) -> None:
    async with under_load(cluster, "a", "b", "c", seed=SEED) as load:
        pass
    before = read_changelog(cluster.kafka, cluster.name)
    for worker in cluster.workers.values():
        worker.kill()
        worker.wipe()
    await cluster.start("d")
    await cluster.assert_exact(timeout_s=120)
    after = read_changelog(cluster.kafka, cluster.name)
    assert after.rows == before.rows
    record("3 workers' state rebuilt by 1", load)
