"""Stores follow the changelog: rebuild an owned partition, keep a standby close.

One consumer of our own (no group, committed reads) serves every partition of the
worker that is not being written by it. Each partition advances by itself: one wiped
partition delays no other, unlike Faust's recovery, which pauses the worker (0.15.3,
faust/tables/recovery.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    KafkaError,
    LeaderNotAvailableError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
)

from core.stages import Role
from core.words import named_partitions
from tables.home import rights
from tables.home.changelog import ChangelogChanged
from tables.home.feed import Feed, Probe, Progress, not_whole
from tables.home.memory import MemoryStore
from tables.home.store import Local, Store, StoreUnfit
from tables.ports import Fail, Log, Restored
from tables.stats import Stats
from tables.tasks import Final, Tasks
from wire import clients
from wire.batches import Unreadable
from wire.fetch import (
    End,
    Fetched,
    Pace,
    assign_paused,
    end_of,
    fetch,
    interrupt,
    leaderless,
    pause,
)
from wire.requests.topicids import Describe
from wire.rounds import Rounds

log = logging.getLogger(__name__)

_POLL_RECORDS = 5000
_ASK_S = 20.0
_STUCK_S = 60.0
#: What cannot be read may be sound at another replica: tried again so often.
_UNREADABLE_S = 10.0
#: Whoever answered so lately is not away.
_ANSWERS_S = 10.0
_PROGRESS_S = 2.0
#: Partitions come in groups: one fetch for all of them.
_GATHER_S = 0.005


class RestoreStuck(Exception):
    """The broker answers, but a restore makes no progress."""


class Follower:
    """Reads the changelog for every feed of one worker.

    Args:
        on_applied: called after something was applied to a feed's store.
        on_unfit: called when a feed cannot go on, because of its store or of the changelog; it is
            removed then.
        describe: tells what Kafka says of topics now.
        fail: ends the worker with one sentence.
        own_first: whether a partition that this worker owns waits to be folded: meanwhile none
            is loaded for a standby, which holds the loop and the connection for long.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        changelog: str,
        partitions: int,
        commit_interval_s: float,
        stats: Stats,
        on_applied: Callable[[Feed], None],
        on_unfit: Callable[[Feed, StoreUnfit | ChangelogChanged], None],
        describe: Describe,
        fail: Fail,
        own_first: Callable[[], bool] = lambda: False,
    ) -> None:
        self._kafka, self._changelog, self._fail = kafka, changelog, fail
        self._own_first = own_first
        self._tps = [TopicPartition(changelog, number) for number in range(partitions)]
        self._on_applied, self._on_unfit = on_applied, on_unfit
        self._describe = describe
        self._rounds: Rounds[int, Log] = Rounds(self._answer, _ASK_S)
        self._commit_interval_s = commit_interval_s
        self._feeds: dict[int, Feed] = {}
        #: Those that are being read, and those that wait for what is owned.
        self._placed: set[Feed] = set()
        self._waiting: set[Feed] = set()
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
        await clients.start(self._consumer)
        assign_paused(self._consumer, self._tps)
        self._pace = Pace(self._consumer, self._commit_interval_s)
        self._task = Tasks(self._fail).keep(self._run, "changelog follower")

    async def stop(self) -> None:
        """Stop feeding, leave."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await clients.let_go(self._consumer)

    async def look(self, partition: int) -> Log:
        """Ask the broker for a partition, together with all that ask now; raises KafkaError."""
        return await self._rounds.ask(partition)

    async def _answer(self, partitions: Sequence[int]) -> Mapping[int, Log | Exception]:
        tps = [self._tps[partition] for partition in partitions]
        lost = await leaderless(self._consumer, tps)
        asked = [tp for tp in tps if tp not in lost]
        topics = await self._describe([self._changelog])
        if self._changelog not in topics:
            raise UnknownTopicOrPartitionError(self._changelog)
        starts = await self._consumer.beginning_offsets(asked) if asked else {}
        ends = await self._consumer.end_offsets(asked) if asked else {}
        why = LeaderNotAvailableError("the partition of the changelog has no leader")
        found: dict[int, Log | Exception] = {tp.partition: why for tp in lost}
        incarnation = topics[self._changelog].id
        return found | {tp.partition: Log(incarnation, starts[tp], ends[tp]) for tp in asked}

    async def prove(self, partition: int, local: Local | None) -> None:
        """Find out whether a store that is given up could be rebuilt from the changelog.

        Args:
            partition: that nobody follows now.
            local: what the store said of itself; None where it could not be read.

        Raises:
            ChangelogChanged: no, or that cannot be told: the store may be the last whole copy.
            KafkaError: ask again.
        """
        log = await self.look(partition)
        if local is not None and local.next_offset > log.end:
            raise not_whole(
                partition, f"it ends at {log.end}, and this worker has it up to {local.next_offset}"
            )
        if log.end == 0:
            raise not_whole(partition, "nothing was committed to it")
        probe = Probe(partition, MemoryStore(), False, log)
        self._take(probe)
        try:
            await probe.caught_up
        finally:
            self.remove(probe)

    def known_end(self, partition: int) -> End:
        """The end by the last fetch response; asks nobody."""
        return end_of(self._consumer, self._tps[partition])

    def add(self, partition: int, store: Store, whole: bool, log: Log, role: Role) -> Feed:
        """Start to feed a store; its `caught_up` resolves once it is past the end in `log`.

        role: what the store is for: to be owned, or to stand by.

        Raises StoreUnfit where the store cannot be gone on with, ChangelogChanged where nothing
        may be rebuilt from this changelog; found later, both are `on_unfit`'s.
        """
        feed = Feed(partition, store, whole, log)
        feed.role = role
        if feed.from_nothing:
            self._stats.restores[partition, role] += 1
        if log.end == 0 or feed.position >= log.end:
            feed.caught_up.set_result(Restored(0, 0.0))
        self._take(feed)
        return feed

    def _take(self, feed: Feed) -> None:
        self._feeds[feed.partition] = feed
        self._changed.set()
        interrupt(self._consumer)

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
                with rights.reading():
                    await self._poll()
                if monotonic() - logged > _PROGRESS_S:
                    logged = monotonic()
                    self._report()
        except (ConsumerStoppedError, asyncio.CancelledError, rights.RightMissing):
            raise
        except Exception as error:
            raise Final(f"The changelog cannot be followed: {error}.") from error

    async def _place(self) -> None:
        """Let the consumer read what the feeds need, each from where its feed is."""
        while not self._feeds and not self._changed.is_set():
            await self._changed.wait()
        self._hold_back()
        if not self._changed.is_set():
            return
        await asyncio.sleep(_GATHER_S)
        self._changed.clear()
        self._hold_back()
        for feed in self._feeds.values():
            if feed not in self._placed and feed not in self._waiting:
                self._consumer.seek(self._tps[feed.partition], feed.position)
                self._consumer.resume(self._tps[feed.partition])
        self._placed = set(self._feeds.values()) - self._waiting

    def _hold_back(self) -> None:
        """Read nothing for those that may wait, while what is owned comes first."""
        feeds = self._feeds.values() if self._own_first() else ()
        waiting = {feed for feed in feeds if feed.may_wait()}
        for feed in waiting - self._waiting:
            pause(self._consumer, [self._tps[feed.partition]])
        if self._waiting - waiting:
            self._changed.set()
        self._placed -= waiting
        self._waiting = waiting

    async def _poll(self) -> None:
        fetched = await fetch(
            self._consumer, 0.5, _POLL_RECORDS, proceed=lambda: not self._changed.is_set()
        )
        restoring = not all(feed.caught_up.done() for feed in self._feeds.values())
        self._pace.saw(len(fetched), urgent=restoring)
        for tp, part in fetched.items():
            feed = self._feeds.get(tp.partition)
            if feed is not None and part.error is not None:
                self._on_error(feed, part.error)
                continue
            if feed is None or part.start != feed.position:
                continue  # fetched for another feed, or before a seek
            try:
                await self._feed(feed, part)
            except (StoreUnfit, ChangelogChanged) as why:
                self._give_up(feed, why)
            await asyncio.sleep(0)

    async def _feed(self, feed: Feed, part: Fetched) -> None:
        before = feed.records
        try:
            if not feed.apply(part):
                self._seek_again(feed)
        except Unreadable as error:
            self._stand_still(feed, error)
            return
        feed.unreadable = None
        # A look at the newest meta record counts: it is the first that a restore reads.
        self._stats.restored += max(bool(part.data), feed.records - before)
        if feed.is_due():
            await asyncio.sleep(0)
            if self._feeds.get(feed.partition) is not feed:
                return  # the store has a new master since
            feed.write()
        self._on_applied(feed)

    def _stand_still(self, feed: Feed, error: Unreadable) -> None:
        """Feed nothing more to this one until it is tried again; the others go on."""
        tp = self._tps[feed.partition]
        sentence = f"Topic {tp.topic}, partition {tp.partition}: {error}"
        if feed.unreadable != sentence:
            log.error("Partition %d cannot follow. %s", feed.partition, sentence)
        feed.unreadable = sentence
        pause(self._consumer, [tp])

        def try_again() -> None:
            if self._feeds.get(feed.partition) is feed:
                self._seek_again(feed)

        asyncio.get_running_loop().call_later(_UNREADABLE_S, try_again)

    def _give_up(self, feed: Feed, why: StoreUnfit | ChangelogChanged) -> None:
        if isinstance(feed, Probe) and not feed.caught_up.done():
            feed.caught_up.set_exception(why)
        self.remove(feed)
        self._on_unfit(feed, why)

    def _on_error(self, feed: Feed, error: KafkaError) -> None:
        if not isinstance(error, OffsetOutOfRangeError):
            raise error
        self._give_up(feed, feed.out_of_range())

    def _seek_again(self, feed: Feed) -> None:
        self._placed.discard(feed)
        self._changed.set()

    def _report(self) -> None:
        restoring = [feed for feed in self._feeds.values() if not feed.caught_up.done()]
        now = monotonic()
        if slow := [feed for feed in restoring if now - feed.started > _PROGRESS_S]:
            log.info(
                "Restoring %s: %s of about %s changelog records, %s/s, %.0f s left.",
                named_partitions([feed.partition for feed in slow]),
                *_added_up([feed.progress() for feed in slow]),
            )
        for feed in restoring:
            self._end_if_stuck(feed)

    def _end_if_stuck(self, feed: Feed) -> None:
        stands = monotonic() - feed.moved
        at_ms = self.known_end(feed.partition).at_ms
        if at_ms != feed.answered[0]:
            feed.answered = at_ms, monotonic()
        if (
            feed.unreadable is None
            and stands > _STUCK_S
            and monotonic() - feed.answered[1] < _ANSWERS_S
        ):
            raise RestoreStuck(
                f"partition {feed.partition} has stood at changelog offset {feed.position} "
                f"of {feed.until} for {stands:.0f} s"
            )


def _added_up(each: Sequence[Progress]) -> tuple[str, str, str, float]:
    """Of all of them: records done, records in all, records/s, seconds until the last is done."""
    done, total = sum(one.done for one in each), sum(one.total for one in each)
    rate, left = sum(one.rate_per_s for one in each), max(one.eta_s for one in each)
    return f"{done:,}", f"{total:,}", f"{rate:,.0f}", left
