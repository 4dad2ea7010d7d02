"""A source topic that was deleted and made again holds other facts behind the same offsets."""

import aiohttp

from dev.reads.answers import ask
from dev.workers import until
from tests.support.breaking.kafka_tools import LOG_FOR_EVER, recreate
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster
from tests.support.judges.oracle import read_changelog

PARTITIONS = 4


async def test_its_partitions_stand_still_with_a_sentence_and_no_row_changes(
    cluster: Cluster,
) -> None:
    await cluster.create_topics()
    await cluster.start("a")
    with cluster.feeding(a_shop(partitions=PARTITIONS), 1_500):
        pass
    oracle = await cluster.assert_exact()
    worker = cluster.worker("a")
    await worker.stop()

    await recreate(cluster.kafka, f"{cluster.prefix}sales", PARTITIONS, LOG_FOR_EVER)
    with cluster.feeding(a_shop(partitions=PARTITIONS, seed=2, run="other"), 4_000):
        pass
    cluster.launch("a")

    async def all_stand_still() -> bool:
        return all(f"Partition {p} stands still." in worker.tail(500) for p in range(PARTITIONS))

    await until(all_stand_still, "standing still: all partitions", 60, every_s=0.2)
    assert "sales" in worker.tail(500)
    assert read_changelog(cluster.kafka, cluster.name).rows == oracle.rows()
    async with aiohttp.ClientSession() as http:
        for key, row in list(oracle.rows().items())[:50]:
            answer = await ask(http, worker.url, key)
            assert answer.status == 503 or (answer.role, answer.row) == ("standby", row), answer
