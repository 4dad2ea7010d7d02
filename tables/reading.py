"""The reading side of the table: committed rows, how fresh they are, and waiting for more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from time import monotonic, time
from typing import NamedTuple, TypeVar

import msgspec

from core.partitioning import partition_for
from core.stages import Freshness, Role, Stage
from core.window import Seen
from tables.changes.ring import ReadTo, Rings, RowGroup, RowsSince
from tables.home.feed import Progress
from tables.home.store import NoStore, Store, StoreUnfit, undecodable
from tables.keys import FIRST_ROW
from tables.partition import Hold, Owned, Partition
from tables.ports import Membership
from tables.secondary.indexes import Indexes
from tables.tasks import Tasks

log = logging.getLogger(__name__)

T = TypeVar("T")


class Trouble(NamedTuple):
    """What is wrong with a topic that the service lives on, seen while it runs.

    kind: missing, partitions, copies, settings, recreated or cut. text: one sentence or two.
    """

    topic: str
    kind: str
    text: str


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What this worker is for one partition; for heartbeats, metrics and /v1/cluster.

    offsets: committed next offsets, by source topic. lags: offsets behind, by topic.
    standby_lag_records: changelog records behind, None unless following.
    stopped_because: sentence, where an operator must decide.
    holds: what holds it up, by source topic.
    """

    partition: int
    state: Stage
    role: Role | None
    epoch: int
    position: str
    offsets: dict[str, int]
    lags: dict[str, int]
    lag_events: int
    as_of_ms: int
    standby_lag_records: int | None
    restore: Progress | None
    stopped_because: str | None
    holds: dict[str, Hold] = {}


class ChangedRows(NamedTuple):
    """Rows of one partition that changed, as they are now.

    offsets, position: up to where all that is committed is in them. incarnation: of the changelog
    by which places count.
    """

    since: RowsSince
    offsets: Mapping[str, int]
    position: str
    incarnation: str


