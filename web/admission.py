"""May this worker answer for a partition, given what was asked and what it said before?

Each worker remembers how far its answers for each partition have been, its own and
those it passed on, and gives none that is older: a client of one worker never sees
time go back, whoever holds the partition (DESIGN.md, section 4).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

import msgspec

from domain.lookup import (
    Freshness,
    NotCaughtUp,
    NotReady,
    TooStale,
    format_position,
    parse_position,
)
from tables.reading import Reading

Refusal = NotReady | NotCaughtUp | TooStale

DEFAULT_WAIT_S = 1.0
MAX_WAIT_S = 10.0
#: Seconds to wait for a standby to reach what this worker has already told.
OWN_WAIT_S = 0.8


class Asked(msgspec.Struct, frozen=True):
    """What a caller demands of an answer.

    min_position: offsets that must have been handled, by topic and partition.
    wait_s: how long to wait for that.
    max_lag_events: refuse what is further behind; None takes anything.
    hop: from another worker: answer from here or not at all.
    """

    min_position: Mapping[tuple[str, int], int] = {}
    wait_s: float = DEFAULT_WAIT_S
    max_lag_events: int | None = None
    hop: bool = False


ANYTHING = Asked()


class _Mark:
    """How far the answers for one partition have been."""

    __slots__ = ("offsets", "token")

    def __init__(self) -> None:
        self.token = ""
        self.offsets: dict[str, int] = {}


class Admission:
    """Keeps the marks and decides on local answers.

    Args:
        table: this worker's rows.
        topics: full names of the source topics; positions of others are ignored.
    """

    def __init__(self, table: Reading, topics: Collection[str]) -> None:
        self._table = table
        self._topics = frozenset(topics)
        self._marks = [_Mark() for _ in range(table.count)]
        self._parsed: dict[int, tuple[str, dict[str, int]]] = {}

    def at_once(self, partition: int, asked: Asked = ANYTHING) -> Freshness | None:
        """Freshness for an answer from here without waiting; however stale.

        None says no more than that `admit` has to decide.
        """
        fresh = self._table.freshness(partition)
        if fresh is None:
            return None
        if asked.min_position:
            floor = self.floor(partition, asked)
            if not self._covers(partition, fresh.position, floor):
                return None
        mark = self._marks[partition]
        if fresh.position != mark.token:
            if not self._covers(partition, fresh.position, mark.offsets):
                return None
            mark.token, mark.offsets = fresh.position, self._offsets(partition, fresh.position)
        return fresh

    async def admit(
        self, partition: int, asked: Asked, until: float = float("inf")
    ) -> Freshness | Refusal:
        """Freshness once this worker may answer from its own rows, waiting if need be.

        Args:
            partition: whose rows.
            asked: the caller's demands.
            until: monotonic time in seconds at which to give up waiting.

        The caller reads the rows right after, before any other await.
        """
        fresh = self._table.freshness(partition)
        if fresh is None:
            return NotReady(f"This worker cannot answer for partition {partition} now.", 1)
        floor = self.floor(partition, asked)
        if floor and not self._covers(partition, fresh.position, floor):
            wait_s = min(self.wait_s(partition, asked), until - time.monotonic())
            await self._table.reached(partition, floor, max(0.0, wait_s))
            fresh = self._table.freshness(partition)
            if fresh is None:
                return NotReady(f"Partition {partition} left this worker meanwhile.", 1)
            if not self._covers(partition, fresh.position, floor):
                return NotCaughtUp(
                    f"Partition {partition} is at {fresh.position or 'its beginning'} here, "
                    f"not yet at {self.floor_token([partition], asked)}.",
                    1,
                )
        too_stale = stale(asked, fresh)
        if too_stale is not None:
            return too_stale
        self.answered(partition, fresh.position)
        return fresh

    def answered(self, partition: int, position: str) -> None:
        """An answer at this position is about to leave this worker."""
        mark = self._marks[partition]
        if position == mark.token:
            return
        offsets = self._offsets(partition, position)
        if _covers(offsets, mark.offsets):
            mark.token, mark.offsets = position, offsets
        else:
            mark.offsets = _max(mark.offsets, offsets)
            mark.token = format_position({(t, partition): o for t, o in mark.offsets.items()})

    def answered_all(self, token: str) -> None:
        """The same for a token that spans partitions, of a list or a lookup."""
        by_partition: dict[int, dict[tuple[str, int], int]] = {}
        for (topic, partition), offset in parse_position(token).items():
            if 0 <= partition < len(self._marks):
                by_partition.setdefault(partition, {})[topic, partition] = offset
        for partition, offsets in by_partition.items():
            self.answered(partition, format_position(offsets))

    def floor(self, partition: int, asked: Asked) -> dict[str, int]:
        """Offsets by topic that any answer for this partition must hold."""
        marked = self._marks[partition].offsets
        if not asked.min_position:
            return marked
        wanted = {
            topic: offset
            for (topic, number), offset in asked.min_position.items()
            if number == partition and topic in self._topics
        }
        return _max(marked, wanted) if wanted else marked

    def floor_token(self, partitions: Iterable[int], asked: Asked) -> str:
        """The same as a token for another worker; empty if anything will do."""
        return format_position(
            {(t, p): o for p in partitions for t, o in self.floor(p, asked).items()}
        )

    def waits_for(self, partition: int, asked: Asked) -> bool:
        """Whether the caller's own `min_position` says anything about this partition."""
        return any(p == partition and t in self._topics for t, p in asked.min_position)

    def wait_s(self, partition: int, asked: Asked) -> float:
        """Seconds that an answer may wait for the floor: the caller's, or ours for the marks."""
        return asked.wait_s if self.waits_for(partition, asked) else OWN_WAIT_S

    def handled(self, fresh: Freshness) -> int:
        """Sum of next offsets, to compare with what heartbeats say (`Claim.handled`)."""
        return sum(offset + 1 for offset in self._offsets(fresh.partition, fresh.position).values())

    def _covers(self, partition: int, position: str, floor: Mapping[str, int]) -> bool:
        return not floor or _covers(self._offsets(partition, position), floor)

    def _offsets(self, partition: int, position: str) -> dict[str, int]:
        known = self._parsed.get(partition)
        if known is None or known[0] != position:
            offsets = {
                topic: offset
                for (topic, number), offset in parse_position(position).items()
                if number == partition
            }
            known = self._parsed[partition] = (position, offsets)
        return known[1]


def stale(asked: Asked, fresh: Freshness) -> TooStale | None:
    """The refusal if the answer would be further behind than the caller takes."""
    if asked.max_lag_events is None or fresh.lag_events <= asked.max_lag_events:
        return None
    return TooStale(
        f"The best answer at hand is {fresh.lag_events:,} events behind, "
        f"you take {asked.max_lag_events:,}.",
        1,
    )


def _covers(offsets: Mapping[str, int], floor: Mapping[str, int]) -> bool:
    return all(offsets.get(topic, -1) >= offset for topic, offset in floor.items())


def _max(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {t: max(one.get(t, -1), other.get(t, -1)) for t in one.keys() | other.keys()}
