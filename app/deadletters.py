"""`onhand dlq list|show`: what the table refused, and why."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from app.admin import kafka_failed
from app.config import Settings
from tables.home.letters import Letter, letters
from wire import clients
from wire.fetch import Stored
from wire.whole import RecordsError, committed_reader


class Listed(msgspec.Struct, frozen=True):
    """Counts by (topic, reason), and the newest letters, newest first.

    strange: how many records there are no dead letters.
    """

    total: int
    counts: dict[tuple[str, str], int]
    recent: list[Letter]
    strange: int = 0


async def listed(
    settings: Settings, limit: int, reason: str | None, said: Callable[[int], None]
) -> Listed:
    """Read all dead letters of this version.

    Args:
        settings: whose dead letters.
        limit: how many of the newest to keep.
        reason: only this one; None: all.
        said: is told now and then how many were read.

    Raises:
        RecordsError: no Kafka, or no such topic.
    """
    counts: Counter[tuple[str, str]] = Counter()
    newest: list[tuple[int, int, Letter]] = []
    total = strange = 0

    def is_strange(record: Stored) -> None:
        nonlocal strange
        strange += 1

    async with reader(settings) as consumer:
        async for letter in letters(consumer, settings.dlq_topic, None, said, is_strange):
            if reason not in (None, letter.reason):
                continue
            total += 1
            counts[letter.topic, letter.reason] += 1
            heapq.heappush(newest, (letter.refused_ms, total, letter))
            if len(newest) > limit:
                heapq.heappop(newest)
    recent = [letter for _, _, letter in sorted(newest, reverse=True)]
    return Listed(total, dict(counts.most_common()), recent, strange)


async def found(settings: Settings, position: str) -> Letter | None:
    """The dead letter whose original stood at `topic-partition@offset`; None: there is none.

    Raises:
        RecordsError: no Kafka, no such topic, or not a position.
    """
    head, _, offset = position.rpartition("@")
    topic, _, partition = head.rpartition("-")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise RecordsError(f"{position!r} is no position: use TOPIC-PARTITION@OFFSET.")
    async with reader(settings) as consumer:
        # A dead letter lies in the partition that its original lay in; a bridge may read a topic
        # of more partitions than there are.
        place = int(partition) % settings.partitions
        async for letter in letters(consumer, settings.dlq_topic, place, lambda _: None):
            if letter.position == f"{topic}-{int(partition)}@{int(offset)}":
                return letter
    return None


@asynccontextmanager
async def reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer in no group; errors of Kafka's become RecordsError.

    Raises:
        RecordsError: Kafka is away or failed.
    """
    try:
        async with clients.running(committed_reader(settings.client_kwargs())) as consumer:
            yield consumer
    except (KafkaError, OSError, TimeoutError) as error:
        raise RecordsError(kafka_failed(settings, error)) from error
