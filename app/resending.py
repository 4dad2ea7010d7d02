"""What all who send records once for ever have in common: one at a time, and it is remembered.

What was sent is remembered in `{name}-replayed`, or for documents in `{name}-documents`, in the
transaction that sends it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, ProducerFenced

from app.admin import kafka_failed
from app.config import Settings
from core.records import Headers
from wire.transactions import Brokers, RecordBatch, TransactionalProducer
from wire.whole import RecordsError, whole_topic

#: To begin, and for one transaction: the producer itself tries for as long as it takes.
_PATIENCE_S = 30.0
_GOODBYE_S = 5.0


class OnlySender:
    """The newest producer of its transactional id; marks: partitions of the topic that remembers.

    KafkaError and TimeoutError, from anywhere, are told by `only_sender`.
    """

    def __init__(self, producer: TransactionalProducer, marks: int, overtaken: str) -> None:
        self._producer, self.marks, self._overtaken = producer, marks, overtaken

    async def commit(self, batches: Sequence[RecordBatch]) -> list[int]:
        """One transaction.

        Returns:
            The offset of each one's first record, or -1 where the broker does not say it.

        Raises:
            RecordsError: a later sender took over. Said here: whoever reads meanwhile takes any
                KafkaError for one of its own.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._producer.commit(batches)
        except ProducerFenced as error:
            raise RecordsError(self._overtaken) from error

    async def abort(self) -> None:
        """End the transaction that was refused."""
        async with asyncio.timeout(_PATIENCE_S):
            await self._producer.abort()


@asynccontextmanager
async def only_sender(
    settings: Settings,
    transactional_id: str,
    timeout_ms: int,
    overtaken: str,
    remembers: str | None = None,
) -> AsyncIterator[OnlySender]:
    """From here on no earlier sender of this id can commit, and a later one ends this one.

    Args:
        settings: whose sources are sent to.
        transactional_id: of all who may not send at once.
        timeout_ms: while a transaction is open, readers of its partitions wait; after a `kill -9`
            that long, or until the next sender begins.
        overtaken: the sentence for who was ended by a later one.
        remembers: the topic that remembers; None: that of what was sent again.

    Raises:
        RecordsError: Kafka is away, or its topics are not as the settings say.
    """
    remembers = remembers or settings.replayed_topic
    topics = [*settings.source_topics.values(), remembers]
    brokers = Brokers(settings.client_kwargs(), topics)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await brokers.start()
            marks = await _marks_partitions(brokers, settings, remembers)
            producer = await TransactionalProducer.open(
                brokers, transactional_id, timeout_ms, lane=0
            )
        yield OnlySender(producer, marks, overtaken)
    except (KafkaError, OSError, TimeoutError) as error:
        raise RecordsError(kafka_failed(settings, error)) from error
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(brokers.stop(), _GOODBYE_S)


async def _marks_partitions(brokers: Brokers, settings: Settings, remembers: str) -> int:
    """How many the topic that remembers has.

    Raises:
        RecordsError: it is not there, or a source has another number than the settings say.
    """
    await brokers.client.force_metadata_update()
    found = brokers.client.cluster.partitions_for_topic
    for topic in settings.source_topics.values():
        if (count := len(found(topic) or ())) != settings.partitions:
            raise RecordsError(
                f"Topic {topic} has {count} partitions, not {settings.partitions}: run "
                "`onhand topics check`, for the right key would lead to the wrong one."
            )
    if not (marks := len(found(remembers) or ())):
        raise RecordsError(f"There is no topic {remembers}: run `onhand topics check`.")
    return marks


async def remembered_marks(
    consumer: AIOKafkaConsumer, settings: Settings, said: Callable[[int], None]
) -> AsyncIterator[bytes]:
    """The keys under which it was remembered what was ever sent again."""
    async for record in whole_topic(consumer, settings.replayed_topic, None, said):
        if record.key is not None and record.value is not None:
            yield record.key


def content_of(topic: str, key: bytes, value: bytes, headers: Headers) -> str:
    """A name for the record: SHA-256 of its parts, each with its length before it."""
    digest = hashlib.sha256()
    parts: list[bytes | None] = [topic.encode(), key, value]
    for name, content in headers:
        parts += [name.encode(errors="surrogateescape"), content]
    for part in parts:
        digest.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    return digest.hexdigest()
