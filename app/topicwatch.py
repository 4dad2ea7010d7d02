"""Looks at every log that a promise rests on, for as long as a worker runs.

Start-up refuses topics that would lose stock; somebody can change one an hour later. What
makes counting wrong (other partitions, another topic under the name) stops the folding, and
reads go on. What is going to lose something is told: one ERROR line, a metric, `/ready`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from aiokafka.errors import KafkaError

from app import topics
from app.config import Settings
from tables.reading import Trouble
from tables.stock import InventoryTable
from tables.tasks import Tasks
from wire.requests.topicids import TopicNow

log = logging.getLogger(__name__)


class TopicWatch:
    """One per worker; `look` once in `topics_check_s`."""

    def __init__(self, settings: Settings, table: InventoryTable) -> None:
        self._settings, self._table = settings, table
        self._sources = frozenset(settings.source_topics.values())
        self._tasks = Tasks()
        self._first_ids: dict[str, str] = {}
        self._first_starts: dict[tuple[str, int], int] = {}
        self._said: set[Trouble] = set()

    def start(self) -> None:
        """Begin to look; the table is started."""
        self._tasks.keep(self._run, "topic watch", again_s=self._settings.topics_check_s)

    async def stop(self) -> None:
        """Look no more."""
        await self._tasks.cancel()

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._settings.topics_check_s)

    async def look(self) -> None:
        """Ask Kafka once, and act on what has changed. While it does not answer, nothing has."""
        try:
            found = await self._found()
        except (KafkaError, TimeoutError, OSError) as error:
            log.debug("The topics could not be looked at: %r", error)
            return
        for trouble in found:
            if trouble not in self._said:
                log.error("%s", trouble.text)
        self._said = set(found)
        self._table.troubles = tuple(found)
        sources = self._sources
        is_wrong = {"partitions": sources, "recreated": sources | {self._settings.changelog_topic}}
        for trouble in found:
            if trouble.topic in is_wrong.get(trouble.kind, ()):
                await self._table.halt(trouble.text)

    async def _found(self) -> list[Trouble]:
        problems = await topics.check(self._settings)
        if any(not problem.topic for problem in problems):
            return list(self._table.troubles)  # Kafka does not answer: known elsewhere
        now = await self._table.topics(topic.name for topic in topics.desired(self._settings))
        starts = await self._table.log_starts()
        return [
            *(
                Trouble(partition.topic, partition.kind, str(partition))
                for partition in problems
                if not self._is_count(partition)
            ),
            *self._regrown(now),
            *self._recreated(now),
            *self._cut(starts),
        ]

    def _is_count(self, problem: topics.Misfit) -> bool:
        return problem.kind == "partitions" and problem.topic in self._sources

    def _regrown(self, now: Mapping[str, TopicNow]) -> Iterable[Trouble]:
        """What start-up says would not do: while workers run, no setting was wrong before."""
        for name in self._sources:
            count = now[name].partitions if name in now else self._settings.partitions
            if count != self._settings.partitions:
                yield Trouble(
                    name,
                    "partitions",
                    f"Topic {name} has {count} partitions and the log has "
                    f"{self._settings.partitions}: facts of a SKU no longer meet, so nothing is "
                    "counted any more. Stop the producers, and see the runbook.",
                )

    def _recreated(self, now: Mapping[str, TopicNow]) -> Iterable[Trouble]:
        for name, topic in now.items():
            before = self._first_ids.setdefault(name, topic.id)
            if before != topic.id:
                yield Trouble(
                    name,
                    "recreated",
                    f"Topic {name} was deleted and created again while this worker ran: what it "
                    "held is lost. Restore it, or count anew with the next ONHAND_VERSION.",
                )

    def _cut(self, starts: Mapping[tuple[str, int], int]) -> Iterable[Trouble]:
        cut: dict[str, str] = {}
        for (name, partition), start in sorted(starts.items()):
            # A version may begin with a source that was cut before; a changelog may not.
            is_changelog = name == self._settings.changelog_topic
            before = 0 if is_changelog else self._first_starts.setdefault((name, partition), start)
            if start > before:
                cut.setdefault(name, f"in partition {partition} up to offset {start}")
        for name, where in cut.items():
            yield Trouble(
                name,
                "cut",
                f"Topic {name} has lost records, first seen {where}: see the runbook before any "
                "worker is restarted.",
            )
