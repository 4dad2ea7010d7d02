"""What a ledger does beside writing: is its log still the same, what is to be built, long rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from ledger.books import Book
from ledger.engine import LedgerUnavailable, is_locked
from ledger.reaches import reaches_of
from ledger.upkeep import building
from ledger.upkeep.snapshots import ROWS_AT_ONCE, long_rows, take_snapshots
from tables.home.sources import Sources, Wanted
from wire.transactions import Brokers

log = logging.getLogger(__name__)

#: How often long rows are looked for, in seconds; seldom enough to take a fiftieth of the time.
_SNAPSHOTS_S: Final = 10.0
_SHARE: Final = 50


class OtherLog(LedgerUnavailable):
    """A topic is not the one that this ledger has written down."""


class LogWatch:
    """Compares the sources with what a ledger knows of them.

    Args:
        kafka: keyword arguments of an aiokafka client.
        topics: role by full name.
        partitions: of each.
    """

    def __init__(
        self, kafka: Mapping[str, Any], topics: Mapping[str, str], partitions: int
    ) -> None:
        self._brokers = Brokers(kafka, list(topics))
        self._sources = Sources(kafka, topics, partitions, self._brokers.topics)

    async def start(self) -> None:
        """Connect; raises KafkaError where no broker answers."""
        await self._brokers.start()
        await self._sources.start()

    async def stop(self) -> None:
        """Leave."""
        await self._sources.stop()
        await self._brokers.stop()

    async def check(self, part: int, books: Mapping[str, Book]) -> None:
        """Compare end, first record and last record of a partition, by full name of the topic.

        Raises:
            OtherLog: one of them is not what was written down; says what to do.
            KafkaError: nobody can say; try again.
        """
        lasts = [(topic, book.reach.last_off) for topic, book in books.items()]
        known = tuple(sorted((topic, off) for topic, off in lasts if off is not None))
        if not known:
            return
        shown = await self._sources.look(Wanted(part, known))
        for topic, book in books.items():
            reach, what = book.reach, ""
            if reach.last_off is None:
                continue
            if (end := shown.ends[topic][0]) < reach.next_offset:
                what = f"it ends at {end}, before offset {reach.next_offset}"
            elif shown.first.get(topic) != (reach.first_at, reach.first_crc):
                what = shown.unreadable.get(topic, "its first record is another one")
            elif shown.last.get(topic) != (reach.last_at, reach.last_crc):
                what = f"the last record that was written, at offset {reach.last_off}, is another"
            if what:
                raise OtherLog(
                    f"Topic {topic} was cut or recreated under partition {part}: {what}. Restore "
                    "the topic from its backup, or keep what it holds now in a database of its "
                    "own (ONHAND_LEDGER_URL)."
                )


class Chores:
    """What is done in the thread of the writer, now and then. Blocks.

    Args:
        engine: the writer's.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._snapshots_at = 0.0
        #: Whether sums and indexes are still to be made.
        self.is_building = False

    def look(self) -> None:
        """At the start: whether an earlier process, or another, left a ledger half built."""
        with self._engine.begin() as connection:
            self.is_building = not building.is_there(connection)

    def begin(self, total: int) -> None:
        """Build from so many records, if nothing is written yet and they are many."""
        try:
            with self._engine.begin() as connection:
                has_begun = building.begin_building(connection, total)
        except OperationalError as error:
            if not is_locked(error):
                raise
            has_begun = False  # somebody is about to write the first lines, with indexes
        # Another one may have begun since we looked, and die before it has finished.
        self.look()
        if has_begun:
            about = f"{total:,}"
            log.info("The ledger is built from about %s records: history answers later.", about)

    def finish(self, ends: Mapping[tuple[int, int], int]) -> None:
        """Make sums and indexes, if it is nearly there.

        Args:
            ends: of the log, by topic's number and partition; of what can be read.
        """
        with self._engine.begin() as connection:
            if building.is_there(connection):
                self.is_building = False
                return
            reaches = reaches_of(connection)
        missing = sum(
            max(0, end - reaches[at].next_offset) if at in reaches else end
            for at, end in ends.items()
        )
        if not building.is_near(missing, sum(ends.values())):
            return
        began = time.perf_counter()
        try:
            with self._engine.begin() as connection:
                building.finish_building(connection)
        except OperationalError as error:
            if not is_locked(error):
                raise
            return  # whose lines are not written yet; who writes them ends one that sleeps
        self.is_building = False
        log.info("The ledger is built: sums and indexes took %.0f s.", time.perf_counter() - began)

    def take_snapshots(self) -> None:
        """Of long rows; not more often than is worth it."""
        began = time.monotonic()
        if self.is_building or began < self._snapshots_at:
            return
        with self._engine.begin() as connection:
            keys = long_rows(connection)
            take_snapshots(connection, keys)
        took = time.monotonic() - began
        pause = 0.0 if len(keys) == ROWS_AT_ONCE else _SNAPSHOTS_S
        self._snapshots_at = began + max(pause, _SHARE * took)
