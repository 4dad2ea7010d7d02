"""May this worker answer for a partition, given what was asked and what it said before?

Each worker remembers how far its answers for each partition have been, its own and
those it passed on, and gives none that is older: a client of one worker never sees
time go back, whoever holds the partition (docs/architecture.md, Freshness and floors).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

import msgspec

from core.positions import Place, format_position, parse_position
from core.stages import Freshness, Role
from domain.lookup import NotCaughtUp, NotReady, TooBusy, TooStale
from tables.reading import Reading
from tables.tasks import Tasks
from web.cluster.ends import Ends, NoEnds

Unanswered = NotReady | NotCaughtUp | TooStale | TooBusy

DEFAULT_WAIT_S = 1.0
MAX_WAIT_S = 10.0
#: Requests of one worker that wait for a position. They hold none of the places of others.
MAX_WAITERS = 1024
#: Least time between two questions to the broker about what other workers claimed.
CHECK_S = 0.5
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


Offsets = Mapping[tuple[str, int], int]
#: Read once for each state of the table: the same token gives the same object.
_parsed = lru_cache(maxsize=4096)(parse_position)


class Admission:
    """Keeps how far the answers for each partition have been, and decides on local ones.

    Positions of topics other than `topics`, the sources, are ignored.
    """

    def __init__(self, table: Reading, topics: Collection[str], ends: Ends | None = None) -> None:
        self._table = table
        self._topics = frozenset(topics)
        self._ends = ends or NoEnds()
        #: Requests that wait for a position that their callers named.
        self.waiters = 0
        self._marks: list[Offsets] = [{}] * table.count
        #: As tokens: of each mark, made once.
        self._tokens: list[tuple[Offsets, str]] = [(mark, "") for mark in self._marks]
        #: Ends that a broker gave: what lies before them needs no question.
        self._known: dict[tuple[str, int], int] = {}
        self._tasks = Tasks()
        self._is_checking = False
        #: Whether a mark may be doubtful: to look through all of them takes 6 µs.
        self._has_doubts = False

    async def close(self) -> None:
        """Ask the broker no more. May be called twice."""
        await self._tasks.cancel()

    def at_once(self, partition: int, asked: Asked = ANYTHING) -> Freshness | None:
        """Freshness for an answer from here without waiting; however stale.

        None says no more than that `admit` has to decide.
        """
        fresh = self._table.freshness(partition)
        return fresh if fresh is not None and self.is_far_enough(fresh, asked) else None

    def is_far_enough(self, fresh: Freshness, asked: Asked = ANYTHING) -> bool:
        """Whether an answer from here, which is about to leave, may be given without waiting."""
        partition = fresh.partition
        offsets, mark = _parsed(fresh.position), self._marks[partition]
        if asked.min_position and not _covers(offsets, self.floor(partition, asked)):
            return False
        if offsets is not mark:
            if not _covers(offsets, mark):
                return False
            self._marks[partition] = offsets
        return True

    async def admit(
        self, partition: int, asked: Asked, until: float = float("inf")
    ) -> Freshness | Unanswered:
        """Freshness once this worker may answer from its own rows, waiting if need be.

        Until the monotonic time `until`. The caller reads the rows right after, before any
        other await.
        """
        fresh = self._table.freshness(partition)
        if fresh is None:
            return NotReady(f"This worker cannot answer for partition {partition} now.", 1)
        floor = self.floor(partition, asked)
        if not _covers(_parsed(fresh.position), floor):
            wait_s = min(self.wait_s(partition, asked), until - time.monotonic())
            beyond = await self._wait(partition, asked, floor, max(0.0, wait_s))
            if beyond is not None:
                return beyond
            fresh = self._table.freshness(partition)
            if fresh is None:
                return NotReady(f"Partition {partition} left this worker meanwhile.", 1)
            if not _covers(_parsed(fresh.position), floor):
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

    async def _wait(
        self, partition: int, asked: Asked, floor: Offsets, wait_s: float
    ) -> NotCaughtUp | None:
        """Until the floor is reached or the time is over; or at once, if it is nowhere yet.

        Only what the caller named can be beyond the end: the marks are of what was handled.
        """
        by_topic = {topic: offset for (topic, _), offset in floor.items()}
        if not self.waits_for(partition, asked):
            await self._table.reached(partition, by_topic, wait_s)
            return None
        reaching = asyncio.ensure_future(self._table.reached(partition, by_topic, wait_s))
        asking = asyncio.ensure_future(self._beyond(self._wanted(partition, asked)))
        try:
            await asyncio.wait((reaching, asking), return_when=asyncio.FIRST_COMPLETED)
            if not reaching.done() and (beyond := asking.result()) is not None:
                return beyond
            await reaching
            return None
        finally:
            reaching.cancel()
            asking.cancel()

    async def _beyond(self, wanted: Offsets) -> NotCaughtUp | None:
        """The refusal where no event has one of these positions yet, as a broker says just now."""
        for place, end in (await self._ends.of(wanted)).items():
            if wanted[place] >= end:
                token = format_position({place: wanted[place]})
                return NotCaughtUp(f"No event is at {token} yet: the next gets {end}.", 1)
        return None

    @contextmanager
    def waiting(self) -> Iterator[bool]:
        """Around what waits for a position that a caller named; whether it may."""
        may = self.waiters < MAX_WAITERS
        self.waiters += may
        try:
            yield may
        finally:
            self.waiters -= may

    def too_many(self) -> TooBusy:
        """What one more gets."""
        return TooBusy(f"{self.waiters:,} requests wait for a position here already.", 1)

    def answered(self, partition: int, position: str) -> None:
        """An answer at this position is about to leave this worker."""
        offsets, mark = _parsed(position), self._marks[partition]
        if offsets is mark:
            return
        # What no source is called could never be covered.
        if not all(topic in self._topics and p == partition for topic, p in offsets):
            ours = {(topic, partition) for topic in self._topics}
            offsets = {key: offset for key, offset in offsets.items() if key in ours}
        self._marks[partition] = offsets if _covers(offsets, mark) else furthest(mark, offsets)

    def heard(self, partitions: Iterable[int], token: str) -> None:
        """Another worker's answer for these, at these positions, is about to leave this worker.

        It binds at once, and what it claims is compared with the broker's word soon: a mark
        beyond the end, from whatever went wrong there, could never be reached by anybody.
        """
        offsets = _parsed(token)
        for partition in partitions:
            mark = self._marks[partition]
            if offsets is mark:
                continue  # as the answer before
            said = {k: o for k, o in offsets.items() if k[1] == partition and k[0] in self._topics}
            if not _covers(mark, said):
                is_all = len(said) == len(offsets) and _covers(said, mark)
                self._marks[partition] = offsets if is_all else furthest(mark, said)
                self._has_doubts = True
        if self._has_doubts and not self._is_checking:
            self._has_doubts = bool(self._doubtful())
            if self._has_doubts:
                self._is_checking = True
                self._tasks.start(self._check(), "marks against the ends")

    def _doubtful(self) -> dict[tuple[str, int], int]:
        """Marks that no broker's word covers yet."""
        marks = (item for mark in self._marks for item in mark.items())
        return {place: at for place, at in marks if at >= self._known.get(place, 0)}

    async def _check(self) -> None:
        """Lower to the end what lies beyond, once the broker tells; at most once in `CHECK_S`."""
        ends: Offsets = {}
        try:
            while not ends and (doubtful := self._doubtful()):
                ends = await self._ends.of(doubtful)
                for place, end in ends.items():
                    self._known[place] = end
                    mark = self._marks[place[1]]
                    # What has risen since the question may be right.
                    if mark.get(place) == doubtful[place] >= end:
                        self._marks[place[1]] = {**mark, place: end - 1}
                await asyncio.sleep(CHECK_S)
        finally:
            self._is_checking = False

    def floor(self, partition: int, asked: Asked) -> Offsets:
        """Offsets that any answer for this partition must hold."""
        marked, wanted = self._marks[partition], asked.min_position
        if not wanted:
            return marked
        return furthest(marked, self._wanted(partition, asked))

    def floor_of(self, partition: int) -> Offsets:
        """Offsets that the answers of this worker have held."""
        return self._marks[partition]

    def of_sources(self, partition: int, token: str) -> Offsets:
        """What a token says of this partition's sources, and of nothing else."""
        said = _parsed(token).items()
        return {(t, p): o for (t, p), o in said if p == partition and t in self._topics}

    async def ends_of(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """Where these end, as a broker says now; those that it does not tell are left out."""
        return await self._ends.of(places)

    def _wanted(self, partition: int, asked: Asked) -> Offsets:
        """What the caller's own `min_position` says about this partition."""
        wanted = asked.min_position.items()
        return {(t, p): o for (t, p), o in wanted if p == partition and t in self._topics}

    def floor_token(self, partitions: Iterable[int], asked: Asked = ANYTHING) -> str:
        """The same as a token for another worker; empty if anything will do."""
        return format_position({k: o for p in partitions for k, o in self.floor(p, asked).items()})

    def mark_token(self, partition: int) -> str:
        """`floor_token` of one partition, for who asks for anything."""
        mark, known = self._marks[partition], self._tokens[partition]
        if known[0] is not mark:
            known = self._tokens[partition] = mark, format_position(mark)
        return known[1]

    def waits_for(self, partition: int, asked: Asked) -> bool:
        """Whether the caller's own `min_position` says anything about this partition."""
        return any(p == partition and t in self._topics for t, p in asked.min_position)

    def wait_s(self, partition: int, asked: Asked) -> float:
        """Seconds that an answer may wait for the floor: the caller's, or ours for the marks."""
        return asked.wait_s if self.waits_for(partition, asked) else OWN_WAIT_S

    def handled(self, fresh: Freshness) -> int:
        """Sum of next offsets, to compare with what heartbeats say (`Claim.handled`)."""
        return sum(offset + 1 for offset in _parsed(fresh.position).values())


def unsure(fresh: Freshness) -> NotReady | None:
    """The refusal instead of "there is none" where the last owner knows that it is behind.

    The fact that makes the key known may be among what it has not seen: its successor knows.
    """
    if fresh.role is not Role.FORMER or fresh.lag_events == 0:
        return None
    return NotReady(
        f"Its last owner is {fresh.lag_events:,} events behind on partition {fresh.partition} and "
        "may not know a key; the next owner is not known yet.",
        1,
        between_owners=True,
    )


def stale(asked: Asked, fresh: Freshness) -> TooStale | None:
    """The refusal if the answer would be further behind than the caller takes."""
    if asked.max_lag_events is None or fresh.lag_events <= asked.max_lag_events:
        return None
    return TooStale(
        f"The best answer at hand is {fresh.lag_events:,} events behind, "
        f"you take {asked.max_lag_events:,}.",
        1,
    )


def _covers(offsets: Offsets, floor: Offsets) -> bool:
    return all(offsets.get(key, -1) >= offset for key, offset in floor.items())


def furthest(one: Offsets, other: Offsets) -> Offsets:
    """Of each source what either of both holds."""
    return {key: max(one.get(key, -1), other.get(key, -1)) for key in one.keys() | other.keys()}
