"""Write the facts into Kafka and work out what the stock must become.

Alone: `python -m bench.facts.load --kafka HOST:PORT --events 50000 --prefix t1. --oracle t1.json`
"""

import argparse
import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.facts.events import SHOP, SOURCES, ZIPF, Fact, Shares, facts
from bench.facts.oracle import Oracle
from bench.harness.progress import Ticker, say

SOURCE_TOPIC_CONFIG = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": str(1 << 20),
}
# A retrying till repeats itself soon: within this many records of its topic,
# far inside the duplicates window of each partition.
REPEAT_WITHIN_RECORDS = 1_000
QUEUE_FULL_WAIT_S = 0.1


@dataclass(frozen=True)
class Load:
    """What to write: defaults are those of the published figures."""

    events: int = 1_000_000
    partitions: int = 12
    seed: int = 1
    skus: int = 10_000
    locations: int = 20
    repeats_percent: float = 0.0
    zipf: float = ZIPF
    shares: Shares = SHOP


def create_sources(kafka: str, prefix: str, partitions: int) -> None:
    """Create the three source topics, kept for ever, as the contract demands."""
    topics = [
        NewTopic(prefix + name, partitions, 1, config=SOURCE_TOPIC_CONFIG) for name in SOURCES
    ]
    admin = AdminClient({"bootstrap.servers": kafka})
    for created in admin.create_topics(topics).values():
        created.result()


def fact_producer(kafka: str, **extra: Any) -> Producer:
    """A producer that places keys as the Java client does (murmur2)."""
    return Producer(
        {
            "bootstrap.servers": kafka,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 20,
            "batch.size": 500_000,
            "compression.type": "lz4",
            "log_level": 3,  # errors; not that a coordinator is still loading
            "queue.buffering.max.messages": 1_000_000,
            **extra,
        }
    )


def send(producer: Producer, topic: str, fact: Fact) -> None:
    """Hand one fact to the producer, waiting while its queue is full."""
    while True:
        try:
            producer.produce(topic, fact.value, fact.sku.encode())
        except BufferError:
            producer.poll(QUEUE_FULL_WAIT_S)
        else:
            return


def with_repeats(stream: Iterable[Fact], percent: float, seed: int) -> Iterator[tuple[Fact, bool]]:
    """Mix in facts said before, unchanged, as a till does that saw no answer."""
    rng = random.Random(seed)
    said: deque[Fact] = deque(maxlen=REPEAT_WITHIN_RECORDS)
    for fact in stream:
        yield fact, False
        if percent:
            said.append(fact)
            if rng.random() * 100 < percent:
                yield rng.choice(said), True


def load(kafka: str, prefixes: dict[str, int], plan: Load) -> dict[str, Oracle]:
    """Write one stream to several topic sets: each prefix gets its first n events.

    Args:
        kafka: bootstrap servers.
        prefixes: events wanted, by topic prefix.
        plan: the stream; its `events` is not used here.
    Returns:
        One oracle for each prefix.
    """
    for prefix in prefixes:
        create_sources(kafka, prefix, plan.partitions)
    failures: list[str] = []
    producer = fact_producer(
        kafka,
        on_delivery=lambda error, _: failures.append(str(error)),
        **{"delivery.report.only.error": True},
    )
    oracles = {prefix: Oracle() for prefix in prefixes}
    ticker = Ticker()
    stream = facts(
        max(prefixes.values()),
        seed=plan.seed,
        skus=plan.skus,
        locations=plan.locations,
        zipf=plan.zipf,
        shares=plan.shares,
    )
    for number, (fact, repeat) in enumerate(with_repeats(stream, plan.repeats_percent, plan.seed)):
        for prefix, oracle in oracles.items():
            if oracle.events < prefixes[prefix]:
                send(producer, prefix + fact.topic, fact)
                _count(oracle, fact, repeat)
        if number % 5_000 == 0:
            producer.poll(0)
            ticker.say(f"loaded {number:,} of {max(prefixes.values()):,} events")
    undelivered = producer.flush(60)
    if undelivered or failures:
        raise RuntimeError(
            f"Kafka did not take {undelivered + len(failures):,} facts ({failures[:1]}): "
            "see its log, then run again with another prefix"
        )
    return oracles


def _count(oracle: Oracle, fact: Fact, repeat: bool) -> None:
    if repeat:
        oracle.repeats += 1
    else:
        oracle.count(
            kind=fact.kind, sku=fact.sku, location=fact.location, quantity=fact.quantity,
            source=fact.source, id=fact.id,
        )  # fmt: skip


def main() -> None:
    """Load one topic set and keep its oracle."""
    plan = Load()
    parser = argparse.ArgumentParser(prog="python -m bench.facts.load", description=__doc__)
    parser.add_argument("--kafka", required=True, help="bootstrap servers")
    parser.add_argument("--prefix", default="", help="goes before the three source topics")
    parser.add_argument("--events", type=int, default=plan.events)
    parser.add_argument("--partitions", type=int, default=plan.partitions)
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--skus", type=int, default=plan.skus)
    parser.add_argument("--locations", type=int, default=plan.locations)
    parser.add_argument("--repeats", type=float, default=0.0, help="percent of events said twice")
    parser.add_argument("--oracle", type=Path, required=True, help="file for the expected rows")
    given = parser.parse_args()
    plan = Load(
        given.events,
        given.partitions,
        given.seed,
        given.skus,
        given.locations,
        repeats_percent=given.repeats,
    )
    oracle = load(given.kafka, {given.prefix: given.events}, plan)[given.prefix]
    oracle.save(given.oracle)
    say(f"{oracle.records:,} records, {len(oracle.rows):,} rows expected: {given.oracle}")


if __name__ == "__main__":
    main()
