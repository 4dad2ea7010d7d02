"""Copies a shop's log to another cluster by MirrorMaker, as docs/operations.md says, and worse."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeAlias

from confluent_kafka import Producer

from dev.kafka import free_port
from dev.kafka.mirror import Mirror, recipe
from dev.oracle.log import read_topics
from dev.oracle.rows import NOTHING, Key, Row
from dev.oracle.stock import sku_in
from dev.workers import until
from tests.support.breaking.kafka_tools import transactional
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster

PARTITIONS = 4
FACTS = 4_000
COPY_S = 120.0

#: Topic, partition, key, value and headers of records, and how often each is there.
Records: TypeAlias = Counter[tuple[object, ...]]


def mirror_of(shop: Cluster, copy: Cluster, **changed: str) -> Mirror:
    """The recipe, with this test's addresses and one broker where it says three."""
    ours = {
        "shop.bootstrap.servers": shop.kafka,
        "copy.bootstrap.servers": copy.kafka,
        "shop->copy.topics": ",".join(shop.sources),
        "listeners": f"http://127.0.0.1:{free_port()}",
    }
    ones = {name: "1" for name in recipe() if name.endswith("replication.factor")}
    unknown = ours.keys() - recipe().keys()
    assert not unknown, f"the recipe does not set {unknown}"
    return Mirror({**recipe(), **ours, **ones, **changed}, copy.folder)


def a_fact(sku: str, n: int, **data: object) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "type": "inventory.sale.completed.v1",
            "source": "till-of-the-drill",
            "id": f"{n}",
            "data": {"sku": sku, "location": "drill", "quantity": 1, **data},
        }
    ).encode()


def told_in_transactions(cluster: Cluster) -> int:
    """A till that writes transactions; every other one it takes back. How many facts count."""
    topic, kept = cluster.sources[1], 0
    till = transactional(cluster.kafka, f"{cluster.name}-till")
    till.init_transactions(60)
    for n in range(20):
        till.begin_transaction()
        for partition in range(PARTITIONS):
            sku = sku_in(partition, PARTITIONS)
            till.produce(topic, a_fact(sku, n), sku.encode(), partition=partition)
        till.flush(60)
        if n % 2:
            till.abort_transaction(60)
        else:
            till.commit_transaction(60)
            kept += PARTITIONS
    return kept


def one_that_unpacks_beyond_a_mebibyte(cluster: Cluster) -> None:
    """It fits the topic when it is packed; a copier that unpacks it needs room."""
    sku = sku_in(0, PARTITIONS)
    producer = Producer(
        {
            "bootstrap.servers": cluster.kafka,
            "compression.type": "gzip",
            "message.max.bytes": 8 * 2**20,
            "log_level": 0,
        }
    )
    value = a_fact(sku, 10**6, note="x" * 2 * 2**20)
    producer.produce(cluster.sources[1], value, sku.encode(), partition=0)
    assert producer.flush(60) == 0


def facts_in(cluster: Cluster, *, committed: bool = True) -> Records:
    """Every record of the sources but what a copy cannot keep: its offset and its time."""
    records = read_topics(cluster.kafka, cluster.sources, committed=committed)
    return Counter((r.topic, r.partition, r.key, r.value, r.headers) for r in records)


async def filled(shop: Cluster) -> Records:
    """Tell the shop's log all that a copier meets; its facts."""
    await shop.create_topics()
    with shop.feeding(a_shop(partitions=PARTITIONS), FACTS):
        pass
    assert told_in_transactions(shop) > 0
    one_that_unpacks_beyond_a_mebibyte(shop)
    return facts_in(shop)


async def copied(mirror: Mirror, copy: Cluster, enough: Callable[[Records], bool]) -> None:
    """Let it copy until it is enough, killed once before it has noted how far it is."""
    mirror.start()
    try:
        await has_copied(mirror, copy, lambda found: found.total() > 0, committed=False)
        mirror.kill()
        mirror.start()
        await has_copied(mirror, copy, enough)
    finally:
        mirror.stop()


async def has_copied(
    mirror: Mirror, copy: Cluster, enough: Callable[[Records], bool], *, committed: bool = True
) -> None:
    async def there() -> bool:
        assert mirror.running, mirror.tail()
        return enough(facts_in(copy, committed=committed))

    try:
        await until(there, "copied: as much as is waited for", COPY_S, every_s=0.3)
    except AssertionError as late:
        raise AssertionError(f"{late}\n{mirror.tail()}") from None


def but_for_times(rows: Mapping[Key, Row]) -> dict[Key, Row]:
    return {key: row._replace(updated_at=NOTHING.updated_at) for key, row in rows.items()}
