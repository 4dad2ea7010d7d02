"""The backup recipe of docs/operations.md, by real MirrorMaker between two real clusters.

It must copy every fact and nothing that was taken back, though it is killed where that hurts most:
after it has written, before it has noted how far. What it then writes twice must count once.
"""

from pathlib import Path

from dev.kafka import Kafka, start
from tests.support.cluster.drill import (
    PARTITIONS,
    but_for_times,
    copied,
    facts_in,
    filled,
    mirror_of,
)
from tests.support.cluster.workers import Cluster


async def test_a_copy_by_the_recipe_counts_to_the_same_rows(kafka: Kafka, tmp_path: Path) -> None:
    shop = Cluster(kafka.bootstrap, tmp_path, PARTITIONS)
    facts = await filled(shop)
    with start() as elsewhere:
        copy = Cluster(elsewhere.bootstrap, tmp_path, PARTITIONS, name=shop.name)
        await copy.create_topics()
        await copied(mirror_of(shop, copy), copy, lambda found: not facts - found)

        assert facts_in(copy).keys() == facts.keys()
        try:
            await copy.start("a")
            await copy.assert_exact()
            rows = await copy.rows(copy.worker("a"))
        finally:
            copy.close()
    assert but_for_times(rows) == but_for_times(shop.oracle().rows())
