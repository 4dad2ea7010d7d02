"""Table: what the agent writes to and the web reads from.

It knows which partitions this worker owns and which it stands by for, and lets each
live alone: take-over, restore, commit and following of one wait for no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from aiokafka.errors import KafkaError

from core.stages import Role, Stage
from core.words import in_words, spans
from tables.audit.repairs import Repairs
from tables.config import TableConfig
from tables.decoder import Batch
from tables.folding import Folding
from tables.groupcommit import GroupCommit
from tables.home import rights
from tables.home.changelog import ChangelogChanged
from tables.home.discarding import Discarding
from tables.home.feed import Feed
from tables.home.kafka import KafkaHome
from tables.home.losses import Losses
from tables.home.sources import Sources
from tables.home.store import NoStore, Store, StoreFailed, Stores, StoreUnfit
from tables.opening import Opening
from tables.partition import Partition, Superseded
from tables.ports import CommitRefused, Delivery, Fail, Membership
from tables.reading import Reading
from tables.stats import Stats
from tables.takeover import TakeOver, keep_trying
from tables.tasks import Tasks
from wire.requests.topicids import TopicNow

log = logging.getLogger(__name__)

_META_ONLY_S = 24 * 3600.0
_REFUSALS = 3
_TICK_S = 1.0


class Table(Reading):
    """The changelog-backed table of one worker. Reads are in `Reading`."""

    def __init__(
        self,
        config: TableConfig,
        stores: Stores,
        membership: Membership,
        delivery: Delivery,
        fail: Fail,
        owned_elsewhere: Callable[[int], bool] = lambda partition: False,
        home: Callable[..., KafkaHome] = KafkaHome,
    ) -> None:
        """`home`: made of what `KafkaHome` takes. `owned_elsewhere`: by its owner's own word."""
        super().__init__(config.partitions, config.url, membership, config.session_timeout_s / 2)
        self._config, self._fail = config, fail
        self._delivery, self._owned_elsewhere = delivery, owned_elsewhere
        self._epoch, self._open, self._leaving = 0, False, False
        #: Why nothing is folded any more, on this worker, until it is started again.
        self._halted: str | None = None
        self._tasks = Tasks(fail, Superseded)
        self.indexed(self._tasks)
        self.stats = Stats()
        self._opening = Opening(stores, self.stats, self._tasks, fail)
        self._home = home(
            config, self.stats, self.held, self._on_unfit, self._changed, self._followed, fail
        )
        self._losses = Losses(
            Discarding(stores, self._home.follower.prove),
            self._opening,
            self._tasks,
            release=self._release,
            serve=self._serve_again,
            stand_still=self._stand_still,
            changed=self._changed,
        )
        self._sources = Sources(config.kafka, config.topics, config.partitions, self._home.topics)
        self._commits = GroupCommit(
            config.commit_interval_s,
            self.stats,
            self._on_refused,
            self._losses.give_up,
            self._stand_still,
            fail,
            self._committed,
        )
        self.repairs = Repairs(self.held, self._commits)
        self._folding = Folding(
            delivery, self._commits, self._tasks, list(config.topics), lambda: self._open
        )
        self._take_over = TakeOver(
            config=config,
            membership=membership,
            delivery=delivery,
            home=self._home,
            sources=self._sources,
        )

    # ---- life

    async def start(self) -> None:
        """Connect; raises KafkaError where no broker answers."""
        await self._home.start()
        await self._sources.start()
        await self._opening.start(await self._home.incarnation())
        self._tasks.keep(self._maintain, "table maintenance")

    def leave(self) -> None:
        """Take no partition over any more; those that are owned are served until `stop`.

        A take-over begins with the end of every older writer, which may by then be the
        next owner's.
        """
        self._leaving = True
        self._opening.end()
        for p in self.held.values():
            if p.owned is None and p.assigned is Role.ACTIVE:
                self._release(p)

    async def stop(self) -> None:
        """Commit what is folded, then let go of everything."""
        await self.revoke()
        await self._tasks.cancel()
        await self._home.stop()
        await self._sources.stop()
        for p in self.held.values():
            p.close()
        self._opening.close()

    # ---- assignment

    async def revoke(self) -> None:
        """The group rebalances: finish the groups under way, then own nothing.

        Stores stay open, and go on answering as `former` until a new owner is known. Standbys
        follow on: nobody else has what was committed last by who leaves. Commits get half a
        session timeout; what does not make it is read again by whoever comes next.
        """
        self._open = False
        self._opening.end()
        owned = [p for p in self.held.values() if p.owned is not None]
        try:
            async with asyncio.timeout(self._config.session_timeout_s / 2):
                await asyncio.gather(*(self._delivery.stop(p.number) for p in owned))
                await asyncio.gather(*(self._commits.drain(p) for p in owned))
        except (TimeoutError, KafkaError) as error:
            log.warning(
                "Some groups could not be committed before they left (%s).", in_words(error)
            )
        for p in (p for p in self.held.values() if not p.follows_on()):
            self._release(p)

    async def assign(self, actives: Iterable[int], standbys: Iterable[int]) -> None:
        """Serve this set of partitions from now on; returns before they are ready."""
        self._open = True
        self._opening.end()
        active, standby = set(actives), set(standbys)
        self._commits.owned_count = len(active)
        for p in [self.held[number] for number in sorted(self.held.keys() & (active | standby))]:
            if p.number in active or not p.follows_on():
                self._release(p)
                p.refusals, p.stopped_because = 0, None
                self._serve(p, p.number in active)
        for number in sorted(set(self.held) - active - standby):
            p = self.held[number]
            self._release(p)
            p.stopped_because, p.assigned = None, None
            p.move(Stage.FORMER)
        log.debug("Assigned: active for %s; standby for %s.", spans(active), spans(standby))
        self._changed()
        new = sorted((active | standby) - self.held.keys(), key=lambda n: (n in standby, n))
        self._opening.begin(new, lambda p: self._hold(p, p.number in active), self._changed)

    def _hold(self, p: Partition, active: bool) -> None:
        """A partition that this worker did not hold until now: its store is open."""
        self.held[p.number] = p
        self._serve(p, active)

    def copies(self) -> dict[int, int]:
        """For each partition whose rows this worker has, the changelog offset they reach.

        0 for a store on disk that is not open. Called from the consumer's thread.
        """
        return self._opening.copies(self.held)

    def _serve(self, p: Partition, active: bool) -> None:
        if self._leaving and active:
            return
        self._epoch += 1
        p.epoch = self._epoch
        p.assigned = Role.ACTIVE if active else Role.STANDBY
        p.task = self._tasks.start(self._served(p, p.epoch), f"partition {p.number}")

    async def _served(self, p: Partition, epoch: int) -> None:
        """Own it or follow it, with a new store if the one before was given up."""
        store = p.store
        try:
            if isinstance(store, NoStore):
                await self._delivery.stop(p.number)
                store = await self._losses.renewed(p, epoch, store)
            work = self._own if p.assigned is Role.ACTIVE else self._follow
            if self._halted is not None and p.assigned is Role.ACTIVE:
                # It can still be read: as far as somebody counted.
                work, p.stopped_because = self._follow, self._halted
            await work(p, epoch)
        except StoreUnfit as why:
            self._losses.found(p, store, why)
        except ChangelogChanged as error:
            if p.epoch == epoch:
                self._stand_still(p, str(error))
        except StoreFailed as error:
            await self._fail(f"Partition {p.number} cannot be served: {error}", error)

    def _serve_again(self, p: Partition) -> None:
        if self._open:
            self._serve(p, p.assigned is Role.ACTIVE)

    def _give_up(self, p: Partition | None, store: Store, why: StoreUnfit) -> None:
        self._losses.give_up(p, store, why)

    def _on_unfit(self, feed: Feed, why: StoreUnfit | ChangelogChanged) -> None:
        p = self.held.get(feed.partition)
        if p is None or p.feed is not feed:
            return
        if isinstance(why, StoreUnfit):
            self._losses.found(p, feed.store, why)
        else:
            self._stand_still(p, str(why))

    async def halt(self, sentence: str) -> None:
        """Fold nothing more of any partition; rows can be read as they are.

        What is folded already is committed: it was right when it was read.
        """
        if self._halted is not None:
            return
        self._halted = sentence
        for p in [p for p in self.held.values() if p.assigned is Role.ACTIVE]:
            self._stand_still(p, sentence)

    async def topics(self, names: Iterable[str]) -> Mapping[str, TopicNow]:
        """What Kafka says of topics now; raises KafkaError."""
        return await self._home.topics(names)

    async def log_starts(self) -> dict[tuple[str, int], int]:
        """First offsets of changelog and sources, by topic and partition; raises KafkaError."""
        return await self._home.log_starts() | await self._sources.all_starts()

    async def stand_still(self, partition: int, sentence: str) -> None:
        """A source has lost what this partition would read next."""
        p = self.held.get(partition)
        if p is not None and p.owned is not None:
            self._stand_still(p, sentence)

    def _stand_still(self, p: Partition, sentence: str) -> None:
        """Fold and follow it no more; its rows can be read as they are."""
        self._release(p)
        self._tasks.start(self._delivery.stop(p.number), f"stop partition {p.number}")
        p.stand_still(sentence)
        self._changed()

    async def _own(self, p: Partition, epoch: int) -> None:
        await keep_trying(self._take_over, p, epoch, self._fail)
        if p.state is Stage.ACTIVE and p.epoch == epoch:
            self._changed()
            self._commits.due(p)

    async def _follow(self, p: Partition, epoch: int) -> None:
        p.move(Stage.LOADING)
        while True:
            try:
                with rights.reading():
                    end = await self._home.look(p.number)
                    ends = await self._sources.ends([p.number])
                break
            except KafkaError as error:
                log.warning("Partition %d: cannot follow yet (%s).", p.number, in_words(error))
                await asyncio.sleep(_TICK_S)
        if p.epoch == epoch:
            # Known before the first answer: a lag of nothing known would read as none.
            for (topic, _), found in ends.items():
                p.saw_end(topic, *found)
            self._home.follow(p, end)

    def _release(self, p: Partition) -> None:
        """End whatever this worker does for the partition, but keep its store.

        Synchronous: between the new epoch and the closed memory nothing else may run.
        """
        self._epoch += 1
        p.epoch = self._epoch
        if p.task is not None:
            # Else it would go on to fence the writer of the take-over that follows it.
            if p.task is not asyncio.current_task():
                p.task.cancel()
            p.task = None
        owned = self._commits.close(p)
        self._home.let_go(p)
        if owned is not None and owned.commit is not None:
            owned.commit.cancel()

    async def _on_refused(self, p: Partition, error: CommitRefused) -> None:
        """The broker refused a commit: close the partition and take it over again."""
        self._release(p)
        epoch = p.epoch
        p.refusals += 1
        log.warning("Partition %d: the broker refused a commit (%s).", p.number, error)
        if p.refusals >= _REFUSALS:
            await self._fail(
                f"Partition {p.number}: the broker refused {_REFUSALS} commits in a row ({error}). "
                "If it names a size, raise max.message.bytes of the changelog; if it says fenced, "
                "another process runs with this ONHAND_NAME and ONHAND_VERSION.",
                error,
            )
            return
        await self._delivery.stop(p.number)
        if self._open and p.epoch == epoch:
            self._serve(p, active=True)

    # ---- writing

    async def fold(self, batch: Batch) -> None:
        """Fold one fetched batch; returns when the next one may come.

        Raises:
            Exception: not a refusal but a bug; the caller must end the worker, and the
                partition's memory is dropped first so that nothing half-folded commits.
        """
        p = self.held.get(batch.address.partition)
        if p is None or p.epoch != batch.epoch:
            return
        try:
            await self._folding.take(p, batch)
        except StoreUnfit as why:
            self._losses.give_up(p, p.store, why)
        except Exception:
            self._release(p)
            raise

    # ---- upkeep

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now = monotonic()
            for p in list(self.held.values()):
                owned = p.owned
                if owned is not None and now - owned.committed_at > _META_ONLY_S:
                    # The transactional id expires after seven idle days.
                    owned.uncommitted = True
                # What `more` promised may have been lost with its fetch.
                self._commits.due(p)
                if self._open and p.is_replaced(self._owned_elsewhere(p.number), now):
                    self._close(p)
            await self._look_at_sources()

    async def _look_at_sources(self) -> None:
        """Ends for partitions whose sources this worker does not fetch."""
        held = self.held.values()
        others = {p.number: p.offsets for p in held if p.owned is None or p.owned.is_aside}
        try:
            async with asyncio.timeout(_TICK_S):
                ends = await self._sources.ends(others.keys() - await self._sources.lost(others))
        except (KafkaError, TimeoutError, OSError):
            return  # as_of stays where it is: that is the honest answer
        for (topic, number), found in ends.items():
            if (p := self.held.get(number)) is not None:
                p.saw_end(topic, *found, counted=others[number].get(topic, 0))

    def _close(self, p: Partition) -> None:
        del self.held[p.number]
        p.close()
        log.info("Partition %d has another owner: its store is closed.", p.number)
        self._changed()

    def _look(self, p: Partition) -> None:
        if p.owned is None:
            return
        for topic in self._config.topics:
            end = self._delivery.end(topic, p.number)
            if end.high is not None:
                p.saw_end(topic, end.high, end.at_ms, end.offset)

    def _changelog_lag(self, p: Partition) -> int:
        return self._home.lag(p)

    def group_offsets(self) -> dict[tuple[str, int], int]:
        """Committed next offsets of what this worker owns, for the group's own offsets."""
        return {
            (topic, p.number): at
            for p in self.held.values()
            if p.owned is not None
            for topic, at in p.offsets.items()
        }