class Reading:
    """Local reads. Only `freshness` says whether a partition may be read at all.

    Each read raises StoreError where the disk does not give the rows: another worker may have
    them. After StoreUnfit this one cannot be read, either, until it is restored.
    """

    def __init__(
        self, count: int, url: str, membership: Membership, confirmed_within_s: float
    ) -> None:
        self.count, self._url = count, url
        self._membership, self._confirmed_within_s = membership, confirmed_within_s
        self.held: dict[int, Partition] = {}
        #: Version and epoch that the answers say they are of.
        self.label = (1, 0)
        self.listeners: list[Callable[[], None]] = []
        #: Told of each commit of what this worker owns: the partition, and the keys of its rows.
        self.watchers: list[Callable[[int, Iterable[bytes]], None]] = []
        self.rings = Rings()
        #: By another part of the rows' keys, where there is one and a task to make them in.
        self._indexes: Indexes | None = None
        #: What is wrong with the topics, as last seen.
        self.troubles: tuple[Trouble, ...] = ()

    def partition_of(self, key: str) -> int:
        """Where records of this key live, 0 to `count` - 1."""
        return partition_for(key.encode(), self.count)

    def home_of(self, key: bytes) -> int:
        """The same of a key that need not be text."""
        return partition_for(key, self.count)

    def is_confirmed(self) -> bool:
        """The broker confirmed our membership within half the session timeout (P4)."""
        return monotonic() - self._membership.confirmed_at() < self._confirmed_within_s

    def freshness(self, partition: int) -> Freshness | None:
        """None where this worker cannot answer now: not held, or still loading."""
        p = self.held.get(partition)
        return (
            None
            if p is None
            else p.freshness(self._url, self.is_confirmed(), self._look, self.label)
        )

    def value(self, partition: int, key: bytes, decode: Callable[[bytes], T]) -> T | None:
        """One committed row; None where no event has named it.

        Raises:
            StoreUnfit: the disk gave back none, or what `decode` takes for no row (it raises
                ValueError): the store is given up then.
        """
        p = self.held[partition]
        try:
            raw = p.store.get(key)
            return None if raw is None else decode(raw)
        except (StoreUnfit, ValueError) as error:
            raise self._met(p, error) from error

    def values(
        self, partition: int, keys: Sequence[bytes], decode: Callable[[bytes], T]
    ) -> list[T | None]:
        """As `value`, for many keys at once."""
        p = self.held[partition]
        try:
            return [None if raw is None else decode(raw) for raw in p.store.get_many(keys)]
        except (StoreUnfit, ValueError) as error:
            raise self._met(p, error) from error

    def between(
        self,
        partition: int,
        start: bytes,
        stop: bytes | None,
        limit: int,
        decode: Callable[[bytes, bytes], T],
    ) -> list[T]:
        """At most `limit` rows with start <= key < stop, in the order of bytes.

        `start` is `FIRST_ROW` or behind it. `decode` takes key and value. Raises as `value` does.
        """
        p = self.held[partition]
        try:
            return [decode(*pair) for pair in p.store.scan(start, stop, limit)]
        except (StoreUnfit, ValueError) as error:
            raise self._met(p, error) from error

    def indexed(self, tasks: Tasks) -> None:
        """From now on rows may be indexed, in these tasks, if their keys have a second part."""

    def names(self, partition: int, group: bytes, start: bytes, limit: int) -> list[bytes] | None:
        """At most `limit` names of a group from `start` on, as `Indexes`."""
        if self._indexes is None:
            return None
        return self._indexes.names(self.held[partition].store, group, start, limit)

    async def reached(self, partition: int, offsets: Mapping[str, int], timeout_s: float) -> bool:
        """Wait until the events at these offsets (by topic) are in committed rows."""
        deadline = monotonic() + timeout_s
        while (p := self.held.get(partition)) is not None and not p.closed:
            if all(p.offsets.get(topic, 0) > offset for topic, offset in offsets.items()):
                return True
            remaining = deadline - monotonic()
            if remaining <= 0:
                return False
            try:
                await asyncio.wait_for(p.progressed.wait(), remaining)
            except TimeoutError:
                return False
        return False

    def seen(self, partition: int, topic: str, identities: Sequence[int]) -> Seen | None:
        """What the duplicates window of a source topic holds of these identities.

        None unless this worker owns the partition, and the broker says so: a standby has no
        window in memory, and what a former owner folded may never be committed.
        """
        p = self._owner(partition)
        if p is None or p.owned is None:
            return None
        window = p.owned.fold.windows.get(topic)
        if window is None:
            return None
        committed = p.offsets.get(topic, 0)
        entries = [entry for entry in window.entries_of(identities) if entry[2] < committed]
        return Seen(committed, window.since, window.size, entries)

    def ownership(self, partition: int) -> str | None:
        """Tells this ownership of a partition from every other, also of this worker.

        None where this worker does not own it, or the broker has not said so lately.
        """
        p = self._owner(partition)
        return None if p is None or p.owned is None else p.owned.token

    def countable(self, partition: int) -> dict[str, int]:
        """By source topic, its end as last seen, or what holds it up if that comes before."""
        p = self.held.get(partition)
        if p is None:
            return {}
        self._look(p)
        held_up = {topic: hold.offset for topic, hold in p.holds.items()}
        return {topic: min(end, held_up.get(topic, end)) for topic, (end, _) in p.ends.items()}

    def changed(
        self, partition: int, after: ReadTo, limit: int, passes: Callable[[bytes], bool]
    ) -> ChangedRows | None:
        """Rows that committed groups changed behind a place, as `Ring.since`.

        None unless this worker owns the partition, and the broker says so.
        """
        self.rings.asked()
        p = self._owner(partition)
        if p is None or p.owned is None:
            return None
        place = p.store.local.meta_offset + 1
        if p.ring is not None and p.ring.place != place:
            p.ring.close()  # this worker loaded the partition meanwhile, group by group or not
            p.ring = None
        if p.ring is None:
            p.ring = self.rings.ring(place, p.offsets)
        since = p.ring.since(after, limit, passes)
        return ChangedRows(since, p.offsets, p.position, p.owned.meta.incarnation)

    def status(self) -> list[PartitionStatus]:
        """One entry for each partition held, by number."""
        return [self._status(p) for _, p in sorted(self.held.items())]

    def oldest_unapplied_s(self) -> float:
        """Age of the oldest event that is folded and not committed; 0 for none."""
        ages = [ms for o in self._owned() for ms in (o.oldest_ms, o.travelling_ms) if ms]
        return max(0.0, time() - min(ages) / 1000) if ages else 0.0

    def window_seconds(self) -> dict[str, float]:
        """By topic, the recorded time that the shortest duplicates window spans."""
        spans: dict[str, float] = {}
        for owned in self._owned():
            for topic, span in owned.spans.items():
                spans[topic] = min(spans.get(topic, inf), span.seconds())
        return spans

    def is_owner(self, partition: int) -> bool:
        """Whether this worker owns it, and the broker says so."""
        return self._owner(partition) is not None

    def _owner(self, partition: int) -> Partition | None:
        """The partition, where this worker owns it."""
        p = self.held.get(partition)
        if p is None or p.owned is None or p.role(self.is_confirmed()) is not Role.ACTIVE:
            return None
        return p

    def _owned(self) -> list[Owned]:
        return [p.owned for p in self.held.values() if p.owned is not None]

    def _status(self, p: Partition) -> PartitionStatus:
        fresh = self.freshness(p.number)
        feed = p.feed
        return PartitionStatus(
            partition=p.number,
            state=p.state,
            role=None if fresh is None else fresh.role,
            epoch=p.epoch,
            position=p.position,
            offsets=p.offsets,
            lags=p.lags(),
            lag_events=p.lag_events(),
            as_of_ms=p.as_of_ms(),
            standby_lag_records=None if feed is None else self._changelog_lag(p),
            restore=None if feed is None or feed.caught_up.done() else feed.progress(),
            stopped_because=p.stopped_because or (None if feed is None else feed.unreadable),
            holds=dict(p.holds),
        )

    def _met(self, p: Partition, error: Exception) -> StoreUnfit:
        """Give the store up; what to raise."""
        why = error if isinstance(error, StoreUnfit) else undecodable("a row", error)
        if not isinstance(p.store, NoStore):  # restored already
            self._give_up(p, p.store, why)
        return why

    def _give_up(self, p: Partition | None, store: Store, why: StoreUnfit) -> None:
        """Read nothing more of this store."""
        if p is not None:
            p.lose(NoStore(why, store.local))

    def _committed(self, p: Partition, group: RowGroup) -> None:
        """A group of this owner is in the store; its own keys are no rows."""
        if self.watchers:
            rows = [key for key in group.puts if key >= FIRST_ROW]
            for tell in self.watchers:
                tell(p.number, rows)
        self._followed(p, group)

    def _followed(self, p: Partition, group: RowGroup) -> None:
        """A group is in the store, of whichever owner."""
        p.ring = self.rings.grown(p.ring, group)

    def _changed(self) -> None:
        for tell in self.listeners:
            tell()

    def _look(self, p: Partition) -> None:
        """Bring `p.ends` up to date from what the fetches said."""

    def _changelog_lag(self, p: Partition) -> int:
        return 0
