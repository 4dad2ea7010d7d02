"""The fault tests of `make torture` in short: one round of each."""

from pathlib import Path

import pytest

from dev.kafka import Kafka
from tests.support.breaking import faults
from tests.support.breaking.faults import under_load
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster

PARTITIONS = 6
SETTINGS = faults.SETTINGS


async def test_random_kills_and_wiped_disks_change_no_row(cluster: Cluster) -> None:
    async with under_load(cluster, "a", "b", "c") as load:
        await faults.random_kills(load, rounds=3, seed=1)


async def test_kills_in_a_backlog_change_no_row(cluster: Cluster) -> None:
    await cluster.create_topics()
    await faults.kills_in_a_backlog(cluster, rounds=1, records=100_000)


async def test_an_owner_that_slept_through_its_loss_changes_no_row(cluster: Cluster) -> None:
    async with under_load(cluster, "a", "b") as load:
        await faults.frozen_owner(load, "a", {"b"})
    await faults.wiped_and_restored(cluster)


# Not in `make test`: in one run of several the watch's question for the group's offsets was not
# answered for two minutes after the broker came back (librdkafka), and with it the watch stood
# still, while the workers went on committing. The watch now reads on; seen too seldom to trust.
@pytest.mark.torture
async def test_a_killed_and_a_frozen_broker_change_no_row(own_kafka: Kafka, tmp_path: Path) -> None:
    cluster = Cluster(own_kafka.bootstrap, tmp_path, PARTITIONS, settings=dict(SETTINGS))
    try:
        async with under_load(cluster, "a", "b") as load:
            await faults.broker_fault(load, own_kafka, own_kafka.kill, away_s=3)
            await faults.broker_fault(load, own_kafka, own_kafka.pause, away_s=3)
        assert all(worker.starts == 1 for worker in cluster.workers.values()), "nobody restarted"
    finally:
        cluster.close()


async def test_changelog_writes_that_are_refused_lose_nothing(cluster: Cluster) -> None:
    async with under_load(cluster, "a", "b") as load:
        await faults.writes_refused(load)


async def test_workers_that_join_and_leave_change_no_row(cluster: Cluster) -> None:
    async with under_load(cluster, "a", "b") as load:
        await faults.joins_and_leaves(load, rounds=1, every_records=1_500)


async def test_the_groups_offsets_do_not_matter(cluster: Cluster) -> None:
    async with under_load(cluster, "a") as load:
        await load.more(500)
    await faults.all_restarted(cluster, faults.group_misled)
    with cluster.feeding(a_shop(partitions=PARTITIONS, run="then"), 1_000):
        pass
    await cluster.assert_exact()


async def test_garbage_in_aborted_transactions_is_never_restored(cluster: Cluster) -> None:
    async with under_load(cluster, "a") as load:
        await faults.abort_garbage(load, rounds=3)
    await faults.wiped_and_restored(cluster)
