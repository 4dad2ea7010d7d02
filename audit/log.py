"""The log of one partition, read from a position to another, in pieces as they come."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from core.records import Record
from core.words import in_words
from wire import clients
from wire.batches import Unreadable, pieces
from wire.fetch import end_offsets, fetch

#: Kafka that sends nothing for this long is away.
_STALLED_S: Final = 30.0
_AT_ONCE: Final = 20_000

_LONGEST_WAIT_MS: Final = 20


class AuditFailed(Exception):
    """It cannot be told whether all is well; the message is one sentence."""


class SourceLog:
    """The sources, as one consumer without a group reads them. One reading at a time."""

    def __init__(self, consumer: AIOKafkaConsumer, topics: Sequence[str]) -> None:
        self._consumer, self._topics = consumer, topics

    async def ends(self, partition: int) -> dict[str, int]:
        """Where a committed reader ends now, by topic.

        Raises:
            AuditFailed: Kafka does not answer, or there is no such topic.
        """
        tps = [TopicPartition(topic, partition) for topic in self._topics]
        self._consumer.assign(tps)
        try:
            found = await end_offsets(self._consumer, tps, committed=True)
        except KafkaError as error:
            raise AuditFailed(
                f"Kafka does not say where the log ends ({in_words(error)})."
            ) from error
        return {tp.topic: end for tp, end in found.items()}

    async def read(
        self, partition: int, start: Mapping[str, int], end: Mapping[str, int]
    ) -> AsyncIterator[tuple[str, list[Record]]]:
        """Records from `start` up to `end`, by topic; each topic's in offset order.

        Raises:
            AuditFailed: it does not begin there, cannot be read, or Kafka stopped answering.
        """
        open_ = {
            TopicPartition(topic, partition)
            for topic in self._topics
            if start.get(topic, 0) < end.get(topic, 0)
        }
        if not open_:
            return
        self._consumer.assign(sorted(open_))
        for tp in open_:
            self._consumer.seek(tp, start.get(tp.topic, 0))
        progress = time.monotonic()
        while open_:
            for tp, part in (await fetch(self._consumer, 0.5, _AT_ONCE, open_)).items():
                if isinstance(part.error, OffsetOutOfRangeError):
                    raise AuditFailed(
                        f"Topic {tp.topic}, partition {partition}, does not begin at offset "
                        f"{start.get(tp.topic, 0)} any more: the log was cut, and cannot say "
                        "what stock it made."
                    )
                if part.error is not None:
                    raise AuditFailed(f"Topic {tp.topic} cannot be read ({part.error!r}).")
                progress = time.monotonic()
                last = end[tp.topic]
                try:
                    for records in pieces(part.data, part.start):
                        if records and records[-1][0] >= last:
                            records = [one for one in records if one[0] < last]
                        yield tp.topic, records
                except Unreadable as error:
                    raise AuditFailed(f"Topic {tp.topic}, partition {partition}: {error}") from None
                if part.next_offset >= last:
                    open_.discard(tp)
                    self._consumer.pause(tp)
            if time.monotonic() - progress > _STALLED_S:
                raise AuditFailed("Kafka stopped sending the log: look whether it runs.")


@asynccontextmanager
async def opened(kafka: Mapping[str, Any], topics: Sequence[str]) -> AsyncIterator[SourceLog]:
    """A connection for as long as this is open.

    Raises:
        AuditFailed: Kafka does not answer.
    """
    consumer = AIOKafkaConsumer(
        **kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 * 2**20,
        # What is read is known to be there. And a broker answers one request after the other: who
        # asks for another partition would wait until the question before, for more of the one that
        # is read to its end, is given up: half a second each time.
        fetch_max_wait_ms=_LONGEST_WAIT_MS,
    )
    try:
        try:
            await clients.start(consumer)
        except (KafkaError, OSError) as error:
            raise AuditFailed(
                f"Kafka does not answer at {kafka['bootstrap_servers']}: is it there?"
            ) from error
        yield SourceLog(consumer, topics)
    finally:
        await clients.let_go(consumer)
