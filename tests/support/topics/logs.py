"""Topics of a test's own, written by another client than the service's."""

import time
import uuid
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from dev.oracle.log import _record as record_of
from dev.oracle.stock import Record

TIMEOUT_S = 60.0

COMPACTED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.001",
    "delete.retention.ms": "0",
    # Each append rolls the segment before it, which can then be cleaned.
    "segment.ms": "1",
}


class Put(NamedTuple):
    """One record to write."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    #: 0 for now.
    timestamp_ms: int = 0


def a_name() -> str:
    """For a topic, a group, a transactional id: no other test has it."""
    return f"t{uuid.uuid4().hex[:10]}"


@cache
def _admin(kafka: str) -> AdminClient:
    """One for all tests: each new one costs a connection and threads."""
    return AdminClient({"bootstrap.servers": kafka, "log_level": 0})


def make(
    kafka: str, topic: str = "", partitions: int = 1, config: Mapping[str, str] | None = None
) -> str:
    """Create a topic, of a name of its own if none is given; returns when it has leaders."""
    topic = topic or a_name()
    make_all(kafka, {topic: config or {}}, partitions)
    return topic


def make_all(kafka: str, topics: Mapping[str, Mapping[str, str]], partitions: int = 1) -> None:
    """Create topics, each with its settings; returns when all have leaders."""
    admin = _admin(kafka)
    new = [NewTopic(name, partitions, 1, config=dict(config)) for name, config in topics.items()]
    for created in admin.create_topics(new).values():
        created.result(TIMEOUT_S)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=TIMEOUT_S).topics
        found = [known[name].partitions for name in topics if name in known]
        if len(found) == len(topics) and all(
            len(parts) == partitions and all(part.leader >= 0 for part in parts.values())
            for parts in found
        ):
            return
        time.sleep(0.01)
    raise TimeoutError(f"{', '.join(topics)} have no leaders")


def topic_id(kafka: str, topic: str) -> str:
    """Kafka's own id of a topic, 32 hex digits."""
    described = _admin(kafka).describe_topics(TopicCollection([topic]))[topic].result(TIMEOUT_S)
    parts = (
        described.topic_id.get_most_significant_bits(),
        described.topic_id.get_least_significant_bits(),
    )
    return "".join(f"{part % 2**64:016x}" for part in parts)


def remove(kafka: str, topic: str) -> None:
    """Delete a topic; returns when no broker names it any more."""
    admin = _admin(kafka)
    admin.delete_topics([topic])[topic].result(TIMEOUT_S)
    deadline = time.monotonic() + TIMEOUT_S
    while topic in admin.list_topics(timeout=TIMEOUT_S).topics:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} is still there")
        time.sleep(0.01)


def cut(kafka: str, topic: str, before: int, partition: int = 0) -> None:
    """Delete what is before this offset, as retention does; -1 deletes all."""
    place = TopicPartition(topic, partition, before)
    _admin(kafka).delete_records([place])[place].result(TIMEOUT_S)


class Reader:
    """Committed records of a partition at a time, and ends; one connection for many questions."""

    def __init__(self, kafka: str, *, committed: bool = True) -> None:
        self._kafka = kafka
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": "nobody",  # demanded; never joined
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed" if committed else "read_uncommitted",
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )

    def records(self, topic: str, partition: int = 0, start: int = 0) -> list[Record]:
        """From an offset, or the log's first one if that is later, to the end."""
        self.end(topic, partition)  # asks for the topic's leaders, which assign() does seldom
        self._consumer.assign([TopicPartition(topic, partition, start or OFFSET_BEGINNING)])
        found: list[Record] = []
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            message = self._consumer.poll(1.0)
            if message is None:
                continue
            error = message.error()
            if error is None:
                found.append(record_of(message, self._kafka))
            elif error.name() == "_PARTITION_EOF":
                self._consumer.unassign()
                return found
            elif not error.retriable():
                raise KafkaException(error)
        raise TimeoutError(f"the end of {topic}-{partition} was not reached")

    def settled(self, topic: str, partition: int = 0, markers_s: float = TIMEOUT_S) -> list[Record]:
        """All records, once the markers of what was committed are there."""
        self.has_markers(topic, partition, markers_s)
        return self.records(topic, partition)

    def has_markers(self, topic: str, partition: int = 0, markers_s: float = TIMEOUT_S) -> None:
        """Wait for the markers of what was committed: a commit is acknowledged before.

        No longer than `markers_s`, where a transaction may have been left open.
        """
        deadline = time.monotonic() + markers_s
        while self.end(topic, partition) < raw_reader(self._kafka).end(topic, partition):
            if time.monotonic() > deadline:
                break  # that is for the caller to judge
            time.sleep(0.002)

    def end(self, topic: str, partition: int = 0) -> int:
        """For committed readers, behind the last transaction's marker."""
        place = TopicPartition(topic, partition)
        known = self._consumer.get_watermark_offsets(place, TIMEOUT_S)
        if known is None:
            raise TimeoutError(f"no end of {topic}-{partition}")
        return known[1]


