"""Reads topics of the log with another client than the service's, committed records only."""

from collections.abc import Iterable, Iterator, Mapping
from operator import methodcaller
from threading import Event, Lock, Thread
from time import monotonic, sleep

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    Message,
    TopicPartition,
)

from dev.oracle.headers import Headers, headers_at
from dev.oracle.stock import Oracle, Record

POLL_RECORDS = 5_000
POLL_S = 0.2
#: Longer than any test keeps Kafka away.
STUCK_S = 240.0
#: For the markers of what was committed just now; a transaction may also have been left open.
MARKERS_S = 30.0
KAFKA_AWAY = {"_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_RESOLVE"}
"""The client comes back from these by itself."""
NEW = {
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "UNKNOWN_TOPIC_OR_PART",
    "_UNKNOWN_PARTITION",
}
"""What a broker says of a topic that was made a moment ago."""
KNOWN_S = 30.0
"""Later it is known, or is none."""


def read_topics(
    kafka: str, topics: Iterable[str], *, committed: bool = True, markers_s: float = MARKERS_S
) -> list[Record]:
    """Every record from the first offset to the end that was there when it was reached.

    Args:
        kafka: bootstrap servers.
        topics: full names.
        committed: leave out what was aborted or is not committed yet.
        markers_s: how long to wait where a transaction is open. A commit is acknowledged before
            its markers are written, and what lies behind them is not read until then.
    """
    topics = [*topics]
    reader = LogReader(kafka, topics, committed=committed)
    try:
        ends = ends_of(kafka, topics, committed=False) if committed else {}
        records = [record for batch in reader.until_end() for record in batch]
        deadline = monotonic() + markers_s
        while not reader.reached(ends) and monotonic() < deadline:
            records += reader.poll()
        return records
    finally:
        reader.close()


class LogReader:
    """A consumer of whole topics, without a group, from the first offset on."""

    def __init__(self, kafka: str, topics: Iterable[str], *, committed: bool = True) -> None:
        self._kafka = kafka
        self._settings: dict[str, str | int | bool] = {
            "bootstrap.servers": kafka,
            "group.id": "onhand-oracle",  # demanded by the client; never joined or committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            # A reader that skipped what was cut off would compare with half a truth.
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 100,
            "log_level": 0,
        }
        self._consumer = Consumer(self._settings)
        self._asker: Consumer | None = None
        self._ends: set[tuple[str, int]] = set()
        self._at: dict[tuple[str, int], int] = {}
        self._places = set(self._partitions(topics))
        start = [
            TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in self._places
        ]
        self._consumer.assign(start)

    def _partitions(self, topics: Iterable[str]) -> Iterator[tuple[str, int]]:
        deadline = monotonic() + KNOWN_S
        for topic in topics:
            known = self._consumer.list_topics(topic, timeout=60).topics[topic]
            while known.error is not None:
                if known.error.name() not in NEW or monotonic() > deadline:
                    raise KafkaException(known.error)
                sleep(0.02)
                known = self._consumer.list_topics(topic, timeout=60).topics[topic]
            for partition in known.partitions:
                yield topic, partition

    def poll(self) -> list[Record]:
        """What has come since the last call, in order within each partition."""
        records = []
        for message in self._consumer.consume(POLL_RECORDS, POLL_S):
            error = message.error()
            place = message.topic() or "", message.partition() or 0
            if error is None:
                self._ends.discard(place)
                self._at[place] = (message.offset() or 0) + 1
                records.append(_record(message, self._kafka))
            elif error.name() == "_PARTITION_EOF":
                self._ends.add(place)
                self._at[place] = message.offset() or 0  # behind the last marker, too
            elif not error.retriable() and error.name() not in KAFKA_AWAY:
                raise KafkaException(error)
        return records

    @property
    def at_end(self) -> bool:
        """Whether every partition was read to where it ended when it was last asked."""
        return self._ends == self._places

    def until_end(self) -> Iterator[list[Record]]:
        """Batches until every partition's end has been seen; for one reading, not for two.

        Raises:
            TimeoutError: nothing came for minutes, and not the end either.
        """
        deadline = monotonic() + STUCK_S
        while not self.at_end:
            batch = self.poll()
            if batch:
                deadline = monotonic() + STUCK_S
            elif monotonic() > deadline:
                raise TimeoutError(f"no end of {sorted(self._places - self._ends)}: {self._at}")
            yield batch

    def ends(self, timeout_s: float = 60) -> dict[tuple[str, int], int]:
        """The next offset of every partition, as Kafka says it now."""
        deadline = monotonic() + timeout_s
        while True:
            try:
                return self._asked(timeout_s)
            except KafkaException as error:
                if error.args[0].name() not in NEW or monotonic() > deadline:
                    raise
                sleep(0.02)

    def _asked(self, timeout_s: float) -> dict[tuple[str, int], int]:
        asker = self._asker = self._asker or Consumer(self._settings)
        ends = {}
        try:
            for topic, partition in self._places:
                known = asker.get_watermark_offsets(TopicPartition(topic, partition), timeout_s)
                if known is None:
                    raise TimeoutError(f"Kafka did not tell the end of {topic}-{partition}")
                ends[topic, partition] = known[1]
        except (KafkaException, TimeoutError):
            # A client that asked while its broker was away may get no answer for minutes after
            # it came back (librdkafka 2.16): the next question is a new client's.
            self._asker = None
            asker.close()
            raise
        return ends

    def reached(self, ends: Mapping[tuple[str, int], int]) -> bool:
        """Whether everything before these offsets was read, markers of transactions too."""
        return all(self._at.get(place, 0) >= end for place, end in ends.items())

    def close(self) -> None:
        """Give the connections back."""
        self._consumer.close()
        if self._asker is not None:
            self._asker.close()


