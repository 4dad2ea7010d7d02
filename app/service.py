"""The Faust application: Faust's life cycle, with our table and web hung into it."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import click
from aiokafka.errors import KafkaError

from app import topics
from app.admin import kafka_failed
from app.config import Settings
from app.group.member import GroupMember
from app.group.options import option_problems
from app.group.transport import BatchConsumer
from app.group.warming import WarmUps
from app.news import News
from app.topicwatch import TopicWatch
from app.upgrades.beginning import no_record
from core.versions import VersionState
from core.words import in_words
from domain.rules.held import RulesNotHeld
from tables.config import TableConfig
from tables.decoder import Decoder
from tables.home.agreement import agree
from tables.home.discarding import forget
from tables.home.store import Stores
from tables.stock import InventoryTable
from tables.tasks import Final
from web.server import Web
from wire.batches import Unreadable

log = logging.getLogger(__name__)

_REFUSED = 2
#: For reading the log's last word, and on a new table writing the first.
_AGREE_S = 60.0
_M_ARENA_MAX = -8  # of glibc, malloc.h


class OnhandApp(GroupMember):
    """What Faust calls us for, in the order in which it does.

    Start: `on_start` checks and connects; the consumer joins the group; `on_assigned`
    after each rebalance, `on_revoked` before. Stop: web first stops promising, then
    the table commits, then Faust leaves the group.

    A worker whose version is not staged, or retired, idles: its web answers, and it holds
    nothing and joins nothing until its version is staged. One whose version is retired while
    it runs stops in order and starts anew in the same process, to idle.
    """

    settings: Settings
    table: InventoryTable
    table_config: TableConfig
    stores: Stores
    decoder: Decoder
    web_part: Web
    news: News
    #: How the decoding process finds what is counted, once the rules are known.
    imported_as: Callable[[], str]
    source_topics: tuple[str, ...]
    _stopping = False
    _topic_watch: TopicWatch | None = None
    #: It counts, or is about to.
    _has_begun = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: The group has rebalanced while this worker stops.
        self._relieved = asyncio.Event()
        self._warm_ups = WarmUps(lambda: self.table.status(), self._place_again)

    def on_webserver_init(self, web: Any) -> None:
        """Our handlers live on the server that Faust starts."""
        self.web_part.attach(web.web_app)

    async def on_start(self) -> None:
        """Check, connect, then let the consumer join the group."""
        await self._check()
        _share_memory_between_threads()
        await super().on_start()
        if not self.web_part.versions.is_idle:
            await self._begin()
        await self.web_part.start()
        self.web_part.versions.listeners.append(self._on_versions)

    async def _begin(self) -> None:
        """Do all that a worker does which is not idle, but for joining the group."""
        self._has_begun = True
        self.decoder.start(self.imported_as())
        await self.table.start()
        self.table.listeners.append(self.news.changed)
        self.news.start()
        self._topic_watch = TopicWatch(self.settings, self.table)
        self._topic_watch.start()
        # What start-up made stays: the collector need not look at it again, and the
        # fold makes garbage that is freed by counting alone.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    async def may_join(self) -> None:
        """Called by the consumer before it joins the group: an idle worker waits here."""
        if self._has_begun:
            return
        versions = self.web_part.versions
        log.warning("%s It holds nothing meanwhile.", versions.not_ready())
        if versions.state is VersionState.RETIRED and (count := forget(self.stores)):
            log.info("%d stores of the retired version were deleted.", count)
        while versions.is_idle:
            await versions.changed()
        problems = [str(problem) for problem in await topics.check(self.settings)]
        problems += self._choose_rules()
        if problems := problems or await self._disagreement():
            refuse_to_start(problems)
        await self._begin()

    def _on_versions(self) -> None:
        if self._has_begun and self.web_part.versions.is_idle and not self._stopping:
            log.warning("%s", self.web_part.versions.not_ready())
            self.starts_anew = True
            os.kill(os.getpid(), signal.SIGTERM)  # as anybody else would stop it

    async def _check(self) -> None:
        """Refuse to start on what would lose stock or fail later; all problems at once."""
        problems = option_problems(self.settings, click.get_current_context(silent=True))
        if problems:
            refuse_to_start(problems)
        found = await topics.check(self.settings)
        # A worker may come before its version is staged, and outlive its topics.
        others = [p for p in found if not self.settings.is_of_version(p.topic)]
        is_asked = all(p.topic and p.kind != "missing" for p in others)
        problems = await self._load_versions() if is_asked else []
        is_idle = not problems and is_asked and self.web_part.versions.is_idle
        problems += map(str, others if is_idle else found)
        problems += port_problems(self.settings.web_host, self.settings.web_port)
        if not problems and not is_idle:
            problems = self._choose_rules() or await self._disagreement()
        if problems:
            refuse_to_start(problems)

    async def _load_versions(self) -> list[str]:
        try:
            await self.web_part.versions.load()
        except (KafkaError, OSError, TimeoutError) as error:
            return [kafka_failed(self.settings, error)]
        except Unreadable as error:
            return [str(error)]
        return [] if self.web_part.versions.last else [no_record(self.settings)]

    def _choose_rules(self) -> list[str]:
        """Count by the rules that the record has for this version, if this build holds them."""
        begun = self.web_part.versions.begun
        try:
            if begun is not None:
                self.web_part.judge_by(begun.rules)
        except RulesNotHeld as error:
            return [str(error)]
        return []

    async def _disagreement(self) -> list[str]:
        try:
            async with asyncio.timeout(_AGREE_S):
                await agree(self.table_config)
        except Final as error:
            return [str(error)]
        except (KafkaError, TimeoutError) as error:
            return [
                f"{self.settings.changelog_topic} cannot be read or written before this worker "
                f"joins ({in_words(error)}): look at the brokers, and at what its user may do."
            ]
        return []

    async def stop(self) -> None:
        """Leave in order; also called by Faust on SIGTERM."""
        if not self._has_begun:
            await self._end_idling()
        if not self._stopping:
            self._stopping = True
            log.info("Stopping: finishing requests, committing what is folded, leaving the group.")
            await self.news.stop()
            if self._topic_watch is not None:
                await self._topic_watch.stop()
            # From here on it takes no partition over any more, whoever gives it one.
            await self._warm_ups.end()
            self.table.leave()
            requests = asyncio.create_task(self.web_part.stop(), name="finish requests")
            relieved = asyncio.create_task(self._relieved.wait(), name="relieved")
            await asyncio.wait([requests, relieved], return_when=asyncio.FIRST_COMPLETED)
            relieved.cancel()
            await self.table.stop()
            await self.decoder.stop()
            # Before the last requests are answered, if there are any left: what the group
            # gives this worker meanwhile has no owner.
            await cast(BatchConsumer, self.consumer).leave()
            await requests
        await super().stop()

    async def _end_idling(self) -> None:
        """End at once: Faust waits for a consumer that has not started, and nothing is held."""
        log.info("Stopping.")
        await self.web_part.stop()
        await self.web_part.close()
        log.info("Stopped.")
        logging.shutdown()
        os._exit(0)

    # ---- called by app/group/transport.py, app/group/assignment.py and app/group/assignor.py

    async def on_assigned(
        self, actives: set[int], standbys: set[int], warming: frozenset[int]
    ) -> None:
        """After a rebalance; a worker that stops leaves what it is given to the next one.

        warming: those of `standbys` that this worker will own once it has their rows.
        """
        if self._stopping:
            self._relieved.set()
        else:
            self.news.assigned(actives, standbys)
            await self.table.assign(actives, standbys)
            await self._warm_ups.assigned(warming)

    async def on_revoked(self) -> None:
        """Before a rebalance, also of one that comes while this worker stops.

        It would go on to write partitions that have another owner, be refused, and fence
        that owner in order to take them back.
        """
        await self._warm_ups.end()
        await self.table.revoke()

    def _place_again(self) -> None:
        cast(BatchConsumer, self.consumer).rejoin()

    def copies(self) -> dict[int, int]:
        """What this worker tells the group of its stores; asked in the consumer's thread."""
        return self.table.copies()

    def group_offsets(self) -> dict[tuple[str, int], int]:
        """What lag tools are told."""
        return self.table.group_offsets()


def _share_memory_between_threads() -> None:
    """Let all threads allocate from two heaps.

    By default glibc gives each thread one of its own, and each keeps what its busiest
    moment needed: 20 MB in all for ours, which compress and fetch and seldom meet.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def refuse_to_start(problems: list[str]) -> None:
    """Print why the worker does not start, one sentence a line, and end it."""
    for problem in problems:
        print(f"onhand: {problem}", file=sys.__stderr__, flush=True)  # no log yet
    os._exit(_REFUSED)


def port_problems(host: str, port: int) -> list[str]:
    """A sentence if nobody can listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return [
                f"Port {port} on {host} cannot be used ({error.strerror}): "
                "stop what listens there, or set ONHAND_WEB_PORT to a free one."
            ]
    return []
