"""Readers while workers fail: the short form of `python -m tests.availability`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dev.kafka import Kafka
from tests.availability import CASES, Scene, Seen, see
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster

READS_PER_S, EVENTS_PER_S = 200, 300
PARTITIONS = 6


@pytest.fixture
async def scene(kafka: Kafka, tmp_path: Path) -> AsyncIterator[Scene]:
    """Three workers and traffic."""
    cluster = Cluster(kafka.bootstrap, tmp_path, PARTITIONS)
    try:
        await cluster.create_topics()
        await cluster.start("a", "b", "c")
        await cluster.settled()
        with cluster.feeding(a_shop(partitions=PARTITIONS), rate=EVENTS_PER_S) as feeder:
            await feeder.more(1_000)
            yield Scene(kafka, cluster, feeder, [])
    finally:
        cluster.close()


def assert_honest(seen: Seen) -> None:
    assert not seen.verdict.wrong, seen.verdict.wrong[:5]
    assert not seen.verdict.back, seen.verdict.back[:5]


@pytest.mark.alone
async def test_a_killed_owner_costs_readers_two_seconds_and_no_wrong_answer(scene: Scene) -> None:
    seen = await see(CASES["killed"], scene, READS_PER_S)

    assert_honest(seen)
    assert not seen.later, seen.broken
    assert seen.verdict.roles["standby"] > 0, "no standby was needed: nobody was killed"


@pytest.mark.alone
async def test_a_clean_stop_costs_readers_nothing(scene: Scene) -> None:
    seen = await see(CASES["stopped"], scene, READS_PER_S)

    assert_honest(seen)
    assert not seen.verdict.failed, seen.broken
