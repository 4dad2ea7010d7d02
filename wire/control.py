"""The control topic: read to its end, and written by one at a time, record after record.

The broker's fencing makes the single writer: whoever initialises the transactional id ends
the writing of everybody before, then reads what is there, and writes the record that follows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced

from core.versions import KEY, VersionHistory, Versions, to_bytes
from core.words import in_words
from wire import clients
from wire.fetch import end_offsets, fetch, stored
from wire.transactions import NO_TIME_MS, Brokers, RecordBatch, TransactionalProducer, batch_builder

log = logging.getLogger(__name__)

#: For one try, all steps.
PATIENCE_S = 30.0
#: Beyond this the broker aborts what a killed command left open; readers wait that long.
_TRANSACTION_TIMEOUT_MS = 10_000
_RECORD_BYTES = 2**19
_POLL_S = 0.5
_RECORDS = 1_000
_GOODBYE_S = 5.0


class Overtaken(Exception):
    """Another writer took over before this one had written: nothing was changed."""


class OutcomeUnknown(Exception):
    """Kafka went away while the record was being written: it is there, or it is not."""


def reached(step: str) -> None:
    """A step of `compare_and_set` is done. Tests end the process here."""


async def compare_and_set(
    kafka: Mapping[str, Any],
    topic: str,
    transactional_id: str,
    decide: Callable[[VersionHistory], Versions],
) -> Versions:
    """Write the record that follows the last one, as the one writer.

    1. Initialise the transactional id: from here on no earlier writer can commit.
    2. Read to the end.
    3. Ask `decide` for the next record; what it raises ends this, and nothing was written.
    4. Write it and commit. Where the answer is lost, the first two steps tell what became of it.
    5. Wait until readers see it: Kafka answers a commit before they do.

    Args:
        kafka: keyword arguments of an aiokafka client.
        topic: the control topic.
        transactional_id: the one of all its writers.
        decide: is given all that was read.

    Returns:
        What was written.

    Raises:
        Overtaken: another writer came between.
        OutcomeUnknown: Kafka went away in step 4 and did not come back.
        KafkaError, OSError, TimeoutError: in the steps before; nothing was written.
    """
    async with _brokers(kafka, topic) as brokers:
        async with asyncio.timeout(PATIENCE_S):
            producer = await _initialised(brokers, transactional_id)  # 1
            reached("initialised")
            history = await read_control(kafka, topic, committed=False)  # 2
            reached("read")
        after = decide(history)  # 3
        reached("checked")
        batch = RecordBatch(TopicPartition(topic, 0), batch_builder(_RECORD_BYTES), 1)
        batch.builder.append(0, NO_TIME_MS, KEY, to_bytes(after), [])
        written: list[int] = []  # where it lies, if it got that far

        def lies_at(offsets: Sequence[int]) -> None:
            written.extend(offsets)
            reached("written")

        try:
            async with asyncio.timeout(PATIENCE_S):
                await producer.commit([batch], lies_at)  # 4
        except ProducerFenced as error:
            # Its own commit may have landed, and only the answer been lost.
            if not await _is_there(kafka, topic, written):
                raise Overtaken("Another command took over; nothing was changed.") from error
        except (KafkaError, OSError, TimeoutError) as error:
            await _settle(kafka, topic, transactional_id, written, error)
    reached("committed")
    # It is written, whatever comes of this.
    with suppress(KafkaError, OSError, TimeoutError, OutcomeUnknown):
        await _is_there(kafka, topic, written)  # 5
    return after


async def _settle(
    kafka: Mapping[str, Any],
    topic: str,
    transactional_id: str,
    written: Sequence[int],
    error: BaseException,
) -> None:
    """The answer was lost: end what may be under way, and look.

    Raises:
        OutcomeUnknown: there is nobody to ask.
        KafkaError: as `error`; it was not written.
    """
    try:
        async with _brokers(kafka, topic) as brokers, asyncio.timeout(PATIENCE_S):
            await _initialised(brokers, transactional_id)
        is_there = await _is_there(kafka, topic, written)
    except (KafkaError, OSError, TimeoutError) as again:
        raise OutcomeUnknown(in_words(again)) from error
    if not is_there:
        raise KafkaError(f"it was not written ({in_words(error)})") from error


async def _is_there(kafka: Mapping[str, Any], topic: str, written: Sequence[int]) -> bool:
    """Whether what was written at these offsets was committed.

    Its place tells, not its content: two who do the same in one moment write the same.

    Raises:
        OutcomeUnknown: the broker did not say where.
    """
    if not written:
        return False  # a commit is only asked for what was taken
    if min(written) < 0:
        raise OutcomeUnknown("the broker no longer knew where it had put the record")
    async with asyncio.timeout(PATIENCE_S):
        history = await read_control(kafka, topic, committed=False)
    return any(entry.offset in written for entry in history.entries)


async def _initialised(brokers: Brokers, transactional_id: str) -> TransactionalProducer:
    return await TransactionalProducer.open(
        brokers, transactional_id, _TRANSACTION_TIMEOUT_MS, lane=0
    )


@asynccontextmanager
async def _brokers(kafka: Mapping[str, Any], topic: str) -> AsyncIterator[Brokers]:
    brokers = Brokers(kafka, [topic])
    try:
        async with asyncio.timeout(PATIENCE_S):
            await brokers.start()
        yield brokers
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(brokers.stop(), _GOODBYE_S)


async def read_control(
    kafka: Mapping[str, Any], topic: str, *, committed: bool = True
) -> VersionHistory:
    """All records there are now.

    Args:
        kafka: keyword arguments of an aiokafka client.
        topic: the control topic; it must exist.
        committed: end before a transaction that is open; else wait for its outcome.

    Raises:
        KafkaError: Kafka does not answer, or not this user.
        Unreadable: damage.
    """
    async with _consumer(kafka, topic) as (consumer, place):
        history = VersionHistory()
        end = (await end_offsets(consumer, [place], committed=committed))[place]
        position = (await consumer.beginning_offsets([place]))[place]
        consumer.seek(place, position)
        while position < end:
            position = await _take(consumer, place, position, history)
        return history


async def listen(
    kafka: Mapping[str, Any], topic: str, history: VersionHistory, heard: Callable[[], None]
) -> None:
    """Read on for ever, from behind what `history` holds; `heard` is told of each new record.

    Raises:
        KafkaError, OSError: Kafka is away; call it again.
    """
    async with _consumer(kafka, topic) as (consumer, place):
        last = history.entries[-1].offset if history.entries else -1
        position = last + 1
        consumer.seek(place, position)
        while True:
            position = await _take(consumer, place, position, history)
            if history.entries and history.entries[-1].offset > last:
                last = history.entries[-1].offset
                heard()


async def _take(
    consumer: AIOKafkaConsumer, place: TopicPartition, position: int, history: VersionHistory
) -> int:
    """Wait a moment for records, hand them on; the next position."""
    part = (await fetch(consumer, _POLL_S, _RECORDS)).get(place)
    if part is None:
        return position
    if part.error is not None:
        raise part.error
    for record in stored(place, part):
        if history.entries and record.offset <= history.entries[-1].offset:
            continue  # read meanwhile by somebody else
        why_not = history.take(record.value, record.offset, record.timestamp)
        if why_not is not None:
            log.error("%s@%d %s: passed over.", place.topic, record.offset, why_not)
    return part.next_offset


@asynccontextmanager
async def _consumer(
    kafka: Mapping[str, Any], topic: str
) -> AsyncIterator[tuple[AIOKafkaConsumer, TopicPartition]]:
    consumer = AIOKafkaConsumer(
        **kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        request_timeout_ms=10_000,
    )
    place = TopicPartition(topic, 0)
    async with clients.running(consumer, _GOODBYE_S):
        consumer.assign([place])
        yield consumer, place
