"""When a partition's group is committed, and in which order its parts become durable.

The next group is folded while the last one travels. Per partition there is one commit
at a time; it starts when the interval since the last start is over, or when the group
is full, whichever comes first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

import msgspec

from core.fold import take_group
from core.stages import Stage
from core.words import in_words
from tables.changes.ring import RowGroup, drops_rows
from tables.home.changelog import ChangelogChanged, Meta
from tables.home.store import Local, Store, StoreFailed, StoreUnfit
from tables.keys import META_KEY
from tables.partition import Owned, Partition, Superseded
from tables.ports import CommitRefused, Fail, Sealed
from tables.stats import Stats
from tables.tasks import Final, Tasks

log = logging.getLogger(__name__)

#: A group is full at this many events: its store write then holds the loop for some 8 ms,
#: or 20 if each event has a row of its own.
FULL_EVENTS = 16_000
#: Rows encoded before the loop may run: about 1 ms.
_ENCODE = 1_000
#: Far behind, nobody waits for the newest row: bigger groups coalesce more.
_BACKLOG_EVENTS = 20_000
_BACKLOG_FACTOR = 20
MAX_TRANSACTIONS_PER_S = 150
#: A full group waits until the commit before it is so old; then its partition is set aside.
_PATIENCE_S = 2.0


class GroupCommit:
    """Commits the groups of all partitions that this worker owns.

    Args:
        interval_s: least time between two commits of a partition.
        refused: called when the broker refused a commit; closes the partition and
            takes it over again.
        unfit: called when a store cannot be written since it is damaged; restores another.
        changed: called when the changelog is another one; the partition stands still.
        fail: ends the worker with one sentence.
        committed: told of a group that is in the store now.
    """

    def __init__(
        self,
        interval_s: float,
        stats: Stats,
        refused: Callable[[Partition, CommitRefused], Awaitable[None]],
        unfit: Callable[[Partition, Store, StoreUnfit], None],
        changed: Callable[[Partition, str], None],
        fail: Fail,
        committed: Callable[[Partition, RowGroup], None] = lambda p, group: None,
    ) -> None:
        self._committed = committed
        self._interval_s, self._stats = interval_s, stats
        self._refused, self._unfit, self._changed, self._fail = refused, unfit, changed, fail
        self._tasks = Tasks(fail)
        self.owned_count = 0

    def interval_s(self, p: Partition) -> float:
        """Seconds between commits of one partition: by setting, load and lag."""
        busy = max(self._interval_s, self.owned_count / MAX_TRANSACTIONS_PER_S)
        return busy * _BACKLOG_FACTOR if p.lag_events() > _BACKLOG_EVENTS else busy

    def due(self, p: Partition) -> None:
        """Something was folded: start a commit now, or arrange for one."""
        owned = p.owned
        if owned is None or owned.commit is not None or not owned.uncommitted:
            return
        wait_s = owned.started_at + self.interval_s(p) - monotonic()
        if wait_s <= 0 or owned.uncommitted_events >= FULL_EVENTS:
            self.start(p)
        elif owned.timer is None:
            owned.timer = asyncio.get_running_loop().call_later(wait_s, self._on_timer, p, owned)

    def _on_timer(self, p: Partition, owned: Owned) -> None:
        owned.timer = None
        if p.owned is owned and owned.commit is None and owned.uncommitted:
            self.start(p)

    async def has_room(self, p: Partition, owned: Owned) -> bool:
        """Wait while the group is full; False where Kafka leaves the one before unanswered."""
        if owned.uncommitted_events < FULL_EVENTS:
            return True
        self.due(p)
        try:
            async with asyncio.timeout(owned.started_at + _PATIENCE_S - monotonic()):
                while owned.uncommitted_events >= FULL_EVENTS and owned.commit is not None:
                    owned.room.clear()
                    await owned.room.wait()
        except TimeoutError:
            return False
        return True

    def start(self, p: Partition) -> None:
        """Begin a commit; there must be none under way."""
        owned = p.owned
        assert owned is not None
        assert owned.commit is None
        if owned.timer is not None:
            owned.timer.cancel()
            owned.timer = None
        owned.started_at = monotonic()
        owned.commit = self._tasks.start(self._run(p, owned), f"commit {p.number}")

    async def _run(self, p: Partition, owned: Owned) -> None:
        try:
            await self._commit(p, owned, p.epoch)
        except Superseded:
            pass
        except CommitRefused as error:
            if p.owned is owned:
                owned.commit = None
                await self._refused(p, error)
        except StoreUnfit as why:
            if p.owned is owned:
                owned.commit = None
                self._unfit(p, p.store, why)
        except ChangelogChanged as error:
            if p.owned is owned:
                owned.commit = None
                self._changed(p, str(error))
        except (StoreFailed, Final) as error:
            await self._fail(str(error), error)
        except Exception as error:
            await self._fail(f"Partition {p.number}: a commit failed: {in_words(error)}.", error)
        else:
            p.refusals = 0
        finally:
            owned.commit = None
            owned.room.set()
        self.due(p)

    async def _commit(self, p: Partition, owned: Owned, epoch: int) -> None:
        """One group; the order of the steps is what makes it safe (P1, P2, P3)."""
        # 1. Rows and positions leave memory in one synchronous step: what is folded
        #    while the group travels belongs to the next one.
        if p.owned is not owned:  # closed since this task was made: its fold may be broken
            raise Superseded
        group = take_group(owned.fold)
        owned.taken += 1
        owned.uncommitted, owned.uncommitted_events = False, 0
        owned.travelling_ms, owned.oldest_ms = owned.oldest_ms, None
        owned.room.set()
        meta = Meta(
            positions=group.positions,
            counts=dict(group.counts),
            fingerprints=dict(owned.fingerprints),
            last=dict(owned.last),
            topic_ids=owned.meta.topic_ids,
            window=owned.meta.window,
            rules=owned.meta.rules,
            incarnation=owned.meta.incarnation,
            previous=p.store.local.meta_offset,
        )
        encoded = msgspec.json.encode(meta)
        puts = dict(group.segments)
        for piece in group.rows.encoded(_ENCODE):
            puts.update(piece)
            await asyncio.sleep(0)
        # 2. The transaction: its commit is the commit.
        began = monotonic()
        sealed = Sealed(
            puts, group.expired, group.dead_letters, encoded, meta.previous, group.emitted
        )
        offset = await owned.writer.commit(sealed)
        # 3. The store, unless the partition went away during the await.
        p.check(epoch)
        if p.owned is not owned:
            raise Superseded
        puts[META_KEY] = encoded
        p.store.write(puts, group.expired, Local(offset + 1, offset, meta.incarnation), group.new)
        # 4. Readers, the group's offsets and metrics may know.
        before, owned.meta, owned.committed_at = owned.meta, meta, monotonic()
        owned.travelling_ms = None
        owned.stored = owned.taken
        p.advance(meta.positions)
        drops = drops_rows(group.expired)
        self._committed(p, RowGroup(puts, offset + 1, meta.positions, meta.previous + 1, drops))
        self._stats.on_commit(monotonic() - began, before.counts, meta.counts, group.dead_letters)

    async def drain(self, p: Partition) -> None:
        """Commit what is folded; the caller has stopped the folding and sets a deadline."""
        owned = p.owned
        while owned is not None and p.owned is owned and (owned.commit or owned.uncommitted):
            if owned.commit is None:
                self.start(p)
            assert owned.commit is not None
            await asyncio.shield(owned.commit)

    def close(self, p: Partition) -> Owned | None:
        """Drop the memory of an owner; what was folded and not committed is read again."""
        owned, p.owned = p.owned, None
        if owned is None:
            return None
        if owned.timer is not None:
            owned.timer.cancel()
        if p.ring is not None:
            p.ring.tell()
        owned.room.set()
        if p.state is Stage.ACTIVE:
            p.move(Stage.FORMER)
        return owned
