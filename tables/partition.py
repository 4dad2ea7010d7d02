"""One partition of the table on this worker: its store, its role, how far it is.

A Partition exists from the first assignment that names it until its store is closed,
through any number of take-overs. What must not survive an assignment lives in `Owned`,
which is made anew at each take-over and dropped as a whole.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from uuid import uuid4

import msgspec

from core.fold import Fold
from core.positions import format_position
from core.stages import Freshness, Role, Stage
from tables.changes.ring import Ring
from tables.home.changelog import Meta
from tables.home.feed import Feed
from tables.home.store import NoStore, Store, undecodable
from tables.keys import META_KEY
from tables.ports import Writer
from tables.stats import Span

log = logging.getLogger(__name__)

#: A former store is read for this long after another owner was heard of: the other workers
#: hear of it meanwhile, and requests that came here before end.
_REPLACED_S = 3.0

#: How long a take-over comes before all that others need.
_MISSED_S = 10.0
_MISSED = frozenset({Stage.FORMER, Stage.FENCING, Stage.RESTORING})

#: What may hold a partition's topic up: another producer's open transaction, or records
#: that cannot be read.
TRANSACTION, UNREADABLE = "transaction", "unreadable"


class Hold(msgspec.Struct, frozen=True):
    """From this offset on nothing can be counted for now; why, and since when, ms since the epoch.

    Since when this worker has known it.
    """

    offset: int
    cause: str
    since_ms: int


class IllegalMove(Exception):
    """A partition was about to skip a step of its take-over: a bug."""


class Superseded(Exception):
    """The assignment that this work belongs to is over."""


class Owned:
    """What an owner has and nobody else: the fold's memory and the right to write."""

    def __init__(self, fold: Fold, writer: Writer, meta: Meta, topics: Mapping[str, str]) -> None:
        self.fold, self.writer, self.meta, self.topics = fold, writer, meta, topics
        self.fingerprints = dict(meta.fingerprints)
        #: Of the last record folded of each topic: offset, timestamp in ms, CRC-32.
        self.last = dict(meta.last)
        self.commit: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        #: Something to commit: events, or no more than a position that moved.
        self.uncommitted = False
        self.uncommitted_events = 0
        #: Recorded times, in ms, of the oldest event folded and of the oldest travelling.
        self.oldest_ms: int | None = None
        self.travelling_ms: int | None = None
        self.spans = {topic: Span(meta.window) for topic in topics}
        self.committed_at = time.monotonic()
        self.started_at = 0.0
        self.room = asyncio.Event()
        self.room.set()
        #: Full behind a commit that Kafka does not answer, and not delivered until it does.
        self.is_aside = False
        #: Topic whose next records cannot be read.
        self.unreadable: str | None = None
        #: Tells this ownership from every other, of whatever worker.
        self.token = uuid4().hex
        #: How many groups left memory, and how many of these are in the store.
        self.taken = self.stored = 0
        #: By row that was repaired, the number of the group that says so.
        self.repaired: dict[bytes, int] = {}


