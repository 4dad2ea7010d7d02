"""Whole topics, for a command that has to come to an end: from the first record to the last of now.

It reads Kafka alone, so it works while every worker is down, and only what is committed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from wire.batches import Unreadable
from wire.fetch import Stored, fetch, pause, stored

_STALLED_S = 30.0
_AT_ONCE = 5_000


class RecordsError(Exception):
    """Records could not be read, or sent, as somebody asked; the message is one plain sentence."""


def committed_reader(kafka: Mapping[str, Any]) -> AIOKafkaConsumer:
    """A consumer in no group, not started.

    Args:
        kafka: connection settings for aiokafka.
    """
    return AIOKafkaConsumer(
        **kafka,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        request_timeout_ms=10_000,
        fetch_max_wait_ms=100,
    )


async def whole_topic(
    consumer: AIOKafkaConsumer,
    topic: str,
    partition: int | None,
    said: Callable[[int], None],
    spans: Mapping[int, tuple[int, int]] | None = None,
) -> AsyncIterator[Stored]:
    """Committed records from the first to what is the end now, for who shows or repeats them.

    It waits for no open transaction; `agents.committed.CommittedReader` does, and says why.

    Args:
        consumer: started.
        topic: to read.
        partition: only this one; None: all.
        said: is told now and then how many were read.
        spans: where to begin and to end in each partition; others are not read.

    Raises:
        RecordsError: no such topic or partition, or Kafka stopped answering.
    """
    ends = await _assigned(consumer, topic, partition, spans)
    count, progress = 0, time.monotonic()
    # The position, not a count of records: markers of transactions take offsets too.
    open_ = {tp for tp in ends if await consumer.position(tp) < ends[tp]}
    while open_:
        for tp, part in (await fetch(consumer, 0.5, _AT_ONCE, open_)).items():
            if part.error is not None:
                raise part.error
            progress = time.monotonic()
            try:
                for record in stored(tp, part):
                    if record.offset >= ends[tp]:
                        break
                    count += 1
                    yield record
            except Unreadable as error:
                raise RecordsError(f"Topic {topic}, partition {tp.partition}: {error}") from None
            said(count)
            if part.next_offset >= ends[tp]:
                open_.discard(tp)
                pause(consumer, [tp])
        if time.monotonic() - progress > _STALLED_S:
            raise RecordsError(f"Kafka stopped sending {topic}: look at its log.")


async def _assigned(
    consumer: AIOKafkaConsumer,
    topic: str,
    partition: int | None,
    spans: Mapping[int, tuple[int, int]] | None,
) -> dict[TopicPartition, int]:
    """Assign what is to be read, at where it begins; and where each ends."""
    known: set[int] = set()
    if topic in await consumer.topics():
        # Partitions are known only of what is assigned.
        first = TopicPartition(topic, 0)
        consumer.assign([first])
        await consumer.end_offsets([first])
        known = consumer.partitions_for_topic(topic)
    wanted = [TopicPartition(topic, p) for p in sorted(known) if partition in (None, p)]
    if not wanted:
        if known:
            raise RecordsError(f"There is no partition {partition} of {topic}.")
        raise RecordsError(f"There is no topic {topic}: run `onhand topics create`.")
    if spans is not None:
        wanted = [tp for tp in wanted if tp.partition in spans]
    consumer.assign(wanted)
    if spans is None:
        await consumer.seek_to_beginning(*wanted)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(wanted)
    else:
        ends = {tp: spans[tp.partition][1] for tp in wanted}
        for tp in wanted:
            consumer.seek(tp, spans[tp.partition][0])
    return ends
