"""Two small projections in a chain, and what runs a step of it on a real Kafka.

Lines become words, words become counts. Nothing has ids, so there is no window; the first step
has no rows; both emit. The words are a topic between the two, as wide as the lines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from core.columns import HEAD, Columns
from core.partitioning import partition_for
from core.projection import Changes, Emitted, Load, imported
from core.records import Address, Record, crc_of
from core.refusals import Refused, dead_letter
from core.stages import Stage
from core.sums import Changed, RowNumbers, Sums
from dev.workers import until
from tables.decoder import Decoder
from tables.home.memory import MemoryStores
from tables.home.store import Stores, row_pairs
from tables.table import Table
from tests.support.inside.delivered import WAIT_S, FakeDelivery, FakeMembership
from tests.support.inside.owners import COMPACT, a_config
from tests.support.topics.fetching import as_sent
from tests.support.topics.logs import Put, a_name, make_all, plain_writer, reader
from wire.fetch import Fetched

PARTITIONS = 3
_NOTHING = Refused("nothing", "The record has no value.")


class _Words:
    rules = 1
    line: np.dtype[Any] = np.dtype(list(HEAD))
    identity = False
    naming: frozenset[str] = frozenset()

    def columns(self, address: Address, records: Sequence[Record]) -> Columns:
        sound = [record for record in records if record[3] is not None]
        events = np.zeros(len(sound), self.line)
        events["offset"] = [record[0] for record in sound]
        events["time_ms"] = [record[1] for record in sound]
        return Columns(
            [record[3] or b"" for record in sound],
            events,
            [dead_letter(address, record, _NOTHING) for record in records if record[3] is None],
            records[0][:2],
            records[-1][:2],
            crc_of(records[-1]),
        )


class _Split(_Words):
    """Each line's words."""

    name = "split"

    def memory(self, partition: int, partitions: int, *, empty: bool) -> Splitting:
        return Splitting(partitions)