class Partition:
    """Shape of the state: see the module. `epoch` numbers the assignment it serves."""

    def __init__(self, number: int, store: Store) -> None:
        self.number, self.store = number, store
        self.state = Stage.LOADING
        self.epoch = 0
        self.closed = False
        #: Whether whoever wrote the store last left it whole: what holds while nobody does.
        self.left_whole = False
        self.owned: Owned | None = None
        self.feed: Feed | None = None
        #: Rows that changed lately, where somebody follows them.
        self.ring: Ring | None = None
        #: Whether the newest assignment made this worker its owner, its follower, or neither.
        self.assigned: Role | None = None
        #: The take-over or the start of following that is under way.
        self.task: asyncio.Task[None] | None = None
        self.refusals = 0
        #: Stores given up one soon after the other, and when the last was, by `monotonic`.
        self.given_up, self.given_up_at = 0, 0.0
        self.stopped_because: str | None = None
        #: Since when another worker is known to own what this one owned or followed.
        self.replaced_since: float | None = None
        #: Since when nobody folds it here.
        self.missed_since = 0.0
        self._was_owner = False
        self.offsets: dict[str, int] = {}
        self.position = ""
        self.ends: dict[str, tuple[int, int]] = {}
        #: Topics whose log was made anew or cut: nothing of what they hold is in the rows.
        self.anew: set[str] = set()
        #: What holds it up, by topic; known to its owner.
        self.holds: dict[str, Hold] = {}
        self.progressed = asyncio.Event()
        self._fresh: Freshness | None = None
        self._fresh_until = 0.0

    def move(self, state: Stage) -> None:
        """Change state; raises IllegalMove where a step would be skipped."""
        if not self.state.may_become(state):
            raise IllegalMove(f"partition {self.number}: {self.state} -> {state}")
        if state is Stage.FORMER:
            self.replaced_since = None
        if state in (Stage.FORMER, Stage.FENCING) and self.state not in _MISSED:
            self.missed_since = time.monotonic()
        if state in (Stage.ACTIVE, Stage.STANDBY):
            self._was_owner = state is Stage.ACTIVE
        if state is not Stage.ACTIVE:
            self.holds.clear()
        self.state = state
        self._fresh = None

    def stand_still(self, sentence: str) -> None:
        """Serve it no more until the next assignment: an operator must decide."""
        log.error("Partition %d stands still. %s", self.number, sentence)
        self.stopped_because = sentence
        self.move(Stage.FORMER)

    def is_replaced(self, owned_elsewhere: bool, now: float) -> bool:
        """Whether nobody needs this worker's copy any more; ask every second or so.

        By what the new owner says, not by the clock: until it has restored its own, this
        may be the only copy that can answer.
        """
        if self.state is not Stage.FORMER or self.stopped_because is not None:
            return False
        if not owned_elsewhere:
            self.replaced_since = None
        elif self.replaced_since is None:
            self.replaced_since = now
        return self.replaced_since is not None and now - self.replaced_since > _REPLACED_S

    def check(self, epoch: int) -> None:
        """Raise Superseded unless this is still the same assignment: ask after every await."""
        if self.epoch != epoch:
            raise Superseded

    def advance(self, positions: Mapping[str, int]) -> None:
        """Committed rows are in the store up to these next offsets: tell those who wait."""
        self.offsets = dict(positions)
        self.position = format_position(
            {(topic, self.number): at - 1 for topic, at in positions.items() if at > 0}
        )
        self._fresh = None
        self.progressed.set()
        self.progressed = asyncio.Event()

    def readable(self) -> bool:
        """Whether the store may be read: its owner's, its feed's word, or the last one's."""
        feed = self.feed
        return not self.closed and (self.left_whole if feed is None else feed.whole)

    def own(self, owned: Owned) -> None:
        """Restored to its end, by whoever may write from now on."""
        self.owned, self.left_whole = owned, True
        self.anew.clear()  # a take-over compares the logs
        self.move(Stage.ACTIVE)

    def follows_on(self) -> bool:
        """Whether it stands by, and nothing has to be begun anew for that."""
        return self.assigned is Role.STANDBY and self.feed is not None

    def is_missed(self) -> bool:
        """Whether it is this worker's to fold, and will be in a moment, but is not yet.

        What takes longer, such as records that nobody can read, holds nothing else up.
        """
        is_near = time.monotonic() - self.missed_since < _MISSED_S
        return self.assigned is Role.ACTIVE and self.state is not Stage.ACTIVE and is_near

    def unfed(self) -> Feed | None:
        """Nobody feeds it any more; returns who did."""
        feed, self.feed = self.feed, None
        if feed is not None:
            self.left_whole = feed.whole
        return feed

    def lose(self, store: NoStore) -> None:
        """Its store is given up; nobody feeds it."""
        self.store, self.left_whole = store, False
        self._lose_ring()
        self.offsets, self.position = {}, ""

    def close(self) -> None:
        """Let go of the store; whoever waits for more of it is told."""
        self.closed = True
        self.store.close()
        self._lose_ring()
        self.progressed.set()

    def _lose_ring(self) -> None:
        ring, self.ring = self.ring, None
        if ring is not None:
            ring.close()

    def saw_end(
        self, topic: str, end: int, at_ms: int, stable: int | None = None, counted: int = 0
    ) -> None:
        """A broker told a source topic's end; the newest word counts.

        Args:
            topic: full name.
            end: the high watermark.
            at_ms: when, ms since the epoch.
            stable: where a committed reader ends, if that was told too: what lies between
                was acknowledged and waits for the end of somebody's transaction.
            counted: next offset of the rows *before* the broker was asked; those of now may be
                ahead of its answer. No log ends before it, but another one may.
        """
        known, known_at_ms = self.ends.get(topic, (0, 0))
        # A greater end is newer, however the clock was set meanwhile. And what was told in times
        # to come was told before the clock was set back: it would count as new until then.
        if at_ms >= known_at_ms or end > known or known_at_ms > time.time() * 1000:
            self.ends[topic] = end, at_ms
            if end < counted:
                self.anew.add(topic)
            if stable is not None:
                self._saw_stable(topic, end, at_ms, stable)

    def _saw_stable(self, topic: str, end: int, at_ms: int, stable: int) -> None:
        known = self.holds.get(topic)
        if known is not None and known.cause != TRANSACTION:
            return
        if stable < end:
            self.hold(topic, Hold(stable, TRANSACTION, at_ms))
        elif known is not None:
            self.release(topic)

    def hold(self, topic: str, hold: Hold) -> None:
        """Note what holds a topic up; the same one is not newer for being told again."""
        known = self.holds.get(topic)
        if known is None or (known.offset, known.cause) != (hold.offset, hold.cause):
            self.holds[topic] = hold

    def release(self, topic: str) -> None:
        """Nothing holds this topic up any more."""
        self.holds.pop(topic, None)

    def stored_meta(self) -> Meta | None:
        """The store's meta record; none in a new store. Raises StoreError."""
        raw = self.store.get(META_KEY)
        try:
            return None if raw is None else msgspec.json.decode(raw, type=Meta)
        except ValueError as error:
            raise undecodable("the meta record", error) from error

    def role(self, confirmed: bool) -> Role:
        """What this worker is for the partition, honestly (P4).

        confirmed: the broker has told lately that we are still a member.
        """
        if self.state is Stage.ACTIVE:
            return Role.ACTIVE if confirmed else Role.FORMER
        return Role.FORMER if self._was_owner else Role.STANDBY

    def freshness(
        self,
        worker: str,
        confirmed: bool,
        look: Callable[[Partition], None],
        label: tuple[int, int],
    ) -> Freshness | None:
        """None where nothing may be answered. Cached for 20 ms: it is asked per request.

        look: brings `ends` up to date, cheaply. label: version and epoch.
        """
        if not self.readable():
            return None
        now = time.monotonic()
        fresh, role = self._fresh, self.role(confirmed)
        if (
            fresh is None
            or now > self._fresh_until
            or fresh.role is not role
            or fresh.epoch != label[1]
        ):
            look(self)
            self._fresh_until = now + 0.02
            fresh = self._fresh = Freshness(
                role=role,
                worker=worker,
                partition=self.number,
                position=self.position,
                lag_events=self.lag_events(),
                as_of_ms=self.as_of_ms(),
                version=label[0],
                epoch=label[1],
            )
        return fresh

    def lag_events(self) -> int:
        """Offsets between the committed positions and the ends last seen, summed over topics."""
        return sum(self.lags().values())

    def lags(self) -> dict[str, int]:
        """The same, by topic; of a log that is another one, all that it holds."""
        return {
            topic: end if topic in self.anew else max(0, end - self.offsets.get(topic, 0))
            for topic, (end, _) in self.ends.items()
        }

    def as_of_ms(self) -> int:
        """When a broker last told the ends: the oldest of the topics', ms since the epoch."""
        return min((at_ms for _, at_ms in self.ends.values()), default=0)
