"""Topics of a test's own, written by another client than the service's."""

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from dev.log import read_topics

TIMEOUT_S = 20.0

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


def a_name() -> str:
    """For a topic, a group, a transactional id: no other test has it."""
    return f"t{uuid.uuid4().hex[:10]}"


def make(
    kafka: str, topic: str = "", partitions: int = 1, config: Mapping[str, str] | None = None
) -> str:
    """Create a topic, of a name of its own if none is given; returns when it has leaders."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    topic = topic or a_name()
    new = NewTopic(topic, partitions, 1, config=dict(config or {}))
    admin.create_topics([new])[topic].result(TIMEOUT_S)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        found = admin.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
        if len(found) == partitions and all(p.leader >= 0 for p in found.values()):
            return topic
        time.sleep(0.01)
    raise TimeoutError(f"{topic} has no leaders")


def remove(kafka: str, topic: str) -> None:
    """Delete a topic; returns when no broker names it any more."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    admin.delete_topics([topic])[topic].result(TIMEOUT_S)
    deadline = time.monotonic() + TIMEOUT_S
    while topic in admin.list_topics(timeout=TIMEOUT_S).topics:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} is still there")
        time.sleep(0.01)


def cut(kafka: str, topic: str, before: int, partition: int = 0) -> None:
    """Delete what is before this offset, as retention does; -1 deletes all."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    place = TopicPartition(topic, partition, before)
    admin.delete_records([place])[place].result(TIMEOUT_S)


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
        self._producer = Producer(config)
        if transactional_id:
            self._producer.init_transactions(TIMEOUT_S)

    def write(self, topic: str, records: Iterable[Put], partition: int = 0) -> None:
        """Append and wait for the acknowledgement; a batch of its own each time."""
        failed = []

        def told(error: object, _: object) -> None:
            if error is not None:
                failed.append(error)

        for record in records:
            self._producer.produce(
                topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
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


def clean_often(kafka: str) -> None:
    """Let the broker look for what to compact ten times a second, not every 15 s."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    set_ = AlterConfigOpType.SET
    entry = ConfigEntry("log.cleaner.backoff.ms", "100", incremental_operation=set_)
    for broker in admin.list_topics(timeout=TIMEOUT_S).brokers:
        one = ConfigResource(ResourceType.BROKER, str(broker), incremental_configs=[entry])
        admin.incremental_alter_configs([one])[one].result(TIMEOUT_S)


def wait_for_compaction(kafka: str, topic: str, records: int) -> None:
    """Return when at most this many records are left in the topic."""
    deadline = time.monotonic() + TIMEOUT_S
    while (left := len(read_topics(kafka, [topic], committed=False))) > records:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} still holds {left} records, not {records}")
        time.sleep(0.1)
