"""One store that follows its partition of the changelog; no input or output here.

It takes what was fetched and says where to read next. `tables/home/follower.py` fetches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from time import monotonic
from typing import Any, cast

import msgspec

from core.stages import Role
from tables.changes.ring import RowGroup, drops_rows
from tables.home.changelog import ChangelogChanged, Meta
from tables.home.store import Local, Store, StoreUnfit
from tables.keys import META_KEY
from tables.ports import Log, Restored
from wire.batches import UNUSUAL, Unreadable, records, slowly
from wire.fetch import Fetched

#: A follower that has to buffer more than this without a meta record has met
#: compaction: it stops answering and loads in pieces instead.
_MAX_BUFFERED = 50_000
#: A rebuild writes so many keys at once: most records of a changelog are overtaken by later
#: ones, and what is overtaken in memory need not be written.
_REBUILD_KEYS = 20_000
#: Who lacks no more records than this has them in a moment, and readers may wait for it.
_SOON = 2_000
#: How much further back each look for the newest meta record begins.
_PEEK_FURTHER = 64


class Progress(msgspec.Struct, frozen=True):
    """Of a restore under way: records applied, about how many in all, records/s, seconds left."""

    done: int
    total: int
    rate_per_s: float
    eta_s: float


class StoreForeign(StoreUnfit):
    """The store does not belong to this changelog, or the changelog has lost what comes next."""


class Phase(StrEnum):
    """What a feed is at. `may_become` says which moves are legal."""

    PEEKING = "peeking"  # an empty store: is the changelog one that it may be rebuilt from?
    LOADING = "loading"  # records are applied as they come; nobody may read the store
    WHOLE = "whole"  # the store may be read: a transaction is applied as one, or not yet

    def may_become(self, other: Phase) -> bool:
        """Whether this move is legal."""
        return other in _MOVES[self]


# Nothing is read that was not loaded past the end first. What was whole loads again where
# compaction has taken the meta records, so that there is no end of a transaction to wait for.
_MOVES: Mapping[Phase, frozenset[Phase]] = {
    Phase.PEEKING: frozenset({Phase.LOADING}),
    Phase.LOADING: frozenset({Phase.WHOLE}),
    Phase.WHOLE: frozenset({Phase.LOADING}),
}


class IllegalPhase(Exception):
    """A feed was about to let a store be read that was not loaded: a bug."""


class Feed:
    """One partition that follows the changelog, phase by phase.

    From anywhere it raises StoreUnfit, where the store cannot be gone on with, and
    ChangelogChanged, where the store is empty and the changelog is not whole, so that nothing
    may be rebuilt from it. Then this feed is over, and whoever gave it the store decides what
    becomes of it.
    """

    def __init__(self, partition: int, store: Store, whole: bool, log: Log) -> None:
        """`whole`: the store may be read as it is."""
        self.partition, self.store = partition, store
        #: What the store is for.
        self.role = Role.ACTIVE
        self._log = log
        self.until = log.end
        self.meta: Meta | None = None
        #: Of what was applied; the store's own says what was written.
        self._local = store.local
        #: Records applied since the last meta record: half a transaction may be in there.
        self._unfinished = False
        self._start_at = self._start()
        # A rebuild looks at the newest meta record first, which says whether this changelog was
        # written from its beginning. It is the last record before the end and its marker, unless
        # aborted transactions lie behind it.
        self.from_nothing = self._local.next_offset == 0 and log.end > 0
        self.phase = Phase.WHOLE if whole else Phase.LOADING
        if self.from_nothing:
            self.phase = Phase.PEEKING
        self._peek_from = max(0, log.end - 2)
        self._newest: Meta | None = None
        self.position = self._peek_from if self.from_nothing else self._start_at
        self.caught_up: asyncio.Future[Restored] = asyncio.get_running_loop().create_future()
        self.records = 0
        self.first = self.position
        self.started = self.moved = monotonic()
        #: Sentence, while what comes next cannot be read.
        self.unreadable: str | None = None
        #: Told of each group that is in the store now, if none is missing before it.
        self.on_group: Callable[[RowGroup], None] = lambda group: None
        #: When a broker last told the end: by the clock here, and by one that never jumps.
        self.answered: tuple[int, float] = 0, monotonic()
        #: Not yet written; None deletes.
        self._changes: dict[bytes, bytes | None] = {}

    @property
    def whole(self) -> bool:
        """Whether the store may be read by others."""
        return self.phase is Phase.WHOLE

    def may_wait(self) -> bool:
        """Whether it has long to load, for a standby that nobody can read before."""
        at = 0 if self.phase is Phase.PEEKING else self.position
        is_long = not self.whole and self.until - at > _SOON
        return is_long and self.role is Role.STANDBY and not self.caught_up.done()

    def become(self, phase: Phase) -> None:
        """Go on to another phase; raises IllegalPhase where one would be skipped."""
        if not self.phase.may_become(phase):
            raise IllegalPhase(f"partition {self.partition}: {self.phase} -> {phase}")
        self.phase = phase

    def _start(self) -> int:
        """Begin at the last meta record, not behind it; a rebuild at 0.

        Reading it again tells whether the store was written from it.
        """
        local, log = self._local, self._log
        if local.next_offset == 0:
            if log.start > 0:
                raise self._broken(f"it begins at offset {log.start}, what was before is gone")
            return 0
        if local.incarnation != log.incarnation:
            raise StoreForeign(
                f"the local store is of the changelog with the id {local.incarnation}, and this "
                f"one's id is {log.incarnation}"
            )
        if local.next_offset > log.end:
            raise StoreForeign(
                f"the changelog ends at {log.end}, and the local store is at {local.next_offset}"
            )
        # A meta record right before next_offset would be the only proof; else the newest one
        # is still to come.
        is_at_meta = local.next_offset == local.meta_offset + 1 and local.meta_offset >= log.start
        begin = local.meta_offset if is_at_meta else local.next_offset
        if begin < log.start:
            raise self._gap(begin)
        return begin

    def _gap(self, offset: int) -> StoreForeign:
        return StoreForeign(f"the changelog no longer holds offset {offset}")

    def _broken(self, why: str) -> ChangelogChanged:
        return not_whole(self.partition, why)

    def apply(self, fetched: Fetched) -> bool:
        """Apply what was fetched; False where the consumer has to seek to `position`."""
        self.moved = monotonic()
        if self.phase is Phase.PEEKING:
            return self._peek(fetched)
        _each_batch(fetched, self._take)
        if self.whole and len(self._changes) > _MAX_BUFFERED:
            self.become(Phase.LOADING)
        # Right behind a meta record the offset stays there, so that the next start reads
        # that record again.
        if not self.whole and (self._unfinished or self._local.meta_offset < 0):
            next_offset = fetched.next_offset
            self._local = msgspec.structs.replace(self._local, next_offset=next_offset)
        self.position = fetched.next_offset
        if not self.is_due():
            self._tell()
        return True

    def _take(self, found: Iterable[Any]) -> None:
        """Note what one batch changes."""
        # A third of a restore is in this loop: nothing is done here for each record that
        # can be done for a batch. (A compacted topic takes no record without a key.)
        changes, count, key = self._changes, 0, None
        for count, record in enumerate(found, 1):  # noqa: B007  # used behind it
            key = record.key
            changes[key] = record.value
            if key == META_KEY:
                self._on_meta(record.offset, record.value)
                changes = self._changes  # what was written is another's now
        self.records += count
        if count:
            self._unfinished = key != META_KEY

    def is_due(self) -> bool:
        """Whether a rebuild must `write` what it has applied, before it applies more."""
        is_full = len(self._changes) >= _REBUILD_KEYS
        return not self.whole and (is_full or self.position >= self.until)

    def write(self) -> tuple[Mapping[bytes, bytes], list[bytes]]:
        """Write what was applied, and return it: what was put, and keys that were deleted.

        In a rebuild it is a step of its own, since it may take 20 ms.
        """
        deletes = [key for key, value in self._changes.items() if value is None]
        for key in deletes:
            del self._changes[key]
        puts = cast(dict[bytes, bytes], self._changes)
        (self.store.write if self.whole else self.store.load)(puts, deletes, self._local)
        self._changes = {}
        self._tell()
        return puts, deletes

    def _tell(self) -> None:
        if self.is_past_end() and not self.caught_up.done():
            self.caught_up.set_result(Restored(self.records, monotonic() - self.started))

    def is_past_end(self) -> bool:
        """Past the end seen at the start, and not in the middle of a transaction."""
        return self.position >= self.until and not self._unfinished

    def _peek(self, fetched: Fetched) -> bool:
        """Look for the newest meta record, from ever further back."""
        _each_batch(fetched, self._look)
        self.position = fetched.next_offset
        if self.position < self.until:
            return True
        if self._newest is None and self._peek_from > 0:
            width = _PEEK_FURTHER * (self.until - self._peek_from)
            self.position = self._peek_from = max(0, self.until - width)
            return False
        self.become(Phase.LOADING)
        if self._newest is not None and self._newest.incarnation != self._log.incarnation:
            raise self._broken(self._other(self._newest))
        self._begin(self._newest)
        return False

    def _look(self, found: Iterable[Any]) -> None:
        """Note the newest meta record of one batch."""
        for record in found:
            if record.key == META_KEY:
                self._newest = _meta_of(record.offset, record.value)

    def _begin(self, newest: Meta | None) -> None:
        """The rebuild, from the first record on; `newest` is None where nothing was committed."""
        self._local = Local(incarnation=self._log.incarnation)
        self.position = self.first = 0

    def _other(self, meta: Meta) -> str:
        return (
            f"it was written as the topic with the id {meta.incarnation}, and this one's id is "
            f"{self._log.incarnation}: it is a copy, or was deleted and created again"
        )

    def _on_meta(self, offset: int, value: bytes | None) -> None:
        meta, known = _meta_of(offset, value), self._local.meta_offset
        if meta.incarnation != self._log.incarnation:
            raise StoreForeign(f"the changelog is not what it was: {self._other(meta)}")
        if meta.previous < known < offset:
            # Compaction takes meta records away, but puts none in.
            raise StoreForeign(
                f"the changelog's meta record at offset {offset} follows one at {meta.previous}, "
                f"and the local store has one of {known}"
            )
        self._local = Local(
            next_offset=offset + 1, meta_offset=offset, incarnation=meta.incarnation
        )
        if self.whole:
            puts, deletes = self.write()
            # Compaction takes meta records: what lies behind one is then of several groups.
            if meta.previous == known:
                drops = drops_rows(deletes)
                self.on_group(RowGroup(puts, offset + 1, meta.positions, known + 1, drops))
        self.meta, self._unfinished = meta, False

    def out_of_range(self) -> StoreForeign | ChangelogChanged:
        """What to raise where the broker no longer holds the record that comes next."""
        if self.store.local.next_offset == 0:
            return self._broken(f"it no longer holds offset {self.position}")
        return self._gap(self.position)

    def progress(self) -> Progress:
        """How far, how fast, how long still."""
        seconds = max(monotonic() - self.started, 1e-3)
        rate = self.records / seconds
        at = self._start_at if self.phase is Phase.PEEKING else self.position
        left = max(0, self.until - at)
        return Progress(self.records, self.records + left, rate, left / rate if rate else 0.0)


def _each_batch(fetched: Fetched, see: Callable[[Iterable[Any]], None]) -> None:
    """Show the records of each batch; raises Unreadable."""
    for batch in fetched.batches():
        try:
            see(records(batch, fetched.start))
        except UNUSUAL:  # a stranger's record; what is seen twice counts once
            see(slowly(batch, fetched.start))


def _meta_of(offset: int, value: bytes | None) -> Meta:
    try:
        meta = msgspec.json.decode(value or b"", type=Meta)
    except msgspec.MsgspecError as error:
        raise Unreadable(
            f"The meta record at offset {offset} is none ({error}): somebody else writes to this "
            "topic. Count anew with the next ONHAND_VERSION."
        ) from error
    if meta.too_new:
        raise Unreadable(meta.too_new)
    return meta


class Probe(Feed):
    """Only looks whether a store could be rebuilt from this changelog, and into none.

    It has caught up when it can; else it raises ChangelogChanged.
    """

    def _begin(self, newest: Meta | None) -> None:
        if newest is None:
            raise self._broken("nothing was committed to it")
        self.caught_up.set_result(Restored(0, 0.0))


def not_whole(partition: int, why: str) -> ChangelogChanged:
    """The sentences for a changelog that nothing may be rebuilt from."""
    return ChangelogChanged(
        f"The changelog of partition {partition} is not whole: {why}. Rows restored from it would "
        "be wrong, so none are. Another worker's disk may hold them; else count anew with the "
        "next ONHAND_VERSION."
    )
