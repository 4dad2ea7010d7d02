"""Append facts to Kafka within a deadline, and say honestly of each whether it is in.

One idempotent producer (acks=all) for the worker's life. What it never does by itself:

- It never gives up a batch that it may retry (aiokafka 0.14, producer/sender.py:884): a
  request would hang for as long as Kafka is away. So each request has its own deadline and
  leaves its futures pending behind it: those events are `unknown`, and may land later.
- It numbers a batch when it takes it (producer/message_accumulator.py, `_pop_batch`). A batch
  that is then refused for good leaves a gap, and the broker refuses every later batch of that
  partition as out of order. So a producer that was refused anything is replaced.
  The next one starts at once, while the one before still sends what it has.
- It cannot start without a broker. So it is started behind the scenes, again and again, and
  the worker answers reads meanwhile (P8).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from msgspec import Struct

from core.words import in_words
from tables.tasks import Tasks
from web.writes.acknowledged import first_offset, why_refused
from web.writes.singles import Singles, TellOffset
from web.writes.turns import TurnLimits, Turns
from wire import clients
from wire.filling import Joining

log = logging.getLogger(__name__)

# A batch of a topic-partition in memory. While Kafka is away, at most two of them wait for
# each partition; later requests wait for room until their deadline, holding no more.
BATCH_BYTES = 256 * 1024
# Says how the value is to be read; CloudEvents' own clients refuse a record without it.
# (A list: aiokafka takes nothing else, and changes none.)
HEADERS = [("content-type", b"application/cloudevents+json")]
CONNECT_TIMEOUT_S = 10.0
RECONNECT_S = 1.0
CLOSE_TIMEOUT_S = 5.0
# `send` raises these before anything is numbered: the producer is as good as before.
_NOT_NUMBERED = (
    InvalidTopicError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)


class Outgoing(Struct, frozen=True, gc=False):
    """One fact on its way: which partition, and the bytes."""

    topic: str
    partition: int
    key: bytes
    value: bytes


class Receipt(Struct, frozen=True):
    """What Kafka said of some records.

    offsets: for each record its offset, or None: it may be in the log, now or later, or not.
    trouble: one sentence when any is None.
    """

    offsets: list[int | None]
    trouble: str | None


class _Sent(Struct, frozen=True):
    """What is on its way together: which records of the request, in the order of their offsets.

    done: of their batch. first: which record of the batch is the first of them.
    """

    places: Sequence[int]
    done: "asyncio.Future[Any]"
    first: int = 0


class Appender:
    """The producer for facts. `start` returns at once; the producer follows when Kafka does.

    Args:
        kafka: connection settings for aiokafka (`bootstrap_servers`, security …).
        timeout_s: an `append` answers within this, from its turn on.
        turns: how long it waits for that, and how many bytes with it.
    """

    def __init__(
        self, kafka: Mapping[str, Any], timeout_s: float, turns: TurnLimits | None = None
    ) -> None:
        self._kafka = dict(kafka)
        self._timeout_s = timeout_s
        self._turns = Turns(turns or TurnLimits())
        self._producer: asyncio.Future[AIOKafkaProducer]
        self._refused = asyncio.Event()
        self._is_running = False
        self._tasks, self._closing = Tasks(), Tasks()
        self._troubled = False
        self._singles = Singles(timeout_s, self._settle)

    async def start(self) -> None:
        """Begin to keep a producer running."""
        self._producer = asyncio.get_running_loop().create_future()
        self._is_running = True
        self._tasks.keep(self._keep_a_producer, "producer of facts", RECONNECT_S)

    async def stop(self) -> None:
        """Send what can be sent within 5 s, then close. Later appends fail."""
        self._is_running = False
        await self._tasks.cancel()
        await asyncio.gather(*self._closing)

    async def append(self, records: Sequence[Outgoing]) -> Receipt:
        """Append in this order; answer when all are acknowledged, or at the deadline.

        Never raises for Kafka's sake. A client that went away changes nothing: what it sent
        whole is appended whole.

        Raises:
            TooLate: too many others came before; nothing was appended.
        """
        size = sum(len(record.value) for record in records)
        await self._turns.begin(size)
        try:
            return await self._append(records)
        finally:
            self._turns.end(size)

    def append_one(self, record: Outgoing, told: TellOffset) -> bool:
        """As `append`, for one record, and without a task: `told` is called later, once.

        False: it must come by `append`; nothing was done. It has to wait for something.
        """
        size = len(record.value)
        if not (self._is_running and self._producer.done() and self._turns.begin_at_once(size)):
            return False

        def tell(offset: int | None, trouble: str | None) -> None:
            self._turns.end(size)
            self._log_change(trouble)
            told(offset, trouble)

        topic, partition, key, value = record.topic, record.partition, record.key, record.value
        producer = self._producer.result()
        if self._singles.put(producer, topic, partition, key, value, HEADERS, tell):
            return True
        self._turns.end(size)
        return False

    async def _append(self, records: Sequence[Outgoing]) -> Receipt:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        sent: list[_Sent] = []
        trouble = None
        try:
            async with asyncio.timeout_at(deadline):
                await self._send(records, sent)
                if sent:
                    await asyncio.wait([each.done for each in sent])
        except TimeoutError:
            trouble = f"Kafka did not confirm within {self._timeout_s:g} s."
        except KafkaError as error:
            trouble = f"Kafka did not take the events: {in_words(error)}."
        offsets = _offsets(sent, len(records))
        if None in offsets and trouble is None:
            trouble = why_refused(each.done for each in sent)
        self._log_change(trouble)
        return Receipt(offsets, trouble)

    def _log_change(self, trouble: str | None) -> None:
        """One line when appends begin to fail and one when they work again, not one for each."""
        if trouble is not None and not self._troubled:
            log.warning("Facts are answered with 503 for now: %s", trouble)
        elif trouble is None and self._troubled:
            log.info("Kafka takes facts again.")
        self._troubled = trouble is not None

    async def _send(self, records: Sequence[Outgoing], sent: list[_Sent]) -> None:
        if not self._is_running:
            raise KafkaError("this worker is stopping")
        producer = await asyncio.shield(self._producer)

        def on_its_way(one: _Sent) -> None:
            one.done.add_done_callback(lambda done: self._settle(producer, done))
            sent.append(one)

        try:
            await _in_batches(producer, records, on_its_way)
        except KafkaError as error:
            if not (error.retriable or isinstance(error, _NOT_NUMBERED)):
                self._replace(producer, error)
            raise

    def _settle(self, producer: AIOKafkaProducer, done: asyncio.Future[Any]) -> None:
        """Look at every result, also of a request that is long answered."""
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._replace(producer, error)

    def _replace(self, producer: AIOKafkaProducer, error: BaseException) -> None:
        if self._producer.done() and self._producer.result() is producer:
            log.warning("Kafka refused events (%s): going on with a new producer", in_words(error))
            self._producer = asyncio.get_running_loop().create_future()
            self._refused.set()

    async def _keep_a_producer(self) -> None:
        while True:
            began = monotonic()
            try:
                await self._run_a_producer()
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("No producer for facts yet, Kafka does not answer: %s", in_words(error))
            # At once, unless each is refused something as soon as it is there.
            await asyncio.sleep(began + RECONNECT_S - monotonic())

    async def _run_a_producer(self) -> None:
        """Until it was refused anything."""
        producer = AIOKafkaProducer(
            **self._kafka,
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=5000,
        )
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await clients.start(producer)
            self._refused.clear()
            self._producer.set_result(producer)
            await self._refused.wait()
        finally:
            self._closing.start(_close(producer), "close a producer of facts")


async def _in_batches(
    producer: AIOKafkaProducer, records: Sequence[Outgoing], on_its_way: Callable[[_Sent], None]
) -> None:
    """Partition by partition, each in its order.

    They join the batches that are sent next, all before the loop has a turn: so they go out with
    one request, and together with what others have sent meanwhile. Where there is no room they
    wait for it, in batches of their own.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for place, record in enumerate(records):
        groups.setdefault((record.topic, record.partition), []).append(place)
    joining, left = Joining(producer), []
    for (topic, partition), places in groups.items():
        pairs = ((records[place].key, records[place].value) for place in places)
        joined = joining.join_all(topic, partition, pairs, HEADERS)
        count = 0
        if joined is not None:
            done, first, count = joined
            on_its_way(_Sent(places[:count], done, first))
        if count < len(places):
            left.append((topic, partition, places[count:]))
    for topic, partition, places in left:
        while places:
            batch = producer.create_batch()
            count = _fill(batch, [records[place] for place in places])
            done = await producer.send_batch(batch, topic, partition=partition)
            on_its_way(_Sent(places[:count], done))
            places = places[count:]
            await asyncio.sleep(0)


def _fill(batch: BatchBuilder, records: Sequence[Outgoing]) -> int:
    """How many of the records it took: one at least, whatever its size."""
    count = 0
    for record in records:
        taken = batch.append(timestamp=None, key=record.key, value=record.value, headers=HEADERS)
        if taken is None:
            break
        count += 1
    batch.close()  # so that nobody else's record gets one of its offsets
    return count


def _offsets(sent: Sequence[_Sent], count: int) -> list[int | None]:
    offsets: list[int | None] = [None] * count
    for each in sent:
        first = first_offset(each.done)
        if first is not None:
            for offset, place in enumerate(each.places, first + each.first):
                offsets[place] = offset
    return offsets


async def _close(producer: AIOKafkaProducer) -> None:
    """Send what Kafka still takes for a while, then cut the connections."""
    try:
        await clients.close(producer, CLOSE_TIMEOUT_S)
    except TimeoutError:
        log.warning("Kafka does not take the last events: closing without their confirmation")
    except KafkaError as error:
        log.warning("The producer for facts closed with an error: %s", in_words(error))
