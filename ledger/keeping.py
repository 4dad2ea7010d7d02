"""Keeps the ledger: reads the three sources as a group of its own, judges, and writes.

Positions stand in SQL and nowhere else, in the transaction of the lines. So an assignment needs
no agreement with who had the partition before: the books are opened where they were left, and
if the former owner still writes, one of the two is fenced out and opens them again.

All that touches books or the writing connection runs in one thread; the loop stays free.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from msgspec import Struct
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from core.words import in_words
from domain.rules.held import Ruling
from ledger.books import Book, Posting, groups_of
from ledger.engine import make_place, open_writer, unavailable
from ledger.lines import TOPICS
from ledger.reaches import agree_on, books_of, complete
from ledger.upgrade import to_this_schema
from ledger.upkeep.chores import Chores, LogWatch, OtherLog
from ledger.writing import MOST_LINES, FencedOut, LedgerWriter
from tables.ports import Fail
from tables.tasks import Tasks
from wire import clients
from wire.batches import Unreadable
from wire.fetch import Fetched, Pace, end_of, end_offsets, fetch

log = logging.getLogger(__name__)

T = TypeVar("T")

_POLL_S: Final = 0.3
#: Where much comes, the facts of half as long again are one transaction: each costs 10 to 20 ms.
_COMMIT_EVERY_S: Final = 0.04
_RETRY_S: Final = 1.0
_CLOSE_S: Final = 5.0
#: A partition that cannot be read is tried again after so long.
_AGAIN_S: Final = 10.0
#: How often it is said of a quiet log that nothing is missing, in seconds.
_COMPLETE_S: Final = 1.0
#: What a broker's clock may differ from ours: so long ago it said that there is no more.
_CLOCKS_MS: Final = 1_000
_FETCH_BYTES: Final = 8 * 2**20
#: Records; a second or two of writing.
_FAR_BEHIND: Final = 20_000


class LedgerConfig(Struct, frozen=True, kw_only=True):
    """What the ledger needs to know of the settings.

    kafka: keyword arguments of an aiokafka client. group: of the consumer, and how a session
    calls itself at the database. topics: role by full name. ruling: by which rules it judges;
    chosen before `prepare`. agreed: what else it is written by; a ledger of others is refused.
    """

    kafka: Mapping[str, Any]
    group: str
    topics: Mapping[str, str]
    partitions: int
    window: int
    session_timeout_ms: int
    database: URL
    ruling: Ruling
    agreed: Mapping[str, str]


class Kept(Struct):
    """What this process has done since its start, and where it is; for probes and metrics.

    lag: records behind, by topic and partition. stopped: by partition, why it does not get on.
    """

    applied: int = 0
    repeated: int = 0
    refused: int = 0
    commits: int = 0
    fenced: int = 0
    commit_s: float = 0.0
    lag: dict[tuple[str, int], int] = {}
    stopped: dict[int, str] = {}


class Keeper:
    """One ledger process's part of the log.

    Args:
        config: see there.
        fail: ends the process with one sentence.
    """

    def __init__(self, config: LedgerConfig, fail: Fail) -> None:
        self._config = config
        self._engine = open_writer(config.database, config.group)
        self._writer = LedgerWriter(self._engine)
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._tasks = Tasks(fail)
        self._books: dict[int, dict[str, Book]] = {}
        self._to_open: dict[int, float] = {}  # by partition: not before this monotonic time
        self._said_complete = 0.0
        self._is_away = False
        self._chores = Chores(self._engine)
        self._watch: LogWatch | None = None
        self._looked_how_far = False
        #: Whether the group has given this process its part, which may be nothing.
        self.joined = False
        self.when_written: Callable[[], None] = lambda: None  # facts; in the event loop
        self.kept = Kept()

    async def prepare(self) -> None:
        """Bring the schema up, and agree on the rules.

        Raises:
            LedgerUnavailable: says what to do.
        """
        await self._in_thread(self._prepare)

    def _prepare(self) -> None:
        try:
            make_place(self._config.database)
            to_this_schema(self._engine)
            with self._engine.begin() as connection:
                rules = {"rules": str(self._config.ruling.now.number)}
                agree_on(connection, rules | dict(self._config.agreed))
            self._chores.look()
        except DBAPIError as error:
            raise unavailable(self._config.database, error) from error

    def start(self) -> None:
        """Begin to read and write; returns at once, with or without a broker."""
        self._tasks.keep(self._keep, "ledger")

    async def stop(self) -> None:
        """End; what is not committed is read again. May be called twice."""
        await self._tasks.cancel()
        self._thread.shutdown(wait=True)
        self._engine.dispose()

    @property
    def partitions(self) -> list[int]:
        """Those whose books are open here."""
        return sorted(self._books)

    @property
    def is_waiting(self) -> bool:
        """Whether some of what is this process's is not open."""
        return bool(self._to_open)

    @property
    def is_building(self) -> bool:
        """Whether there are lines, and no indexes to ask them by."""
        return self._chores.is_building

    @property
    def is_behind(self) -> bool:
        """Whether another ledger knows better: this one is built, or far from the log's end."""
        lag = self.kept.lag
        if not self.joined or self.is_waiting or self.is_building:
            return True
        topics = self._config.topics
        is_known = all((topic, part) in lag for part in self._books for topic in topics)
        return not is_known or sum(lag.values()) > _FAR_BEHIND

    # ---- the loop

    async def _keep(self) -> None:
        while True:
            consumer = AIOKafkaConsumer(
                **self._config.kafka,
                group_id=self._config.group,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                session_timeout_ms=self._config.session_timeout_ms,
                heartbeat_interval_ms=self._config.session_timeout_ms // 5,
                # The same partitions of each topic: all topics have as many.
                partition_assignment_strategy=(RangePartitionAssignor,),
                fetch_max_bytes=_FETCH_BYTES,
            )
            consumer.subscribe(list(self._config.topics), listener=_Assigned(self, consumer))
            watch = LogWatch(self._config.kafka, self._config.topics, self._config.partitions)
            try:
                await watch.start()
                self._watch = watch
                await clients.start(consumer)
                pace = Pace(consumer, _COMMIT_EVERY_S)
                while True:
                    await self._turn(consumer, pace)
            except (KafkaError, OSError) as error:
                self._say_away(f"Kafka does not answer: the ledger waits ({in_words(error)}).")
            finally:
                self._books, self._to_open = {}, {}
                with suppress(KafkaError, OSError, TimeoutError):
                    await clients.close(consumer, _CLOSE_S)
                with suppress(KafkaError, OSError, AttributeError):  # it may not have begun
                    await watch.stop()
            await asyncio.sleep(_RETRY_S)

    async def _turn(self, consumer: AIOKafkaConsumer, pace: Pace) -> None:
        try:
            await self._open(consumer)
            fetched = await fetch(consumer, _POLL_S, MOST_LINES)
            pace.saw(len(fetched))
            await self._write(consumer, fetched)
            await self._complete(consumer)
        except DBAPIError as error:
            self._say_away(str(unavailable(self._config.database, error)))
            for part in list(self._books):
                self._close(consumer, part)
            await asyncio.sleep(_RETRY_S)
        else:
            if fetched and self._is_away:
                self._is_away = False
                log.info("The ledger goes on.")

    def assigned(self, consumer: AIOKafkaConsumer, tps: Iterable[TopicPartition]) -> None:
        """After a rebalance: what is read from now on. Nothing is, before its book is open."""
        self.joined = True
        self._books, self.kept.stopped, self.kept.lag = {}, {}, {}
        for tp in tps:
            consumer.seek(tp, 0)
            consumer.pause(tp)
            self._to_open[tp.partition] = 0.0

    def revoked(self) -> None:
        """Before a rebalance. What is being written goes on, and the fence judges it."""
        self._books, self._to_open = {}, {}

    async def _open(self, consumer: AIOKafkaConsumer) -> None:
        now = time.monotonic()
        ready = [part for part, at in self._to_open.items() if at <= now]
        if ready and not self._looked_how_far:
            await self._in_thread(self._chores.begin, sum((await self._ends(consumer)).values()))
            self._looked_how_far = True
        for part in ready:
            books = await self._in_thread(self._open_books, part)
            try:
                assert self._watch is not None  # started before the consumer
                await self._watch.check(part, books)
            except OtherLog as error:
                self._say_stopped(part, str(error))
                if part in self._to_open:
                    self._to_open[part] = time.monotonic() + _AGAIN_S
                continue
            if part not in self._to_open:
                return  # a rebalance came meanwhile
            del self._to_open[part]
            self._books[part] = books
            self.kept.stopped.pop(part, None)
            for topic, book in books.items():
                consumer.seek(TopicPartition(topic, part), book.reach.next_offset)
                consumer.resume(TopicPartition(topic, part))

    def _open_books(self, part: int) -> dict[str, Book]:
        config = self._config
        with self._engine.begin() as connection:
            of_log = config.partitions, config.topics, config.window
            return books_of(connection, part, *of_log, config.ruling.now)

    def _close(self, consumer: AIOKafkaConsumer, part: int, after_s: float = 0.0) -> None:
        """Forget a partition's books; they are opened again, where SQL says that they are."""
        self._books.pop(part, None)
        self._to_open[part] = time.monotonic() + after_s
        for topic in self._config.topics:
            tp = TopicPartition(topic, part)
            if tp in consumer.assignment():
                consumer.pause(tp)

    async def _write(
        self, consumer: AIOKafkaConsumer, fetched: Mapping[TopicPartition, Fetched]
    ) -> None:
        books: list[tuple[Book, Fetched]] = []
        for tp, part in fetched.items():
            if part.error is not None:
                raise part.error
            if (book := self._books.get(tp.partition, {}).get(tp.topic)) is None:
                continue
            if part.start > book.reach.next_offset:
                self._close(consumer, tp.partition)  # fetched before a seek
                return
            books.append((book, part))
        if not books:
            return
        began = time.perf_counter()
        try:
            written, failed = await self._in_thread(self._enter_and_commit, books)
        except FencedOut:
            self.kept.fenced += 1
            for book, _ in books:
                self._close(consumer, book.address.partition)
            return
        self.kept.commits += 1
        self.kept.commit_s += time.perf_counter() - began
        self.when_written()
        for posting in written:
            self.kept.applied += posting.after.applied - posting.before.applied
            self.kept.repeated += posting.after.repeated - posting.before.repeated
            self.kept.refused += posting.after.refused - posting.before.refused
        for number, error in failed.items():
            self._say_stopped(number, str(error))
            self._close(consumer, number, _AGAIN_S)

    def _say_stopped(self, part: int, why: str) -> None:
        log.error("%s The ledger tries again every %.0f s.", why, _AGAIN_S)
        self.kept.stopped[part] = why

    def _enter_and_commit(
        self, books: Sequence[tuple[Book, Fetched]]
    ) -> tuple[list[Posting], dict[int, Unreadable]]:
        """In transactions of about `MOST_LINES`; and which partitions cannot be read further."""
        written: list[Posting] = []
        waiting: list[Posting] = []
        failed: dict[int, Unreadable] = {}
        count = 0
        for book, part in books:
            groups, error = groups_of(part, MOST_LINES)
            if error is not None:
                failed[book.address.partition] = error
            for number, group in enumerate(groups, start=1):
                is_whole = number == len(groups) and error is None
                waiting.append(book.enter(group, part.next_offset if is_whole else 0))
                count += waiting[-1].size
                # A topic-partition has one posting in a transaction.
                if count >= MOST_LINES or number < len(groups):
                    self._writer.commit(waiting)
                    written, waiting, count = written + waiting, [], 0
        if waiting:
            self._writer.commit(waiting)
        return written + waiting, failed

    # ---- how far

    async def _complete(self, consumer: AIOKafkaConsumer) -> None:
        """Once a second: say how far behind this is, and up to when nothing is missing."""
        now = time.monotonic()
        if now < self._said_complete + _COMPLETE_S:
            return
        self._said_complete = now
        until = []
        for part, books in self._books.items():
            for topic, book in books.items():
                end = end_of(consumer, TopicPartition(topic, part))
                if end.high is None:
                    continue
                next_offset = book.reach.next_offset
                self.kept.lag[topic, part] = max(0, end.high - next_offset)
                if next_offset >= end.high:
                    until.append((book.topic, part, next_offset, (end.at_ms - _CLOCKS_MS) * 1000))
        if until:
            await self._in_thread(self._write_complete, until)
        if self._chores.is_building:
            await self._in_thread(self._chores.finish, await self._ends(consumer))
        await self._in_thread(self._chores.take_snapshots)

    async def _ends(self, consumer: AIOKafkaConsumer) -> dict[tuple[int, int], int]:
        """Of all that can be read, by topic's number and partition; other ledgers' too."""
        parts = [part for part in range(self._config.partitions) if part not in self.kept.stopped]
        tps = [TopicPartition(topic, part) for topic in self._config.topics for part in parts]
        numbers = {topic: TOPICS.index(role) for topic, role in self._config.topics.items()}
        ends = await end_offsets(consumer, tps, committed=False)
        return {(numbers[tp.topic], tp.partition): end for tp, end in ends.items()}

    def _write_complete(self, until: Iterable[tuple[int, int, int, int]]) -> None:
        with self._engine.begin() as connection:
            complete(connection, until)

    def _say_away(self, sentence: str) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("%s", sentence)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


class _Assigned(ConsumerRebalanceListener):  # type: ignore[misc]  # untyped
    """Hands on what the group says."""

    def __init__(self, keeper: Keeper, consumer: AIOKafkaConsumer) -> None:
        self._keeper, self._consumer = keeper, consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._keeper.revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._keeper.assigned(self._consumer, assigned)
