"""The bridge's process: Faust's life cycle, with what carries the records hung into it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import click
from aiokafka.errors import KafkaError

from agents.carried import Carried, ForeignBatch, foreign_batch
from agents.carrying import Bridge
from app import __version__, descriptors, topics
from app.admin import TopicsError
from app.config import Settings
from app.group.assignment import PartitionManager
from app.group.member import GroupMember
from app.group.options import option_problems
from app.group.process import OnhandWorker
from app.service import refuse_to_start
from app.settings.listening import port_problems
from core.words import spans
from tables.tasks import Tasks
from web.access.access import Access
from web.operations.bridging import BridgeOps, BridgeView, CarriedBody
from web.operations.small import attach_small
from wire.fetch import Fetched

log = logging.getLogger("app")

_LOOK_EVERY_S = 1.0
#: How often the log says how far it is while it is behind.
_SAY_EVERY_S = 60.0
#: Below this many it is still called caught up.
_BEHIND = 10_000
_ELSEWHERE = "This is a bridge, which tells how it is and nothing else: ask a worker."


class TopicManager(PartitionManager):
    """A group that reads one topic and has no tables."""

    async def _hand_over(self, assigned: set[Any]) -> None:
        await self.app.on_assigned({tp.partition for tp in assigned}, set(), frozenset())


class BridgeWorker(OnhandWorker):
    """Says what starts."""

    is_asked = False

    def say_what_starts(self) -> None:
        """The first lines of the log."""
        app: Any = self.app
        settings: Settings = app.settings
        log.info(
            "Onhand %s starts a bridge: from %s by %s, group %s.",
            *(__version__, settings.bridge_topic, settings.bridge_map, app.conf.id),
        )
        log.info(
            "Kafka: %s (%s). Facts go to %s. Address: %s.",
            *(settings.kafka, settings.kafka_security_protocol),
            *(", ".join(settings.source_topics.values()), settings.url),
        )


class ForeignBatches:
    """In the place of the worker's decoder: hands on what was fetched."""

    def batch(
        self,
        topic: str,
        partition: int,
        part: Fetched,
        epoch: int,
        more: bool = False,
        here: bool = False,
    ) -> ForeignBatch:
        """One partition's."""
        return foreign_batch(partition, part, epoch)


class BridgeApp(GroupMember):
    """What Faust calls us for. `app.group` sees it as any worker (`app/group/ports.py`)."""

    settings: Settings
    bridge: Bridge
    access: Access
    _stopping = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decoder = ForeignBatches()
        self._is_assigned = self._is_due = False
        self._said_at = 0.0
        self._news = Tasks(self.fail)

    def reader_of(self, topic: str) -> str:
        """There is one."""
        return "bridge"

    async def stand_still(self, topic: str, partition: int, sentence: str) -> None:
        """The topic has lost what would be read next of this partition."""
        await self.bridge.stand_still(partition, sentence)

    def on_webserver_init(self, web: Any) -> None:
        """Our handlers live on the server that Faust starts."""
        limits = descriptors.of_others(0, is_secured=self.access.tls.server() is not None)
        attach_small(web.web_app, BridgeOps(self.view).routes(), self.access, limits, _ELSEWHERE)

    async def on_start(self) -> None:
        """Check, connect, then let the consumer join the group."""
        await self._check()
        await super().on_start()
        await self.bridge.start()
        self._news.keep(self._watch, "news of the bridge", _LOOK_EVERY_S)

    async def _check(self) -> None:
        settings = self.settings
        problems = option_problems(settings, click.get_current_context(silent=True))
        problems += port_problems(settings.web_host, settings.web_port)
        problems = [told.replace("ONHAND_WEB_PORT", "ONHAND_BRIDGE_PORT") for told in problems]
        problems += [str(problem) for problem in await topics.check(settings)]
        if not problems:
            problems += await self._problems_of_topic(settings.bridge_topic)
        if problems:
            refuse_to_start(problems)

    async def _problems_of_topic(self, topic: str) -> list[str]:
        try:
            if await topics.exists(self.settings, topic):
                return []
        except TopicsError as error:
            return [str(error)]
        return [f"There is no topic {topic}: create it, or name another; the bridge creates none."]

    async def stop(self) -> None:
        """Leave in order; also called by Faust on SIGTERM."""
        if not self._stopping:
            self._stopping = True
            log.info("Stopping: committing what was read, leaving the group.")
            await self._news.cancel()
            try:
                await self.bridge.stop()
            except (KafkaError, TimeoutError, OSError) as error:
                log.info("The bridge could not close its connections in order (%r).", error)
            log.info("Since it started: %s.", self.bridge.stats.sentence())
            await self.consumer.leave()  # type: ignore[attr-defined]  # a BatchConsumer
        await super().stop()

    # ---- called by app/group/

    async def on_assigned(
        self, actives: set[int], standbys: set[int], warming: frozenset[int]
    ) -> None:
        """After a rebalance."""
        if self._stopping:
            return
        if actives:
            log.info("This worker is to carry partitions %s.", spans(actives))
        else:
            log.info("This worker has no partitions: there are more workers than partitions.")
        await self.bridge.assign(actives)
        self._is_assigned, self._is_due = True, bool(actives)

    async def on_revoked(self) -> None:
        """Before a rebalance."""
        self._is_assigned = False
        await self.bridge.revoke()

    def group_offsets(self) -> dict[tuple[str, int], int]:
        """What lag tools are told."""
        return self.bridge.positions()

    # ---- what is told

    def view(self) -> BridgeView:
        """For /ready and /metrics."""
        stats = self.bridge.stats
        return BridgeView(
            topic=self.settings.bridge_topic,
            is_assigned=self._is_assigned and not self._stopping,
            partitions=[self._body(p) for p in self.bridge.held()],
            read=stats.read,
            left=stats.left,
            commits=stats.commits,
            commit_seconds=stats.commit_seconds,
            facts=stats.facts,
            refused=stats.refused,
            registry_away=None if self.bridge.learning is None else self.bridge.learning.is_away,
        )

    def _body(self, p: Carried) -> CarriedBody:
        if p.stopped_because is not None:
            return CarriedBody(p.number, "stopped", stopped_because=p.stopped_because)
        if p.waits_because is not None:
            return CarriedBody(p.number, "waiting", waits_because=p.waits_because)
        if not p.is_active:
            return CarriedBody(p.number, "taking over")
        return CarriedBody(p.number, "active", p.position, self.bridge.lag(p))

    async def _watch(self) -> None:
        """One line when all is carried; while it is far behind, one a minute."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            held = self.bridge.held()
            lags = [self.bridge.lag(p) for p in held]
            known = [lag for lag in lags if lag is not None]
            behind = sum(known)
            if self._is_due and held and len(known) == len(held) and not behind:
                self._is_due = False
                log.info("Caught up. Since it started: %s.", self.bridge.stats.sentence())
            elif behind > _BEHIND:
                self._is_due = True
                if time.monotonic() - self._said_at > _SAY_EVERY_S:
                    self._said_at = time.monotonic()
                    log.info("%d records behind; %s.", behind, self.bridge.stats.sentence())
