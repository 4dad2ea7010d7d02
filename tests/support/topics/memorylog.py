"""Kafka as a load sees it, in memory: what it commits, and a death at any transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import TopicPartition

from app.config import Settings
from app.loading import remembered, sending
from app.loading.decisions import revoking
from dev.oracle.stock import Oracle, Record
from wire.fetch import Fetched, Stored, stored
from wire.transactions import RecordBatch

NOW_MS = 1_795_000_000_000


class Died(Exception):
    """The load ended here, as by `kill -9`."""


class MemoryLog:
    """Topics of committed records; behind those of a transaction stands its marker, None.

    Attributes:
        settings: whose topics.
        records: of each topic and partition.
        left: transactions until death; None: nobody dies.
        is_written: whether the one of the death is committed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.records: dict[TopicPartition, list[Stored | None]] = {}
        self.left: int | None = None
        self.is_written = False
        self.transactions = 0

    def stand_in(self, patch: pytest.MonkeyPatch) -> None:
        """For Kafka, wherever a load asks it."""

        @asynccontextmanager
        async def only(*_: object, **__: object) -> AsyncIterator[MemoryLog]:
            yield self

        patch.setattr(sending, "only_sender", only)
        patch.setattr(sending, "reader", only)
        for module in (sending, remembered, revoking):
            patch.setattr(module, "end_offsets", self.end_offsets)
        for module in (remembered, revoking):
            patch.setattr(module, "whole_topic", self.read)

    async def commit(self, batches: Sequence[RecordBatch]) -> list[int]:
        """As `OnlySender` does."""
        if self.left == 0 and not self.is_written:
            raise Died
        offsets = []
        for batch in batches:
            offsets.append(self.end(batch.tp))
            batch.builder.set_producer_state(1, 1, 0)
            data = bytes(batch.builder.build())
            self.append(batch.tp, list(stored(batch.tp, Fetched(data, 0, batch.size))))
        for tp in {batch.tp for batch in batches}:
            self.records[tp].append(None)
        self.transactions += 1
        if self.left == 0:
            raise Died
        if self.left is not None:
            self.left -= 1
        return offsets

    def append(self, tp: TopicPartition, some: Collection[Stored]) -> None:
        """At its end."""
        here = self.records.setdefault(tp, [])
        for record in some:
            here.append(record._replace(offset=len(here), timestamp=NOW_MS))

    def end(self, tp: TopicPartition) -> int:
        """Its next offset."""
        return len(self.records.get(tp, ()))

    def assign(self, tps: Sequence[TopicPartition]) -> None:
        """Who reads says where, each time."""

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """As a consumer does."""
        return dict.fromkeys(tps, 0)

    async def end_offsets(
        self, _: object, tps: Sequence[TopicPartition], *, committed: bool
    ) -> dict[TopicPartition, int]:
        """As `wire.fetch` does."""
        return {tp: self.end(tp) for tp in tps}

    async def read(
        self,
        _: object,
        topic: str,
        partition: int | None,
        said: Callable[[int], None],
        spans: Mapping[int, tuple[int, int]],
    ) -> AsyncIterator[Stored]:
        """As `tables.home.letters` does."""
        for number, (begin, end) in spans.items():
            for record in self.records.get(TopicPartition(topic, number), [])[begin:end]:
                if record is not None:
                    yield record

    def facts(self) -> list[Stored]:
        """Of all sources."""
        topics = self.settings.source_topics.values()
        places = [some for tp, some in self.records.items() if tp.topic in topics]
        return [one for some in places for one in some if one is not None]

    def oracle(self, window: int) -> Oracle:
        """The fold of it."""
        found = Oracle(self.settings.partitions, self.settings.topic_prefix, window)
        for one in self.facts():
            found.feed(Record(*one[:3], one.timestamp, one.key, one.value, tuple(one.headers)))
        return found
