"""The Python client through restarts of every worker."""

from tests.support.cluster.lives import rolled
from tests.support.cluster.workers import Cluster
from tests.support.http.callers import calling

PARTITIONS = 6


async def test_a_rolling_restart_costs_the_client_no_call(cluster: Cluster) -> None:
    await cluster.create_topics()
    await cluster.start("a", "b", "c")
    await cluster.settled()

    async with calling([worker.url for worker in cluster.alive], PARTITIONS) as callers:
        for name in "abc" * 3:
            await callers.more(10)
            await rolled(cluster, name, apart_s=0)
        await callers.more(10)

    await cluster.assert_exact()
