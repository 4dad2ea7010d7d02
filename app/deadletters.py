"""`onhand dlq list|show`: what the table refused, and why.

Reads Kafka alone, so it works while every worker is down. All readers here read
committed: a dead letter of an aborted commit was never written.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from app.config import Settings
from app.topics import kafka_failed

#: How many headers the service appends to a record's own (tables/changelog.py).
_OUR_HEADERS = 6
_STALLED_S = 30.0


class DeadLettersError(Exception):
    """Dead letters could not be read or sent again; the message is one plain sentence."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One refused record as it came, and why.

    topic, partition, offset, recorded_ms: where and when it was first appended.
    headers: its own, without ours. refused_ms: when the table refused it.
    size, sha256: of key and value, where these were too large to keep; else 0 and "".
    """

    topic: str
    partition: int
    offset: int
    recorded_ms: int
    refused_ms: int
    reason: str
    detail: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    size: int = 0
    sha256: str = ""

    @property
    def position(self) -> str:
        """`topic-partition@offset` of the original; its name for `show` and for replays."""
        return f"{self.topic}-{self.partition}@{self.offset}"


class Listed(msgspec.Struct, frozen=True):
    """Counts by (topic, reason), and the newest letters, newest first."""

    total: int
    counts: dict[tuple[str, str], int]
    recent: list[Letter]


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
        DeadLettersError: no Kafka, or no such topic.
    """
    counts: Counter[tuple[str, str]] = Counter()
    newest: list[tuple[int, int, Letter]] = []
    total = 0
    async with reader(settings) as consumer:
        async for letter in letters(consumer, settings, None, said):
            if reason not in (None, letter.reason):
                continue
            total += 1
            counts[letter.topic, letter.reason] += 1
            heapq.heappush(newest, (letter.refused_ms, total, letter))
            if len(newest) > limit:
                heapq.heappop(newest)
    recent = [letter for _, _, letter in sorted(newest, reverse=True)]
    return Listed(total, dict(counts.most_common()), recent)


async def found(settings: Settings, position: str) -> Letter | None:
    """The dead letter whose original stood at `topic-partition@offset`; None: there is none.

    Raises:
        DeadLettersError: no Kafka, no such topic, or not a position.
    """
    head, _, offset = position.rpartition("@")
    topic, _, partition = head.rpartition("-")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise DeadLettersError(f"{position!r} is no position: use TOPIC-PARTITION@OFFSET.")
    async with reader(settings) as consumer:
        # A dead letter lies in the partition that its original lay in.
        async for letter in letters(consumer, settings, int(partition), lambda _: None):
            if letter.position == f"{topic}-{int(partition)}@{int(offset)}":
                return letter
    return None


@asynccontextmanager
async def reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer in no group; errors of Kafka's become DeadLettersError.

    Raises:
        DeadLettersError: Kafka is away or failed.
    """
    consumer = AIOKafkaConsumer(
        **settings.client_kwargs(),
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        request_timeout_ms=10_000,
        fetch_max_wait_ms=100,
    )
    try:
        await consumer.start()
        yield consumer
    except (KafkaError, OSError, TimeoutError) as error:
        raise DeadLettersError(kafka_failed(settings, error)) from error
    finally:
        await consumer.stop()


async def letters(
    consumer: AIOKafkaConsumer,
    settings: Settings,
    partition: int | None,
    said: Callable[[int], None],
) -> AsyncIterator[Letter]:
    """All dead letters there are now; of one partition, or of all if None."""
    async for record in records(consumer, settings.dlq_topic, partition, said):
        yield _letter(record)


async def records(
    consumer: AIOKafkaConsumer,
    topic: str,
    partition: int | None,
    said: Callable[[int], None],
) -> AsyncIterator[ConsumerRecord[bytes, bytes]]:
    """Committed records from the first to what is the end now.

    Raises:
        DeadLettersError: no such topic or partition, or Kafka stopped answering.
    """
    known: set[int] = set()
    if topic in await consumer.topics():
        # Partitions are known only of what is assigned.
        first = TopicPartition(topic, 0)
        consumer.assign([first])
        await consumer.end_offsets([first])
        known = consumer.partitions_for_topic(topic)
    wanted = [TopicPartition(topic, p) for p in sorted(known) if partition in (None, p)]
    if not wanted:
        what = f"partition {partition} of {topic}" if known else f"topic {topic}"
        raise DeadLettersError(f"There is no {what}: run `onhand topics check`.")
    consumer.assign(wanted)
    await consumer.seek_to_beginning(*wanted)
    ends = await consumer.end_offsets(wanted)
    count, progress = 0, time.monotonic()
    # The position, not a count of records: markers of transactions take offsets too.
    open_ = [tp for tp in wanted if await consumer.position(tp) < ends[tp]]
    while open_:
        for batch in (await consumer.getmany(*open_, timeout_ms=500)).values():
            progress = time.monotonic()
            for record in batch:
                count += 1
                yield record
            said(count)
        before, open_ = open_, [tp for tp in open_ if await consumer.position(tp) < ends[tp]]
        if before != open_:
            progress = time.monotonic()
        if time.monotonic() - progress > _STALLED_S:
            raise DeadLettersError(f"Kafka stopped sending {topic}: look at its log.")


def _letter(record: ConsumerRecord[bytes, bytes]) -> Letter:
    """Undo what tables/changelog.py did; ours are the last headers, whatever came before."""
    headers: list[tuple[str, bytes | None]] = list(record.headers)
    ours = dict(headers[-_OUR_HEADERS:])
    size, sha256 = 0, ""
    if "onhand-sha256" in ours:  # too large to keep: its own headers are gone as well
        ours = dict(headers)
        size, sha256 = int(ours["onhand-size"] or 0), _text(ours["onhand-sha256"])
        headers = []
    try:
        return Letter(
            topic=_text(ours["onhand-topic"]),
            partition=int(ours["onhand-partition"] or b""),
            offset=int(ours["onhand-offset"] or b""),
            recorded_ms=int(ours["onhand-timestamp"] or b""),
            refused_ms=record.timestamp,
            reason=_text(ours["onhand-reason"]),
            detail=_text(ours["onhand-detail"]),
            key=record.key,
            value=record.value,
            headers=headers[:-_OUR_HEADERS],
            size=size,
            sha256=sha256,
        )
    except (KeyError, ValueError) as error:
        raise DeadLettersError(
            f"{record.topic}-{record.partition}@{record.offset} is no dead letter of Onhand "
            f"({error}): somebody else writes to that topic."
        ) from error


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def described(letter: Letter) -> dict[str, Any]:
    """As `--json` shows it: bytes as text where they are UTF-8, else as base64."""
    shown: dict[str, Any] = {
        "position": letter.position,
        "reason": letter.reason,
        "detail": letter.detail,
        "recorded_ms": letter.recorded_ms,
        "refused_ms": letter.refused_ms,
        **_readable("key", letter.key),
        **_readable("value", letter.value),
        "headers": [{"name": name, **_readable("value", value)} for name, value in letter.headers],
    }
    if letter.sha256:
        shown |= {"size": letter.size, "sha256": letter.sha256}
    return shown


def _readable(name: str, value: bytes | None) -> dict[str, Any]:
    try:
        return {name: None if value is None else value.decode()}
    except UnicodeDecodeError:
        import base64

        assert value is not None
        return {f"{name}_base64": base64.b64encode(value).decode()}
