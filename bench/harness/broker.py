"""What the bench asks Kafka itself: ends, committed offsets, a topic's latest values.

All through librdkafka, a client that no measured Python system uses.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from bench.facts.events import SOURCES
from bench.harness.progress import Ticker

TIMEOUT_S = 10.0
READ_AT_ONCE = 20_000


def reader(kafka: str, group: str = "bench-reader") -> Consumer:
    """A consumer that sees committed records only and never commits."""
    return Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.message.max.bytes": 8 << 20,
        }
    )


def partitions_of(consumer: Consumer, topic: str) -> list[TopicPartition]:
    """All partitions of a topic; none if it does not exist."""
    known = consumer.list_topics(timeout=TIMEOUT_S).topics.get(topic)
    return [TopicPartition(topic, number) for number in known.partitions] if known else []


def topics_named(kafka: str, wanted: Callable[[str], bool]) -> list[str]:
    """Names of existing topics that fit."""
    consumer = reader(kafka)
    try:
        return sorted(
            name for name in consumer.list_topics(timeout=TIMEOUT_S).topics if wanted(name)
        )
    finally:
        consumer.close()


class Growth:
    """Whether anything was written to a topic that may not exist yet."""

    def __init__(self, kafka: str, topic: str) -> None:
        self._consumer = reader(kafka)
        self._topic = topic

    def __call__(self) -> bool:
        """Asks partition by partition and stops at the first that holds something."""
        try:
            return any(
                self._consumer.get_watermark_offsets(partition, timeout=TIMEOUT_S)[1]
                for partition in partitions_of(self._consumer, self._topic)
            )
        except KafkaException:
            return False  # a partition just created has no leader for a moment


def wait_until_empty(kafka: str, group: str, timeout_s: float = 30.0) -> None:
    """Wait until the broker has forgotten a group's killed members.

    Otherwise the next start is measured together with their session timeout.
    """
    admin = AdminClient({"bootstrap.servers": kafka})
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = admin.describe_consumer_groups([group])[group].result()
        if found.state in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD):
            return
        time.sleep(0.2)
    raise TimeoutError(f"group {group} still has members after {timeout_s:.0f} s")


class GroupProgress:
    """How many source records a consumer group has committed.

    The sources hold no transaction markers (the loader uses none), so that
    offsets count records.
    """

    def __init__(self, kafka: str, prefix: str, group: str) -> None:
        self._consumer = reader(kafka, group)
        self._partitions = [
            partition
            for name in SOURCES
            for partition in partitions_of(self._consumer, prefix + name)
        ]

    def __call__(self) -> int:
        """Records committed, over all partitions of the three sources."""
        found = self._consumer.committed(self._partitions, timeout=TIMEOUT_S)
        return sum(max(0, partition.offset) for partition in found)

    def close(self) -> None:
        """Give the connection back."""
        self._consumer.close()


@dataclass
class Changelog:
    """A compacted topic as a committed reader sees it.

    Attributes:
        latest: last value by key.
        partition_of: where each key was last seen.
        records: data records read (markers and aborted ones do not count).
        size_bytes: keys and values read, uncompressed.
    """

    latest: dict[bytes, bytes] = field(default_factory=dict)
    partition_of: dict[bytes, int] = field(default_factory=dict)
    records: int = 0
    size_bytes: int = 0

    def take(self, partition: int, key: bytes, value: bytes | None) -> None:
        """Apply one record; no value deletes the key."""
        self.records += 1
        self.size_bytes += len(key) + len(value or b"")
        if value is None:
            self.latest.pop(key, None)
        else:
            self.latest[key] = value
            self.partition_of[key] = partition


def ends_of(kafka: str, topic: str) -> dict[int, int]:
    """The next offset of each partition of a topic."""
    consumer = reader(kafka)
    try:
        return {
            each.partition: consumer.get_watermark_offsets(each, timeout=TIMEOUT_S)[1]
            for each in partitions_of(consumer, topic)
        }
    finally:
        consumer.close()


def records_of(kafka: str, topic: str, since: Mapping[int, int] = {}) -> Iterator[Message]:
    """Committed records of a topic up to its end, from these offsets on; else from the first."""
    consumer = reader(kafka)
    try:
        reading = partitions_of(consumer, topic)
        if not reading:
            raise LookupError(f"Kafka has no topic {topic}: the system under test did not make it")
        starts = [TopicPartition(topic, p.partition, since.get(p.partition, 0)) for p in reading]
        consumer.assign(starts)
        at_end: set[int] = set()
        while len(at_end) < len(reading):
            for message in consumer.consume(READ_AT_ONCE, 0.5):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    at_end.add(message.partition() or 0)
                else:
                    raise RuntimeError(f"reading {topic}: {error}")
    finally:
        consumer.close()


def read_changelog(kafka: str, topic: str) -> Changelog:
    """Read a topic to its committed end."""
    seen, ticker = Changelog(), Ticker()
    for message in records_of(kafka, topic):
        seen.take(message.partition() or 0, message.key() or b"", message.value())
        ticker.say(f"checking {topic}: {seen.records:,} records read")
    return seen
