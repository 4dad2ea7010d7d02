"""Kafka as a home: the changelog is the truth, and stores on disk or in memory follow it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from core.stages import Role, Stage
from tables.changes.ring import RowGroup
from tables.config import TableConfig
from tables.home.changelog import ChangelogChanged, ChangelogWriter
from tables.home.feed import Feed, Phase
from tables.home.follower import Follower
from tables.home.store import StoreUnfit
from tables.partition import Partition, Superseded
from tables.ports import Fail, Log, Restored
from tables.stats import Stats
from wire.requests.topicids import TopicNow
from wire.transactions import Brokers

log = logging.getLogger(__name__)


class KafkaHome:
    """A `tables.ports.Home`.

    Args:
        config: of the table.
        stats: counts what is restored.
        held: partitions of this worker, by number.
        unfit: told of a store that a feed cannot go on with, or of a changelog that nothing may
            be restored from; the feed is removed then.
        changed: called when a partition's stage has changed.
        followed: told of each group that comes into a store by its feed.
        fail: ends the worker with one sentence.
    """

    def __init__(
        self,
        config: TableConfig,
        stats: Stats,
        held: Mapping[int, Partition],
        unfit: Callable[[Feed, StoreUnfit | ChangelogChanged], None],
        changed: Callable[[], None],
        followed: Callable[[Partition, RowGroup], None],
        fail: Fail,
    ) -> None:
        self._config, self._held, self._changed = config, held, changed
        self._followed = followed
        self.brokers = Brokers(config.kafka, config.written)
        self.follower = Follower(
            config.kafka,
            config.changelog,
            config.partitions,
            config.commit_interval_s,
            stats,
            self._on_applied,
            unfit,
            self.brokers.topics,
            fail,
            self._own_first,
        )

    def _own_first(self) -> bool:
        return any(partition.is_missed() for partition in self._held.values())

    async def start(self) -> None:
        """Connect; raises KafkaError where no broker answers."""
        await self.follower.start()
        await self.brokers.start()

    async def stop(self) -> None:
        """Let go of all connections."""
        await self.follower.stop()
        await self.brokers.stop()

    async def incarnation(self) -> str:
        """Kafka's id of the changelog; raises KafkaError."""
        return (await self.topics([self._config.changelog]))[self._config.changelog].id

    async def topics(self, names: Iterable[str]) -> Mapping[str, TopicNow]:
        """What Kafka says of topics now; raises KafkaError."""
        return await self.brokers.topics(names)

    async def log_starts(self) -> dict[tuple[str, int], int]:
        """First offsets of the changelog, by topic and partition; raises KafkaError."""
        logs = await asyncio.gather(*map(self.look, range(self._config.partitions)))
        return {
            (self._config.changelog, partition): log.start for partition, log in enumerate(logs)
        }

    async def fence(self, partition: int) -> ChangelogWriter:
        """By the partition's transactional id; raises as `ChangelogWriter.open`."""
        return await ChangelogWriter.open(self.brokers, self._config, partition)

    async def look(self, partition: int) -> Log:
        """Ask the broker; raises KafkaError."""
        return await self.follower.look(partition)

    async def restore(self, partition: Partition, end: Log) -> Restored:
        """Feed the store until it is past the end.

        Raises:
            Superseded: another assignment came.
            StoreUnfit, ChangelogChanged: as `Follower.add`.
        """
        feed = self._fed(partition, end, Role.ACTIVE)
        try:
            return await feed.caught_up
        except asyncio.CancelledError:
            # Our own cancellation, or the feed was removed by a newer assignment.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise Superseded from None
        finally:
            if partition.feed is feed:  # not the one of a newer assignment
                partition.unfed()
            self.follower.remove(feed)

    def follow(self, partition: Partition, end: Log) -> None:
        """Feed the store from now on, as a standby."""
        feed = self._fed(partition, end, Role.STANDBY)
        if feed.caught_up.done():
            self._on_applied(feed)

    def _fed(self, partition: Partition, end: Log, role: Role) -> Feed:
        feed = partition.feed = self.follower.add(
            partition.number, partition.store, partition.readable(), end, role
        )
        feed.on_group = partial(self._followed, partition)
        return feed

    def let_go(self, partition: Partition) -> None:
        """Feed the store no more."""
        if (feed := partition.unfed()) is not None:
            self.follower.remove(feed)

    def lag(self, partition: Partition) -> int:
        """Changelog records that a follower is behind."""
        end = self.follower.known_end(partition.number)
        return max(0, (end.offset or 0) - (partition.feed.position if partition.feed else 0))

    def _on_applied(self, feed: Feed) -> None:
        partition = self._held.get(feed.partition)
        if partition is None or partition.feed is not feed:
            return
        if partition.state is Stage.STANDBY and not feed.whole:
            end = self.follower.known_end(partition.number).offset
            feed.until = max(feed.until, end or 0)
            partition.move(Stage.LOADING)
            self._changed()
        if partition.state is Stage.LOADING and feed.caught_up.done() and feed.is_past_end():
            if not feed.whole:
                feed.become(Phase.WHOLE)
            partition.move(Stage.STANDBY)
            meta = partition.stored_meta()
            partition.advance({} if meta is None else meta.positions)
            log.debug(
                "Partition %d stands by at changelog offset %d.", partition.number, feed.position
            )
            self._changed()
        elif partition.readable() and feed.meta is not None:
            partition.advance(feed.meta.positions)
