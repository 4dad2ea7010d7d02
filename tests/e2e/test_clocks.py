"""Nothing that is kept or decided depends on a worker's clock: real processes, wrong clocks."""

import time

from dev.oracle.log import read_topics
from tests.clocks import HOUR_S, Clock
from tests.support.breaking.faults import under_load
from tests.support.cluster import lives
from tests.support.cluster.workers import Cluster
from tests.support.judges.oracle import changelog_topic

PARTITIONS = 4


async def test_workers_whose_clocks_are_wrong_and_are_stepped_count_and_hear_each_other(
    cluster: Cluster,
) -> None:
    began = time.time()
    ahead, behind = Clock(cluster, "a"), Clock(cluster, "b")
    ahead.step(HOUR_S)
    behind.step(-31 * 24 * HOUR_S)
    async with under_load(cluster, "a", "b") as load:
        # Wrong indeed, or this would prove nothing.
        assert ahead.first_seen() > began + HOUR_S / 2
        assert behind.first_seen() < began - HOUR_S / 2
        ahead.step(-HOUR_S)
        await load.committed_more(1_000)
        behind.step(HOUR_S)
        ahead.step(2 * HOUR_S)
        await load.committed_more(1_000)
        # Each still owns, answers and hears the other: nobody is asked about by an old heartbeat.
        assert len(set(await cluster.settled())) == 2
        assert not lives.said(cluster, "is gone")
        assert await cluster.worker("a").stop() == 0
        ahead.step(0)
        await load.committed_more(500)
        await cluster.start("a")
        await load.committed_more(500)
    lives.assert_nobody_was_fenced(cluster)

    kept = [
        changelog_topic(cluster.name), f"{cluster.name}-v1-dlq", f"{cluster.name}-members",
        *cluster.sources,
    ]  # fmt: skip
    times = [record.timestamp_ms / 1000 for record in read_topics(cluster.kafka, kept)]
    assert began - 60 < min(times)
    assert max(times) < time.time() + 60
