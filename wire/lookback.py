"""Look at committed records of topics for a moment: forward from a place, or newest first.

For questions of people. Everything is bounded, by a count of records and by the clock, and
whoever asked is told how far the look went. The loop gets a turn after each piece.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Generic, NamedTuple, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException

from wire.batches import Unreadable
from wire.fetch import Stored, fetch, pause, stored

T = TypeVar("T")

#: Records of a partition that are read at once, looking back: first few, then more.
_FIRST_CHUNK = 64
_LAST_CHUNK = 256
#: Records handed over before the loop gets a turn: a few milliseconds.
_AT_ONCE = 500
_POLL_S = 0.2


class Budget(msgspec.Struct):
    """What a look may still cost: records, and the monotonic time by which it ends."""

    records: int
    until: float

    @property
    def is_spent(self) -> bool:
        """Whether it has to end now."""
        return self.records <= 0 or time.monotonic() > self.until


class Look:
    """Reads pieces of the partitions that a started consumer is given here, and no others."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]) -> None:
        self._consumer = consumer
        self._partitions = list(partitions)

    async def begin(self) -> None:
        """Assign them all once: another assignment each time would cost a metadata request."""
        self._consumer.assign(self._partitions)
        self._consumer.pause(*self._partitions)

    async def beginnings(self, some: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset of each that is still there."""
        found: dict[TopicPartition, int] = await self._consumer.beginning_offsets(list(some))
        return found

    async def ends(self, some: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset behind the last committed record of each."""
        found: dict[TopicPartition, int] = await self._consumer.end_offsets(list(some))
        return found

    async def read(
        self, spans: Mapping[TopicPartition, tuple[int, int]], budget: Budget
    ) -> AsyncIterator[Stored]:
        """Committed records of each span [start, end), in order within each partition.

        Ends early once the budget is spent: then `reached` says how far it came. Raises KafkaError.
        """
        open_ = {tp: end for tp, (start, end) in spans.items() if start < end}
        self.reached = {tp: start for tp, (start, _) in spans.items()}
        for tp in open_:
            self._consumer.seek(tp, spans[tp][0])
        self._consumer.resume(*open_)
        try:
            while open_ and not budget.is_spent:
                for tp, part in (await fetch(self._consumer, _POLL_S, _AT_ONCE, open_)).items():
                    if part.error is not None:
                        raise part.error
                    # Markers of transactions take offsets too.
                    reached = part.next_offset
                    for record in stored(tp, part):
                        # A batch is not cut by the broker, and may hold more than is allowed.
                        if record.offset >= open_[tp] or budget.is_spent:
                            reached = record.offset
                            break
                        budget.records -= 1
                        yield record
                    self.reached[tp] = min(reached, open_[tp])
                    if self.reached[tp] >= open_[tp]:
                        del open_[tp]
                        pause(self._consumer, [tp])
        except Unreadable as error:
            raise CorruptRecordException(str(error)) from error
        finally:
            pause(self._consumer, open_)


class _Kept(NamedTuple, Generic[T]):
    timestamp: int
    offset: int
    what: T


class Lookback(Generic[T]):
    """What committed records of one topic say, newest first over all its partitions.

    Args:
        look: has these partitions.
        before: for each, look at records below this offset.
        keep: makes of a record what is wanted of it, or None. As many as `_LAST_CHUNK` of each
            partition are held at once, so let it leave out what is large.
        budget: for records that are read, wanted or not.
    """

    def __init__(
        self,
        look: Look,
        before: Mapping[TopicPartition, int],
        keep: Callable[[Stored], T | None],
        budget: Budget,
    ) -> None:
        self._look, self._keep, self._budget = look, keep, budget
        self._low = dict(before)
        self._first: dict[TopicPartition, int] = {}
        self._kept: dict[TopicPartition, list[_Kept[T]]] = {tp: [] for tp in before}
        self._oldest_ms: dict[TopicPartition, int] = {}
        self._chunk = _FIRST_CHUNK

    @property
    def is_complete(self) -> bool:
        """Whether everything down to the topic's beginning was looked at."""
        return bool(self._first) and not self._unread()

    @property
    def since_ms(self) -> int | None:
        """All wanted records from this time on were given or are known; None: of all times.

        In milliseconds since the epoch, by the topic's timestamps.
        """
        unread = self._unread() if self._first else list(self._low)
        now_ms = int(time.time() * 1000)
        known = [self._oldest_ms.get(tp, now_ms) for tp in unread]
        # What was read and not given comes with the next page.
        known += [kept[-1].timestamp + 1 for kept in self._kept.values() if kept]
        return max(known, default=None)

    def is_empty(self, tp: TopicPartition) -> bool:
        """Whether nothing of it that was read is left to be given."""
        return not self._kept[tp]

    def places(self) -> dict[TopicPartition, int]:
        """Where another look goes on: `before` of it."""
        return {
            tp: kept[-1].offset + 1 if kept else self._low[tp] for tp, kept in self._kept.items()
        }

    async def newest(self) -> AsyncIterator[T]:
        """What was kept, newest first, until the beginning or until the budget is spent."""
        self._first = await self._look.beginnings(self._low)
        while True:
            hungry = [tp for tp in self._unread() if not self._kept[tp]]
            if hungry:
                if self._budget.is_spent:
                    return
                await self._read(hungry)
                continue
            filled = [tp for tp, kept in self._kept.items() if kept]
            if not filled:
                return
            newest = max(filled, key=lambda tp: (self._kept[tp][-1].timestamp, tp))
            yield self._kept[newest].pop().what

    def _unread(self) -> list[TopicPartition]:
        return [tp for tp, low in self._low.items() if low > self._first.get(tp, 0)]

    async def _read(self, hungry: Collection[TopicPartition]) -> None:
        """The next older piece of each of these."""
        spans = {
            tp: (max(self._first[tp], self._low[tp] - self._chunk), self._low[tp]) for tp in hungry
        }
        self._chunk = min(2 * self._chunk, _LAST_CHUNK)
        found: dict[TopicPartition, list[_Kept[T]]] = {tp: [] for tp in hungry}
        oldest: dict[TopicPartition, int] = {}
        # A piece is read whole, or it would be unknown which of its records are missing.
        whole = Budget(2**62, self._budget.until + 1.0)
        async for record in self._look.read(spans, whole):
            self._budget.records -= 1
            tp = TopicPartition(record.topic, record.partition)
            oldest.setdefault(tp, record.timestamp)
            if (what := self._keep(record)) is not None:
                found[tp].append(_Kept(record.timestamp, record.offset, what))
        for tp, (start, end) in spans.items():
            if self._look.reached[tp] < end:
                continue  # not whole: as if it had not been read
            self._low[tp], self._kept[tp] = start, found[tp]
            if tp in oldest:
                self._oldest_ms[tp] = oldest[tp]
