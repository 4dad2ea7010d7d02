"""Watches that no progress is durable before the changelog records that hold its effect."""

import time
from collections.abc import Iterable
from threading import Event, Thread
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from dev.log import LogReader
from tests.oracle import Changelog, changelog_topic

EVERY_S = 0.2


class CommitWatch:
    """All the time: the group's committed offsets against the committed changelog.

    Attributes:
        looks: how often it has compared.
        changelog: the committed view as far as read.
    """

    def __init__(
        self, kafka: str, name: str, topics: Iterable[str], partitions: int, version: int = 1
    ) -> None:
        self.looks = 0
        self.changelog = Changelog()
        self.ahead: list[str] = []
        self._group = GroupOffsets(kafka, f"{name}-v{version}", topics, partitions)
        self._reader = LogReader(kafka, [changelog_topic(name, version)])
        self._stopping = Event()
        self._failed: BaseException | None = None
        self._thread = Thread(target=self._watch, name="commit watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._reader.close()
        self._group.close()

    def check_running(self) -> None:
        """Fail if the watch itself has ended."""
        if self._failed is not None:
            raise self._failed

    def check(self) -> None:
        """Fail if anything was ever ahead, or if nothing was looked at."""
        self.check_running()
        assert not self.ahead, self.ahead[:5]
        assert self.looks > 0
        assert not self.changelog.rewinds, self.changelog.rewinds[:5]

    def _watch(self) -> None:
        try:
            while not self._stopping.wait(EVERY_S):
                # First what the group says is done, then what the changelog holds: what is
                # committed in between can only hide nothing and excuse nothing.
                durable = self._group.read()
                # Read on even where the group does not answer: others wait for the counts.
                if not self._read_on() or durable is None:
                    continue
                self.looks += 1
                for (topic, partition), position in durable.items():
                    meta = self.changelog.metas.get(partition, {"positions": {}})
                    if meta["positions"].get(topic, 0) < position:
                        self.ahead.append(f"{topic}-{partition}: group {position}, meta {meta}")
        except BaseException as error:  # told by `check`
            self._failed = error

    def _read_on(self) -> bool:
        """Read the changelog to the end it has now; False while Kafka is away."""
        try:
            ends = self._reader.ends(timeout_s=2)
        except Exception:  # as above
            self._take()
            return False
        deadline = time.monotonic() + 10
        while not self._reader.reached(ends):
            self._take()
            if time.monotonic() > deadline:
                return False
        return True

    def _take(self) -> None:
        for record in self._reader.poll():
            self.changelog.take(record)


class GroupOffsets:
    """What a consumer group says it has handled, without joining it.

    By a consumer, not by the admin client: that one's question, asked of a broker
    that dies, aborts the process (librdkafka 2.16, `rd_kafka_enq_once`).
    """

    def __init__(self, kafka: str, group: str, topics: Iterable[str], partitions: int) -> None:
        self._settings = {"bootstrap.servers": kafka, "group.id": group, "log_level": 0}
        self._consumer = Consumer(self._settings)
        self._places = [TopicPartition(topic, p) for topic in topics for p in range(partitions)]

    def read(self) -> dict[tuple[str, int], int] | None:
        """Next offsets by topic and partition; None while Kafka does not tell."""
        try:
            found = self._consumer.committed(self._places, timeout=3)
        except KafkaException:  # Kafka is away: ask again, by a new client (see LogReader.ends)
            self._consumer.close()
            self._consumer = Consumer(self._settings)
            return None
        return {(p.topic, p.partition): p.offset for p in found if p.offset > 0}

    def close(self) -> None:
        """Give the connections back."""
        self._consumer.close()
