"""Why the backup recipe of docs/operations.md has each of its lines: what happens without it."""

from pathlib import Path

import pytest

from dev.kafka import Kafka, start
from tests.support.cluster.drill import PARTITIONS, copied, facts_in, filled, has_copied, mirror_of
from tests.support.cluster.workers import Cluster


@pytest.mark.parametrize(
    "usual",
    [
        {"shop.consumer.isolation.level": "read_uncommitted"},
        {"exactly.once.source.support": "disabled"},
    ],
    ids=["what was taken back is copied", "a kill copies twice"],
)
async def test_with_the_usual_settings_the_copy_has_what_the_log_has_not(
    kafka: Kafka, tmp_path: Path, usual: dict[str, str]
) -> None:
    shop = Cluster(kafka.bootstrap, tmp_path, PARTITIONS)
    facts = await filled(shop)
    with start() as elsewhere:
        copy = Cluster(elsewhere.bootstrap, tmp_path, PARTITIONS, name=shop.name)
        await copy.create_topics()
        await copied(
            mirror_of(shop, copy, **usual), copy, lambda found: found.total() > facts.total()
        )

        assert (facts_in(copy) - facts).total() > 0


async def test_without_room_to_unpack_it_stops_at_one_record_and_lives_on(
    kafka: Kafka, tmp_path: Path
) -> None:
    shop = Cluster(kafka.bootstrap, tmp_path, PARTITIONS)
    facts = await filled(shop)
    with start() as elsewhere:
        copy = Cluster(elsewhere.bootstrap, tmp_path, PARTITIONS, name=shop.name)
        await copy.create_topics()
        mirror = mirror_of(shop, copy, **{"copy.producer.max.request.size": str(2**20)})
        mirror.start()
        try:
            with pytest.raises(AssertionError, match="not copied"):
                await has_copied(mirror, copy, lambda found: not facts - found)
            assert mirror.running
        finally:
            mirror.stop()
        assert (facts - facts_in(copy)).total() > 0
