"""The Python client beside workers that are killed: no call fails, and none is wrong."""

from tests.support.cluster.workers import Cluster
from tests.support.http.callers import calling

PARTITIONS = 6


async def test_a_killed_owner_costs_the_client_no_call_and_no_own_write(cluster: Cluster) -> None:
    await cluster.create_topics()
    await cluster.start("a", "b", "c")
    owners = await cluster.settled()

    async with calling([worker.url for worker in cluster.alive], PARTITIONS) as callers:
        await callers.more(10)
        cluster.worker("b").kill()
        await callers.more(10)

    assert cluster.worker("b").url in owners, "nothing was owned by who was killed"
    oracle = await cluster.assert_exact()
    sent = {(caller.sku, "store-1"): caller.wrote for caller in callers.callers}
    assert {key: row.on_hand for key, row in oracle.rows().items()} == sent
