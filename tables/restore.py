"""Stores follow the changelog: rebuild an owned partition, keep a standby close.

One consumer of our own (no group, committed reads) serves every partition of the
worker that is not being written by it. Each partition advances by itself: one wiped
partition delays no other, unlike Faust's recovery, which pauses the worker (0.15.3,
faust/tables/recovery.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from itertools import chain
from time import monotonic, time
from typing import Any, cast

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError

from tables.changelog import META_KEY, Meta
from tables.fetch import End, Fetched, Pace, assign_paused, end_of, fetch, interrupt, pause
from tables.stats import Stats
from tables.store import Local, Store, StoreUnfit
from tables.tasks import Tasks

log = logging.getLogger(__name__)

_POLL_RECORDS = 5000
#: A follower that has to buffer more than this without a meta record has met
#: compaction: it stops answering and loads in pieces instead.
_MAX_BUFFERED = 50_000
#: A rebuild writes so many keys at once: most records of a changelog are overtaken by later
#: ones, and what is overtaken in memory need not be written.
_REBUILD_KEYS = 20_000
_STUCK_S = 60.0
#: Whoever answered so lately is not away.
_ANSWERS_S = 10.0
_PROGRESS_S = 2.0
#: Partitions come in groups: one fetch for all of them.
_GATHER_S = 0.005


class RestoreStuck(Exception):
    """The broker answers, but a restore makes no progress."""


class Restored(msgspec.Struct, frozen=True):
    """What one restore did: changelog records applied, seconds."""

    records: int
    seconds: float


class Progress(msgspec.Struct, frozen=True):
    """Of a restore under way: records applied, about how many in all, records/s, seconds left."""

    done: int
    total: int
    rate_per_s: float
    eta_s: float


class StoreForeign(StoreUnfit):
    """The store does not belong to this changelog."""


class Feed:
    """One partition that follows the changelog.

    While `whole` is set the store may be read by others, so a transaction is applied
    in one write, once its meta record has arrived. Otherwise records are applied as
    they come: compaction removes all meta records but the newest, so a rebuilding
    store must not wait for one.

    Raises StoreUnfit, from anywhere, where the store cannot be gone on with; then this feed is
    over, and whoever gave it the store decides what becomes of it.
    """

    def __init__(self, partition: int, store: Store, whole: bool, end: int) -> None:
        self.partition, self.store, self.whole = partition, store, whole
        self.until = end
        self.meta: Meta | None = None
        #: Of what was applied; the store's own says what was written.
        self._local = store.local
        #: Records applied since the last meta record: half a transaction may be in there.
        self._unfinished = False
        self._start_at = self._start(end)
        # The newest meta record is the last record before the end and its marker. A
        # rebuild looks at it first, so that an interrupted one knows what it belongs to.
        self._peeking = self._start_at == 0 and not self._local.incarnation and end > 1
        self.position = end - 2 if self._peeking else self._start_at
        self.caught_up: asyncio.Future[Restored] = asyncio.get_running_loop().create_future()
        self.records = 0
        self.first = self.position
        self.started = self.moved = monotonic()
        #: Not yet written; None deletes.
        self._changes: dict[bytes, bytes | None] = {}

    def _start(self, end: int) -> int:
        """Begin at the last meta record, not behind it.

        Reading it again tells whether this is still the changelog that the store came
        from: one that was recreated and grew to the same end looks the same otherwise.
        """
        local = self._local
        if local.incarnation and local.next_offset <= end:
            # A meta record behind next_offset would be the only proof; before it, the
            # newest one is still to come.
            whole = local.next_offset == local.meta_offset + 1
            return local.meta_offset if whole else local.next_offset
        if local.next_offset > 0:
            raise StoreForeign(
                f"the local store is not of this changelog (it ends at {end}, the store is at "
                f"{local.next_offset})"
            )
        return 0

    def apply(self, fetched: Fetched) -> bool:
        """Apply what was fetched; False where the consumer has to seek to `position`."""
        self.moved = monotonic()
        if self._peeking:
            return self._peek(fetched)
        changes = self._changes
        for batch in fetched.batches():
            # A third of a restore is in this loop: nothing is done here for each record that
            # can be done for a batch. (A compacted topic takes no record without a key.)
            count, key = 0, None
            for count, record in enumerate(batch, 1):  # noqa: B007  # used behind it
                key = record.key
                changes[key] = record.value
                if key == META_KEY:
                    self._on_meta(record.offset, record.value)
            self.records += count
            if count:
                self._unfinished = key != META_KEY
        if self.whole and len(changes) > _MAX_BUFFERED:
            self.whole = False
        # Right behind a meta record the offset stays there, so that the next start reads
        # that record again.
        if not self.whole and (self._unfinished or self._local.meta_offset < 0):
            next_offset = fetched.next_offset
            self._local = msgspec.structs.replace(self._local, next_offset=next_offset)
        self.position = fetched.next_offset
        if not self.is_due():
            self._tell()
        return True

    def is_due(self) -> bool:
        """Whether a rebuild must `write` what it has applied, before it applies more."""
        is_full = len(self._changes) >= _REBUILD_KEYS
        return not self.whole and (is_full or self.position >= self.until)

    def write(self) -> None:
        """Write what was applied; in a rebuild a step of its own, since it may take 20 ms."""
        deletes = [key for key, value in self._changes.items() if value is None]
        for key in deletes:
            del self._changes[key]
        puts = cast(dict[bytes, bytes], self._changes)
        (self.store.write if self.whole else self.store.load)(puts, deletes, self._local)
        self._changes.clear()
        self._tell()

    def _tell(self) -> None:
        if self.is_past_end() and not self.caught_up.done():
            self.caught_up.set_result(Restored(self.records, monotonic() - self.started))

    def is_past_end(self) -> bool:
        """Past the end seen at the start, and not in the middle of a transaction."""
        return self.position >= self.until and not self._unfinished

    def _peek(self, fetched: Fetched) -> bool:
        for record in chain.from_iterable(fetched.batches()):
            if record.key == META_KEY:
                meta = msgspec.json.decode(record.value, type=Meta)
                self._local = Local(incarnation=meta.incarnation)
        if fetched.next_offset < self.until and not self._local.incarnation:
            self.position = fetched.next_offset
            return True
        self._peeking = False
        self.position = self._start_at
        return False

    def _on_meta(self, offset: int, value: bytes) -> None:
        meta = msgspec.json.decode(value, type=Meta)
        incarnation = meta.incarnation
        known = self._local.incarnation
        if known and incarnation != known:
            raise StoreForeign(
                f"the changelog was recreated (incarnation {incarnation}, the store is of {known})"
            )
        self._local = Local(next_offset=offset + 1, meta_offset=offset, incarnation=incarnation)
        if self.whole:
            self.write()
        self.meta, self._unfinished = meta, False

    def skip_to(self, start: int) -> None:
        """Begin where the changelog does; for a store that holds nothing."""
        self._peeking = False
        self._start_at = self.position = start

    def progress(self) -> Progress:
        """How far, how fast, how long still."""
        seconds = max(monotonic() - self.started, 1e-3)
        rate = self.records / seconds
        left = max(0, self.until - (self._start_at if self._peeking else self.position))
        return Progress(self.records, self.records + left, rate, left / rate if rate else 0.0)


class Follower:
    """Reads the changelog for every feed of one worker.

    Args:
        on_applied: called after something was applied to a feed's store.
        on_unfit: called when a feed's store cannot be gone on with; the feed is removed then.
        fail: ends the worker with one sentence.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        changelog: str,
        partitions: int,
        commit_interval_s: float,
        stats: Stats,
        on_applied: Callable[[Feed], None],
        on_unfit: Callable[[Feed, StoreUnfit], None],
        fail: Callable[[str, BaseException | None], Awaitable[None]],
    ) -> None:
        self._kafka, self._changelog, self._fail = kafka, changelog, fail
        self._tps = [TopicPartition(changelog, number) for number in range(partitions)]
        self._on_applied, self._on_unfit = on_applied, on_unfit
        self._commit_interval_s = commit_interval_s
        self._feeds: dict[int, Feed] = {}
        self._placed: set[Feed] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stats = stats

    async def start(self) -> None:
        """Connect; raises KafkaError where no broker answers."""
        self._consumer = AIOKafkaConsumer(
            **self._kafka,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=2 * 2**20,
            fetch_max_bytes=16 * 2**20,
        )
        await self._consumer.start()
        assign_paused(self._consumer, self._tps)
        self._pace = Pace(self._consumer, self._commit_interval_s)
        self._task = Tasks(self._fail).keep(self._run, "changelog follower")

    async def stop(self) -> None:
        """Stop feeding, leave."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._consumer.stop()

    async def end(self, partition: int) -> int:
        """The changelog's end for committed readers; raises KafkaError."""
        tp = self._tps[partition]
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets([tp])
        return ends[tp]

    def known_end(self, partition: int) -> End:
        """The end by the last fetch response; asks nobody."""
        return end_of(self._consumer, self._tps[partition])

    def add(self, partition: int, store: Store, whole: bool, end: int) -> Feed:
        """Start to feed a store; its `caught_up` resolves once it is past `end`.

        Raises StoreUnfit where the store cannot be gone on with; found later, it is `on_unfit`'s.
        """
        feed = self._feeds[partition] = Feed(partition, store, whole, end)
        if end == 0 or feed.position >= end:
            feed.caught_up.set_result(Restored(0, 0.0))
        self._changed.set()
        interrupt(self._consumer)
        return feed

    def remove(self, feed: Feed) -> None:
        """Nothing is written to the feed's store by us after this returns."""
        feed.caught_up.cancel()
        if self._feeds.get(feed.partition) is feed:
            del self._feeds[feed.partition]
            pause(self._consumer, [self._tps[feed.partition]])

    async def _run(self) -> None:
        try:
            logged = monotonic()
            while True:
                await self._place()
                await self._poll()
                if monotonic() - logged > _PROGRESS_S:
                    logged = monotonic()
                    self._report()
        except (ConsumerStoppedError, asyncio.CancelledError):
            raise
        except Exception as error:
            await self._fail(f"The changelog cannot be followed: {error}.", error)

    async def _place(self) -> None:
        """Let the consumer read what the feeds need, each from where its feed is."""
        while not self._feeds and not self._changed.is_set():
            await self._changed.wait()
        if not self._changed.is_set():
            return
        await asyncio.sleep(_GATHER_S)
        self._changed.clear()
        for feed in self._feeds.values():
            if feed not in self._placed:
                self._consumer.seek(self._tps[feed.partition], feed.position)
                self._consumer.resume(self._tps[feed.partition])
        self._placed = set(self._feeds.values())

    async def _poll(self) -> None:
        fetched = await fetch(
            self._consumer, 0.5, _POLL_RECORDS, proceed=lambda: not self._changed.is_set()
        )
        restoring = not all(feed.caught_up.done() for feed in self._feeds.values())
        self._pace.saw(len(fetched), urgent=restoring)
        for tp, part in fetched.items():
            feed = self._feeds.get(tp.partition)
            if feed is not None and part.error is not None:
                await self._on_error(feed, part.error)
            if feed is None or part.start != feed.position:
                continue  # fetched for another feed, or before a seek
            try:
                await self._feed(feed, part)
            except StoreUnfit as unfit:
                self._give_up(feed, unfit)
            await asyncio.sleep(0)

    async def _feed(self, feed: Feed, part: Fetched) -> None:
        before = feed.records
        if not feed.apply(part):
            self._seek_again(feed)
        # A look at the newest meta record counts: it is the first that a restore reads.
        self._stats.restored += max(bool(part.data), feed.records - before)
        if feed.is_due():
            await asyncio.sleep(0)
            if self._feeds.get(feed.partition) is not feed:
                return  # the store has a new master since
            feed.write()
        self._on_applied(feed)

    def _give_up(self, feed: Feed, unfit: StoreUnfit) -> None:
        self.remove(feed)
        self._on_unfit(feed, unfit)

    async def _on_error(self, feed: Feed, error: KafkaError) -> None:
        if not isinstance(error, OffsetOutOfRangeError):
            raise error
        tp = self._tps[feed.partition]
        try:
            first = (await self._consumer.beginning_offsets([tp]))[tp]
        except KafkaError as passing:
            log.warning("Partition %d: %r; tried again.", feed.partition, passing)
            return
        if self._feeds.get(feed.partition) is not feed:
            return  # the store has a new master since
        if feed.store.local.next_offset > 0:
            self._give_up(
                feed, StoreForeign(f"the changelog no longer holds offset {feed.position}")
            )
            return
        feed.skip_to(first)
        self._seek_again(feed)

    def _seek_again(self, feed: Feed) -> None:
        self._placed.discard(feed)
        self._changed.set()

    def _report(self) -> None:
        for feed in self._feeds.values():
            if feed.caught_up.done():
                continue
            p = feed.progress()
            log.info(
                "Partition %d restores: %s of about %s changelog records, %s/s, %.0f s left.",
                feed.partition,
                f"{p.done:,}",
                f"{p.total:,}",
                f"{p.rate_per_s:,.0f}",
                p.eta_s,
            )
            stands = monotonic() - feed.moved
            answered_s = time() - self.known_end(feed.partition).at_ms / 1000
            if stands > _STUCK_S and answered_s < _ANSWERS_S:
                raise RestoreStuck(
                    f"partition {feed.partition} has stood at changelog offset {feed.position} "
                    f"of {feed.until} for {stands:.0f} s"
                )
