"""What a bridge carries: its settings, what was fetched, and how far a partition is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents.translating import Translated
from wire.fetch import Fetched
from wire.transactions import TransactionalProducer


class BridgeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a bridge works with.

    kafka: keyword arguments of an aiokafka client.
    topic: that is read. sources: topic of each role. dead_letters, documents: topics.
    partitions: of each source, and of the dead letters.
    transactional_id: of a partition of the topic that is read.
    commit_interval_s: least time between two commits of a partition.
    session_timeout_s: within which an assignment is given back.
    """

    kafka: dict[str, Any]
    topic: str
    sources: dict[str, str]
    dead_letters: str
    documents: str
    partitions: int
    transactional_id: Callable[[int], str]
    commit_interval_s: float
    session_timeout_s: float


class ForeignBatch(msgspec.Struct, frozen=True):
    """Consecutive records of one partition as fetched; as `tables.decoder.Batch`."""

    partition: int
    start: int
    next_offset: int
    nbytes: int
    epoch: int
    data: bytes


@dataclass(eq=False)
class Carried:
    """A partition that this worker has, and what of it is not committed yet.

    next: offset that is to be delivered next. committed: as its mark says.
    waits_because: it goes on by itself as soon as somebody else answers.
    """

    number: int
    epoch: int
    producer: TransactionalProducer | None = None
    topic_id: str = ""
    next: int = -1
    committed: int = -1
    waiting: list[Translated] = field(default_factory=list)
    waiting_records: int = 0
    commit: asyncio.Task[None] | None = None
    started_at: float = 0.0
    refusals: int = 0
    stopped_because: str | None = None
    waits_because: str | None = None
    room: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_active(self) -> bool:
        """Whether its records are being read."""
        return self.producer is not None and self.stopped_because is None

    @property
    def position(self) -> int:
        """Everything below it is done; markers of transactions included."""
        return self.committed if self.waiting or self.commit else max(self.next, self.committed)


def foreign_batch(partition: int, part: Fetched, epoch: int) -> ForeignBatch:
    """Of what was fetched."""
    size = len(part.data)
    return ForeignBatch(partition, part.start, part.next_offset, size, epoch, part.data)
