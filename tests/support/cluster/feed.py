"""Feeds a log in the background, at its own pace, through faults."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Self

from confluent_kafka import KafkaError, Message, Producer

from dev.traffic.shop import Habits, Sent, Shop
from dev.workers import until

BURST = 50
BY_KEY = -1  # librdkafka's word for: by the partitioner
# Much of what is rare in a shop, so that every case falls on every fault.
ROUGH = Habits(
    repeated=0.05, unreadable=0.01, returned=0.06, adjusted=0.03, moved=0.03, uncounted=0.6
)


def a_shop(
    *,
    partitions: int,
    seed: int = 7,
    skus: int = 400,
    stores: int = 8,
    habits: Habits = ROUGH,
    run: str = "t",
) -> Shop:
    """A small chain, so that every row has many events."""
    return Shop(seed=seed, skus=skus, stores=stores, partitions=partitions, run=run, habits=habits)


def records_of(shop: Shop, count: int | None = None) -> Iterator[Sent]:
    """The shop's records, for ever unless counted."""
    while count is None or count > 0:
        yield shop.next(datetime.now(UTC))
        count = count - 1 if count is not None else None


class Feeder:
    """A thread that appends records to the source topics, while its block lasts.

    With `finish` the end of the block waits until all records are sent.

    Attributes:
        acked: records in the log, by kind.
    """

    def __init__(
        self,
        kafka: str,
        prefix: str,
        records: Iterable[Sent],
        rate: float | None = None,
        *,
        finish: bool = False,
    ) -> None:
        self._prefix = prefix
        self._finish = finish
        self._records = iter(records)
        self._rate = rate
        self.acked: Counter[str] = Counter()
        self._errors: list[str] = []
        self._stopping = Event()
        self._going = Event()
        self._going.set()
        # Idempotent: a retry inside the client must not look like a sender's retry.
        self._producer = Producer(
            {
                "bootstrap.servers": kafka,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 10,
                "message.timeout.ms": 300_000,
                "retry.backoff.max.ms": 200,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._thread = Thread(target=self._feed, name="feeder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._finish and kind is None:
            self._thread.join()
        self.stop()

    @property
    def count(self) -> int:
        """Records acknowledged so far."""
        return sum(self.acked.values())

    async def more(self, records: int, timeout_s: float = 60) -> None:
        """Wait until so many more are in the log: the clock of a test in trouble."""
        goal = self.count + records

        async def told() -> bool:
            return self.count >= goal

        await until(told, f"sent: {records:,} more records", timeout_s)

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Nothing is told during the block."""
        self._going.clear()
        try:
            yield
        finally:
            self._going.set()

    def stop(self) -> None:
        """Send no more; return when all that was sent is answered."""
        self._stopping.set()
        self._going.set()
        self._thread.join()
        assert not self._errors, self._errors[:3]

    def _feed(self) -> None:
        due = time.monotonic()
        for sent, one in enumerate(self._records):
            if self._stopping.is_set():
                break
            self._append(one)
            if sent % BURST == 0:
                self._producer.poll(0)
                self._going.wait()
                # After a halt it goes on at its rate, and does not make up for it.
                due = max(due, time.monotonic() - 1) + (BURST / self._rate if self._rate else 0)
                self._stopping.wait(max(0.0, due - time.monotonic()))
        self._producer.flush(300)

    def _append(self, one: Sent) -> None:
        def answered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self._errors.append(str(error))
            self.acked[one.kind] += 1

        partition = BY_KEY if one.partition is None else one.partition
        while True:
            try:
                self._producer.produce(
                    self._prefix + one.role,
                    one.value,
                    one.key,
                    on_delivery=answered,
                    headers=[("trace", b"\x00\xff"), ("trace", one.kind.encode())],
                    partition=partition,
                )
            except BufferError:  # Kafka is away: wait for room
                self._producer.poll(0.1)
            else:
                return
