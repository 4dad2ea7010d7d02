"""Workers that come, go and restore at the same time, with the pauses that supervisors make."""

import pytest

from core.stages import Role
from tests.support.breaking.faults import passes, under_load
from tests.support.cluster import lives
from tests.support.cluster.workers import Cluster
from tests.support.judges.record import record

#: So that a worker nearly always holds something folded that it has not committed.
SETTINGS = {"ONHAND_COMMIT_INTERVAL_MS": "2000"}


@pytest.mark.parametrize("apart_s", [0.2, 2, 15])
async def test_three_workers_rolled_one_after_the_other(cluster: Cluster, apart_s: float) -> None:
    async with under_load(cluster, "a", "b", "c") as load:
        for names in ("abc", "cab"):
            await lives.rolled(cluster, names, apart_s)
            await load.committed_more(2_000)
    lives.assert_nobody_was_fenced(cluster)
    record(f"3 workers rolled twice, {apart_s:g} s apart", load)


async def test_two_workers_of_four_scaled_down_together(cluster: Cluster) -> None:
    async with under_load(cluster, "a", "b", "c", "d") as load:
        for pair in ("ab", "cd", "ad"):
            await lives.stopped_together(cluster, *pair)
            await load.committed_more(2_000)
            await cluster.start(*pair)
            await load.committed_more(2_000)
    lives.assert_nobody_was_fenced(cluster)
    record("3 × two of 4 workers stopped at one moment", load)


async def test_four_workers_started_with_empty_disks_restore_each_partition_at_most_twice(
    cluster: Cluster,
) -> None:
    await cluster.create_topics()
    lives.write_long_changelog(cluster, rows=150_000)
    for name in "abcd":
        cluster.launch(name)
        await passes(10)
    await lives.shared_by_all(cluster)
    restores = await lives.restores(cluster, Role.ACTIVE)
    assert set(restores) == {*range(cluster.partitions)}
    assert max(restores.values()) <= 2, restores
    lives.assert_nobody_was_fenced(cluster)
