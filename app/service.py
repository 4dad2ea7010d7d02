"""The Faust application: Faust's life cycle, with our table and web hung into it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

import click
from aiokafka.errors import KafkaError

from agents.alerts.alerts import Alerts
from app import topics
from app.admin import kafka_failed
from app.counting.worker import CountingApp, settle_memory, share_memory_between_threads
from app.group.options import option_problems
from app.settings.listening import port_problems
from app.topicwatch import TopicWatch
from app.upgrades.beginning import no_record
from core.versions import VersionState
from domain.rules.held import RulesNotHeld
from tables.home.discarding import forget
from tables.home.store import Stores
from tables.stock import InventoryTable
from web.server import Web
from wire.batches import Unreadable

log = logging.getLogger(__name__)

_REFUSED = 2


class OnhandApp(CountingApp):
    """A worker that counts stock; `app/counting/worker.py` says in which order Faust calls it.

    A worker whose version is not staged, or retired, idles: its web answers, and it holds
    nothing and joins nothing until its version is staged. One whose version is retired while
    it runs stops in order and starts anew in the same process, to idle.
    """

    table: InventoryTable
    stores: Stores
    web_part: Web
    alerts: Alerts | None = None
    _topic_watch: TopicWatch | None = None
    #: It counts, or is about to.
    _has_begun = False

    def on_webserver_init(self, web: Any) -> None:
        """Our handlers live on the server that Faust starts."""
        self.web_part.attach(web.web_app)

    async def on_start(self) -> None:
        """Check, connect, then let the consumer join the group."""
        await self._check()
        share_memory_between_threads()
        await super().on_start()
        if not self.web_part.versions.is_idle:
            await self._begin()
        await self.web_part.start()
        self.web_part.versions.listeners.append(self._on_versions)

    async def _begin(self) -> None:
        """Do all that a worker does which is not idle, but for joining the group."""
        self._has_begun = True
        await self.begin()
        self._topic_watch = TopicWatch(self.settings, self.table)
        self._topic_watch.start()
        if self.alerts is not None:
            await self.alerts.start()
        settle_memory()

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
        if problems := problems or await self.disagreement():
            refuse_to_start(problems)
        await self._begin()

    def most_events_per_s(self) -> int:
        """A version that nobody asks yet may be kept from what others need."""
        is_staged = self.web_part.versions.state is VersionState.STAGED
        return self.settings.catchup_events_per_s if is_staged else 0

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
            problems = self._choose_rules() or await self.disagreement()
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

    async def stop(self) -> None:
        """Leave in order; also called by Faust on SIGTERM."""
        if not self._has_begun:
            await self._end_idling()
        if not self._stopping:
            self._stopping = True
            log.info("Stopping: finishing requests, committing what is folded, leaving the group.")
            if self._topic_watch is not None:
                await self._topic_watch.stop()
            if self.alerts is not None:
                await self.alerts.stop()
            await self.leave(self.web_part.stop)
        await super().stop()

    async def _end_idling(self) -> None:
        """End at once: Faust waits for a consumer that has not started, and nothing is held."""
        log.info("Stopping.")
        await self.web_part.stop()
        await self.web_part.close()
        log.info("Stopped.")
        logging.shutdown()
        os._exit(0)


def refuse_to_start(problems: list[str]) -> None:
    """Print why the worker does not start, one sentence a line, and end it."""
    for problem in problems:
        print(f"onhand: {problem}", file=sys.__stderr__, flush=True)  # no log yet
    os._exit(_REFUSED)
