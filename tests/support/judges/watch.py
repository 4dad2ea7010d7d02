"""Watches that no progress is durable before the changelog records that hold its effect."""

import json
import time
from collections.abc import Iterable, Mapping
from threading import Event, Thread
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from dev.oracle.log import LogReader, read_topics
from tests.support.judges.oracle import META, Changelog, changelog_topic

EVERY_S = 0.2
#: One broker, however busy, writes the markers of a transaction in less.
DECIDED_S = 10.0


class CommitWatch:
    """All the time: the group's committed offsets against the committed changelog.

    A transaction counts from its coordinator's decision, and a reader sees it when the
    partition's leader has the marker. A group's offsets are told by another coordinator, and a
    slow broker may mark those first, a leader may even die in between. `decided_s` says how long
    that may take: meanwhile the records must be in the log, not committed yet, and by then they
    must be.

    Attributes:
        looks: how often it has compared.
        changelog: the committed view as far as read.
    """

    def __init__(
        self,
        kafka: str,
        name: str,
        topics: Iterable[str],
        partitions: int,
        version: int = 1,
        decided_s: float = DECIDED_S,
    ) -> None:
        self.looks = 0
        self.changelog = Changelog()
        self.ahead: list[str] = []
        self._group = GroupOffsets(kafka, f"{name}-v{version}", topics, partitions)
        self._kafka, self._topic = kafka, changelog_topic(name, version)
        self._reader = LogReader(kafka, [self._topic])
        self._decided_s = decided_s
        #: By source topic and partition: a durable position and since when it waits for markers.
        self._waiting: dict[tuple[str, int], tuple[int, float]] = {}
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
        while self._waiting and not self.ahead and self._failed is None:
            self._stopping.wait(EVERY_S)
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
                self._compare(durable, time.monotonic())
        except BaseException as error:  # told by `check`
            self._failed = error

    def _compare(self, durable: Mapping[tuple[str, int], int], now: float) -> None:
        for place, (position, since) in list(self._waiting.items()):
            if self._committed(place) >= position:
                del self._waiting[place]
            elif now - since > self._decided_s:
                self.ahead.append(f"{place}: {position} was durable, and is not committed")
        for place, position in durable.items():
            if self._committed(place) >= position or place in self._waiting:
                continue
            if self._is_written(place, position):
                self._waiting[place] = position, now
            else:
                meta = self.changelog.metas.get(place[1])
                self.ahead.append(f"{place}: group {position}, meta {meta}")

    def _committed(self, place: tuple[str, int]) -> int:
        topic, partition = place
        meta = self.changelog.metas.get(partition, {"positions": {}})
        return int(meta["positions"].get(topic, 0))

    def _is_written(self, place: tuple[str, int], position: int) -> bool:
        """Whether the log holds it, committed or not."""
        topic, partition = place
        return any(
            json.loads(record.value or b"")["positions"].get(topic, 0) >= position
            for record in read_topics(self._kafka, [self._topic], committed=False)
            if record.partition == partition and record.key == META
        )

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