class Splitting:
    """Keeps nothing."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._emitted: list[Emitted] = []

    @property
    def waiting(self) -> int:
        return len(self._emitted)

    def add(self, columns: Columns, load: Load) -> None:
        for line in columns.keys:
            for word in line.split():
                where = partition_for(word, self._partitions)
                self._emitted.append(Emitted("words", where, word, word, [("n", b"1")]))

    def take(self) -> Changes:
        emitted, self._emitted = self._emitted, []
        return Changes(emitted=emitted)


class _Counts(_Words):
    """How often each word came."""

    name = "counts"

    def memory(self, partition: int, partitions: int, *, empty: bool) -> Counting:
        return Counting(partition, empty)


class Counting:
    """A row is one number of 8 bytes."""

    def __init__(self, partition: int, empty: bool) -> None:
        self._partition = partition
        self.sums = Sums(np.dtype([("count", "<i8")]), _read, _written, empty=empty)
        self._touched: set[bytes] = set()

    @property
    def waiting(self) -> int:
        return len(self._touched)

    def add(self, columns: Columns, load: Load) -> None:
        self.sums.add(self.sums.change(columns.keys, load), 0, 1)
        self._touched |= set(columns.keys)

    def take(self) -> Changes:
        self._touched.clear()
        rows = self.sums.take()
        return Changes(rows, self._told(rows))

    def _told(self, rows: Changed) -> Iterator[Emitted]:
        for piece in rows.encoded(1_000):
            for word, count in piece.items():
                yield Emitted("counted", self._partition, word, count)


def _read(stored: bytes) -> RowNumbers:
    if len(stored) != 8:
        raise ValueError(f"{len(stored)} bytes are no count")
    return (int.from_bytes(stored),)


def _written(rows: list[RowNumbers]) -> Iterable[bytes]:
    return (count.to_bytes(8) for (count,) in rows)


SPLIT, COUNTS = _Split(), _Counts()


class Topics:
    """Of one chain."""

    def __init__(self, kafka: str) -> None:
        self.kafka = kafka
        self.lines, self.words, self.counted = (a_name() for _ in range(3))
        make_all(kafka, {topic: {} for topic in (self.lines, self.words, self.counted)}, PARTITIONS)

    def say(self, lines: Iterable[str], partition: int) -> None:
        """In one record batch."""
        plain_writer(self.kafka).write(
            self.lines, [Put(None, s.encode()) for s in lines], partition
        )

    def committed(self, topic: str) -> list[tuple[bytes, bytes]]:
        """Key and value of what committed readers see, partition by partition."""
        return [
            (record.key or b"", record.value or b"")
            for partition in range(PARTITIONS)
            for record in reader(self.kafka).settled(topic, partition)
        ]


class Step:
    """The names of one step, which all of its workers share."""

    def __init__(self, topics: Topics, name: str, source: str, outputs: dict[str, str]) -> None:
        self.kafka, self.source, self.where = topics.kafka, source, f"{__name__}:{name}"
        self.changelog, dead_letters = a_name(), a_name()
        make_all(self.kafka, {self.changelog: COMPACT, dead_letters: {}}, PARTITIONS)
        self.config = a_config(
            self.kafka,
            projection=imported(self.where),
            topics={source: "source"},
            outputs=outputs,
            changelog=self.changelog,
            dead_letters=dead_letters,
            transactional_id=lambda partition: f"{self.changelog}-{partition}",
            partitions=PARTITIONS,
            window=0,
        )

    @asynccontextmanager
    async def worker(self, stores: Stores | None = None) -> AsyncIterator[StepWorker]:
        worker = StepWorker(self, stores or MemoryStores())
        await worker.table.start()
        try:
            yield worker
        finally:
            await worker.table.stop()


class StepWorker:
    """One worker's table of a step, with a transport in the test's hand."""

    def __init__(self, step: Step, stores: Stores) -> None:
        self.step, self.delivery = step, FakeDelivery()
        self.failed: list[str] = []
        self.table = Table(step.config, stores, FakeMembership(), self.delivery, self._fail)
        self._decoder = Decoder(step.where, step.config.topics, PARTITIONS)

    async def _fail(self, sentence: str, error: BaseException | None) -> None:
        self.failed.append(sentence)

    async def own(self) -> None:
        """Take all partitions over."""
        await self.table.assign(range(PARTITIONS), ())

        async def owned() -> bool:
            held = self.table.held.values()
            return len(held) == len(self.delivery.started) == PARTITIONS and all(
                partition.state is Stage.ACTIVE for partition in held
            )

        await until(owned, f"owned; {self.failed}", WAIT_S, 0.005)

    async def deliver(self, partition: int, most: int = 2**31) -> None:
        """What committed readers see of the source from where the fold is, if it is owned."""
        held, source = self.table.held[partition], self.step.source
        if held.owned is None:
            return
        start = held.owned.fold.positions[source]
        end = min(reader(self.step.kafka).end(source, partition), start + most)
        records: list[Record] = [
            (r.offset, r.timestamp_ms, r.key, r.value, r.headers)
            for r in reader(self.step.kafka).records(source, partition, start)
            if start <= r.offset < end
        ]
        part = Fetched(as_sent(records), start, max(start, end))
        await self.table.fold(self._decoder.batch(source, partition, part, held.epoch))

    async def catch_up(self) -> None:
        """Deliver again after every take-over, until all of the source is committed."""
        for partition in range(PARTITIONS):
            await self._catch_up(partition)

    async def _catch_up(self, partition: int) -> None:
        end = reader(self.step.kafka).end(self.step.source, partition)
        delivered = 0

        async def caught_up() -> bool:
            nonlocal delivered
            held = self.table.held[partition]
            if held.state is Stage.ACTIVE and held.epoch != delivered:
                delivered = held.epoch
                await self.deliver(partition)
            return await self.table.reached(partition, {self.step.source: end - 1}, 0.05)

        await until(caught_up, f"caught up; {self.failed}", WAIT_S, 0)

    async def has_failed(self) -> None:
        """Wait until the table has ended the worker."""

        async def failed() -> bool:
            return bool(self.failed)

        await until(failed, "failed", WAIT_S)

    def rows(self) -> dict[bytes, int]:
        """What the stores hold."""
        return {
            key: int.from_bytes(value)
            for partition in self.table.held.values()
            for key, value in row_pairs(partition.store)
        }