def _record(message: Message, kafka: str) -> Record:
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        _bytes(message.key()),
        _bytes(message.value()),
        _headers(message, kafka),
    )


#: Where a name is no UTF-8 it gives a list and an error at once (confluent-kafka 2.16). Called
#: this way Python finds that out in any case; and called again, it gives the list alone.
_given_headers = methodcaller("headers")


def _headers(message: Message, kafka: str) -> Headers:
    try:
        headers = _given_headers(message) or []
    except SystemError:
        place = message.topic() or "", message.partition() or 0, message.offset() or 0
        return headers_at(kafka, *place)
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple((name, _bytes(value)) for name, value in pairs)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def ends_of(
    kafka: str, topics: Iterable[str], *, committed: bool = True
) -> dict[tuple[str, int], int]:
    """The next offset of every partition; with `committed`, the last stable one."""
    reader = LogReader(kafka, topics, committed=committed)
    try:
        return reader.ends()
    finally:
        reader.close()


def oracle_of(
    kafka: str, *, partitions: int, prefix: str = "", window: int = 100_000, rules: int = 2
) -> Oracle:
    """The oracle, fed with the whole log as it is now."""
    oracle = Oracle(partitions, prefix, window, rules)
    reader = LogReader(kafka, oracle.topics)
    try:
        for batch in reader.until_end():
            for record in batch:
                oracle.feed(record)
    finally:
        reader.close()
    return oracle


class FollowingOracle:
    """An oracle that keeps up with a growing log in a thread of its own."""

    def __init__(self, kafka: str, oracle: Oracle) -> None:
        self.oracle = oracle
        self.lock = Lock()
        self._reader = LogReader(kafka, oracle.topics)
        self._stopping = Event()
        self._failed: Exception | None = None
        self._thread = Thread(target=self._follow, name="oracle", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            while not self._stopping.is_set():
                records = self._reader.poll()
                with self.lock:
                    for record in records:
                        self.oracle.feed(record)
        except Exception as error:  # told to whoever asks next
            self._failed = error
        finally:
            self._reader.close()

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()