@cache
def reader(kafka: str) -> Reader:
    """One for all tests."""
    return Reader(kafka)


class Writer:
    """A producer: plain, or of one transactional id."""

    def __init__(self, kafka: str, transactional_id: str = "", **settings: str | int) -> None:
        config: dict[str, str | int] = {
            "bootstrap.servers": kafka,
            "linger.ms": 5_000,  # one batch for what one call writes
            "log_level": 0,
            **{name.replace("_", "."): value for name, value in settings.items()},
        }
        if transactional_id:
            config["transactional.id"] = transactional_id
            # Kafka ends what is open for longer, and a slow machine may take more than its minute.
            config["transaction.timeout.ms"] = 600_000
        self._kafka = kafka
        self._producer = Producer(config)
        self._ends: dict[tuple[str, int], int] = {}
        if transactional_id:
            self._producer.init_transactions(TIMEOUT_S)

    def write(self, topic: str, records: Iterable[Put], partition: int = 0) -> None:
        """Append and wait for the acknowledgement; a batch of its own each time."""
        failed = []

        def told(error: object, message: Message) -> None:
            if error is not None:
                failed.append(error)
            else:
                self._ends[topic, partition] = (message.offset() or 0) + 1

        for record in records:
            self._producer.produce(
                topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                timestamp=record.timestamp_ms,
                partition=partition,
                on_delivery=told,
            )
        left = self._producer.flush(TIMEOUT_S)
        assert not failed, failed
        assert not left

    def begin(self) -> None:
        self._producer.begin_transaction()

    def commit(self) -> None:
        self._producer.commit_transaction(TIMEOUT_S)

    def abort(self) -> None:
        self._producer.abort_transaction(TIMEOUT_S)

    def settle(self, topic: str, partition: int = 0) -> None:
        """Wait for the marker of the last transaction, which comes after its acknowledgement."""
        deadline = time.monotonic() + TIMEOUT_S
        while reader(self._kafka).end(topic, partition) <= self._ends[topic, partition]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic}-{partition} got no marker")
            time.sleep(0.002)

    def committed(self, topic: str, records: Iterable[Put], partition: int = 0) -> None:
        """One whole transaction."""
        self.begin()
        self.write(topic, records, partition)
        self.commit()

    def aborted(self, topic: str, records: Iterable[Put], partition: int = 0) -> None:
        """One transaction that leaves its records behind for nobody."""
        self.begin()
        self.write(topic, records, partition)
        self.abort()


@cache
def raw_reader(kafka: str) -> Reader:
    """Sees what is not committed, too; one for all tests."""
    return Reader(kafka, committed=False)


@cache
def plain_writer(kafka: str) -> Writer:
    """One for all tests, for topics that stay."""
    return Writer(kafka)


def clean_often(kafka: str) -> None:
    """Let the broker look for what to compact ten times a second, not every 15 s."""
    admin = _admin(kafka)
    set_ = AlterConfigOpType.SET
    entry = ConfigEntry("log.cleaner.backoff.ms", "100", incremental_operation=set_)
    for broker in admin.list_topics(timeout=TIMEOUT_S).brokers:
        one = ConfigResource(ResourceType.BROKER, str(broker), incremental_configs=[entry])
        admin.incremental_alter_configs([one])[one].result(TIMEOUT_S)


def wait_for_compaction(kafka: str, topic: str, records: int) -> None:
    """Return when at most this many records are left in the topic, which has one partition."""
    deadline = time.monotonic() + TIMEOUT_S
    while (left := len(raw_reader(kafka).records(topic))) > records:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} still holds {left} records, not {records}")
        time.sleep(0.1)
