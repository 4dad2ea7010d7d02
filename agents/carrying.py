"""The bridge: what was read of a foreign topic becomes facts, each record exactly once.

One transaction of a partition holds the facts of some of its records, the dead letters of the
others, and the mark of where to go on. Its commit is the commit. Each partition has a
transactional id of its own, so whoever takes it over makes every older writer harmless.

Taking a partition over has an order, as docs/bridge.md tells:

1. The group's coordinator confirms that this worker is a member now.
2. The transactional id is initialised: an older writer's open transaction is aborted, and the
   broker refuses all that it still sends.
3. The mark is read. Nobody else can move it any more.
4. The topic is compared with it: is it the same one, and is the next record still there?
5. The partition is read from there.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from agents.bridgestats import BridgeStats
from agents.carried import BridgeConfig, Carried, ForeignBatch
from agents.learning import Learning, RegistryAway
from agents.marks import Mark, Marks, mark_key
from agents.translating import FACT_HEADERS, Translated, Translator
from core.records import Record
from domain.stock import STOCK
from importers.frames.maps import Begin, ForeignMap
from tables.groupcommit import MAX_TRANSACTIONS_PER_S
from tables.home import rights
from tables.home.changelog import MAX_LETTER_BATCH_BYTES, letter_record
from tables.ports import Delivery, Fail, Membership, NotAMember
from tables.tasks import Tasks
from wire.batches import Unreadable, pieces
from wire.filling import BatchFiller
from wire.transactions import Brokers, RecordBatch, TransactionalProducer

log = logging.getLogger(__name__)

#: Records that wait for a commit, of one partition; reading it pauses there.
FULL_RECORDS = 8_000
_TRANSACTION_TIMEOUT_MS = 30_000
_AGAIN_S = 1.0
_REFUSALS_IN_A_ROW = 3


class Standstill(Exception):
    """A partition cannot be read on before somebody decides; the message says what to do."""


class Bridge:
    """Carries what one worker was given of a foreign topic.

    Args:
        config: see there.
        by: the map.
        membership: of the group.
        delivery: of batches.
        fail: ends the worker with one sentence.
        learning: of the schemas that the map's values are read by; None: it needs none.
    """

    def __init__(
        self,
        config: BridgeConfig,
        by: ForeignMap,
        membership: Membership,
        delivery: Delivery,
        fail: Fail,
        learning: Learning | None = None,
    ) -> None:
        self.learning = learning
        self.config, self._by = config, by
        self._membership, self._delivery, self._fail = membership, delivery, fail
        self.stats = BridgeStats()
        self._translator = Translator(config.topic, by, config.partitions)
        topics = [config.topic, *config.sources.values(), config.dead_letters, config.documents]
        self._brokers = Brokers(config.kafka, topics)
        self._marks = Marks(config.kafka, config.documents, by.name)
        self._held: dict[int, Carried] = {}
        self._epoch = 0
        self._tasks = Tasks(fail)
        self._commits = Tasks(fail)

    async def start(self) -> None:
        """Connect. Raises KafkaError."""
        await self._brokers.start()

    async def stop(self) -> None:
        """Commit what was read, then close."""
        await self.revoke()
        await self._marks.stop()
        await self._brokers.stop()
        if self.learning is not None:
            await self.learning.stop()

    def held(self) -> list[Carried]:
        """What this worker was given, by number."""
        return [p for _, p in sorted(self._held.items())]

    def positions(self) -> dict[tuple[str, int], int]:
        """How far it is, for lag tools."""
        active = (p for p in self._held.values() if p.is_active)
        return {(self.config.topic, p.number): p.position for p in active}

    def lag(self, partition: Carried) -> int | None:
        """Offsets that are not done yet; None while that is not known. An upper bound."""
        end = self._delivery.end(self.config.topic, partition.number)
        last = end.high if end.high is not None else end.offset
        return (
            None if last is None or not partition.is_active else max(0, last - partition.position)
        )

    # ---- the group

    async def assign(self, partitions: set[int]) -> None:
        """Begin to take these over; all that was held before is given up."""
        await self.revoke()
        self._held = {number: Carried(number, self._epoch) for number in partitions}
        for p in self._held.values():
            self._tasks.start(self._take_over(p), f"take over {p.number}")

    async def revoke(self) -> None:
        """Commit what was read, for as long as a session lasts, and let go."""
        held, self._held = self._held, {}
        self._epoch += 1
        await self._tasks.cancel()
        commits = [p.commit for p in held.values() if p.commit is not None]
        if commits:
            await asyncio.wait(commits, timeout=self.config.session_timeout_s / 2)
        await self._commits.cancel()

    async def stand_still(self, partition: int, sentence: str) -> None:
        """The transport says that the next record is gone: look again, and say what to do."""
        p = self._held.get(partition)
        if p is not None and p.is_active:
            self._again(p)

    def _is_mine(self, p: Carried) -> bool:
        return self._held.get(p.number) is p

    def _again(self, p: Carried) -> None:
        """Take over anew, with nothing in memory."""
        self._epoch += 1
        fresh = Carried(p.number, self._epoch, refusals=p.refusals)
        self._held[p.number] = fresh
        p.room.set()
        self._tasks.start(self._take_over(fresh), f"take over {p.number}")

    async def _take_over(self, p: Carried) -> None:
        await self._delivery.stop(p.number)
        while self._is_mine(p):
            try:
                if self.learning is not None:
                    await self.learning.answered()
                p.waits_because = None
                await self._own(p)
            except RegistryAway as why:
                p.waits_because = str(why)
                await asyncio.sleep(_AGAIN_S)
                continue
            except (KafkaError, NotAMember, TimeoutError, OSError) as error:
                log.info("Partition %d is not taken over yet (%r).", p.number, error)
                await asyncio.sleep(_AGAIN_S)
                continue
            except Standstill as why:
                p.stopped_because = str(why)
                log.error("Partition %d stands still: %s", p.number, why)
            except Unreadable as why:
                p.stopped_because = f"Topic {self.config.documents}: {why}"
                log.error("Partition %d stands still: %s", p.number, p.stopped_because)
            return

    async def _own(self, p: Carried) -> None:
        transactional_id = self.config.transactional_id(p.number)
        await self._membership.confirm()  # 1
        with rights.writing(transactional_id):
            producer = await TransactionalProducer.open(  # 2
                self._brokers, transactional_id, _TRANSACTION_TIMEOUT_MS, lane=p.number
            )
        mark = await self._marks.read(p.number)  # 3
        p.topic_id = await self._topic_id()  # 4
        start = await self._where(p, mark)
        if mark is None:
            # Where a bridge began is decided once.
            p.committed = start
            await producer.commit(self._batches(p, [], start))
        p.next = p.committed = start
        p.producer = producer
        await self._delivery.start(p.number, {self.config.topic: start}, p.epoch)  # 5
        log.info("Partition %d is carried from offset %d on.", p.number, start)

    async def _topic_id(self) -> str:
        topic = self.config.topic
        found = (await self._brokers.topics([topic])).get(topic)
        if found is None:
            raise Standstill(f"there is no topic {topic} any more: bring it back, then restart.")
        return found.id

    async def _where(self, p: Carried, mark: Mark | None) -> int:
        """The offset to read from.

        Raises:
            Standstill: that is not for a program to say.
        """
        topic, name = self.config.topic, self._by.name
        tp = TopicPartition(topic, p.number)
        first = await self._marks.beginning(tp)
        if mark is None:
            return first if self._by.begin is Begin.EARLIEST else await self._marks.end(tp)
        if (mark.topic, mark.topic_id) != (topic, p.topic_id):
            what = (
                f"{topic} was deleted and created again"
                if mark.topic == topic
                else f"the bridge {name} read {mark.topic} before, not {topic}"
            )
            raise Standstill(
                f"{what}, so its offsets name other records: give the map another `name`, which "
                "begins anew with ids of its own."
            )
        if mark.next > (end := await self._marks.end(tp, committed=False)):
            raise Standstill(
                f"{topic} ends at offset {end}, and was read to {mark.next - 1}: Kafka lost some "
                "of its records, and new ones at their offsets would be left out. Restore it; or "
                'give the map another `name` and `begin = "latest"`, which leaves out all that is '
                "there now."
            )
        if mark.next >= first:
            return mark.next
        if not self._by.accept_gaps:
            raise Standstill(
                f"{topic} no longer holds its records {mark.next} to {first - 1}: Kafka deleted "
                "them before the bridge read them. Keep records for longer (retention.ms); "
                "`accept_gaps = true` in the map goes on without them."
            )
        log.warning(
            "Partition %d: the records %d to %d are gone and were not read; it goes on.",
            *(p.number, mark.next, first - 1),
        )
        return first

    # ---- records

    async def take(self, batch: ForeignBatch) -> None:
        """Translate a batch and let the next commit carry it; waits while too much does."""
        p = self._held.get(batch.partition)
        if p is None or not p.is_active or batch.epoch != p.epoch:
            return
        if batch.start != p.next:
            log.warning("Partition %d: offset %d came, not %d.", p.number, batch.start, p.next)
            self._again(p)
            return
        try:
            for records in pieces(batch.data, batch.start):
                if not await self._can_be_read(p, records):
                    return
                found = self._translator.translate(p.number, records)
                await asyncio.sleep(0)
                if not (self._is_mine(p) and p.is_active):
                    return
                if records:
                    p.next = records[-1][0] + 1
                    self._wait_for_commit(p, found)
        except Unreadable as why:
            p.stopped_because = f"Topic {self.config.topic}: {why}"
            log.error("Partition %d stands still: %s", p.number, p.stopped_because)
            await self._delivery.stop(p.number)
            return
        p.next = batch.next_offset
        while self._is_mine(p) and p.waiting_records >= FULL_RECORDS:
            p.room.clear()
            await p.room.wait()

    async def _can_be_read(self, p: Carried, records: list[Record]) -> bool:
        """Whether their schemas are known. If nobody answers, the partition waits, by itself."""
        if self.learning is None:
            return True
        try:
            await self.learning.learn(records)
        except RegistryAway as why:
            if self._is_mine(p):
                self._again(p)
                self._held[p.number].waits_because = str(why)
            return False
        return self._is_mine(p) and p.is_active

    def _wait_for_commit(self, p: Carried, found: Translated) -> None:
        p.waiting.append(found)
        p.waiting_records += found.read
        if p.commit is None:
            p.commit = self._commits.start(self._commit_all(p), f"commit {p.number}")

    async def _commit_all(self, p: Carried) -> None:
        """Commit until nothing waits; the next group grows while one travels."""
        try:
            while p.waiting:
                busy = len(self._held) / MAX_TRANSACTIONS_PER_S
                interval_s = max(self.config.commit_interval_s, busy)
                wait_s = p.started_at + interval_s - monotonic()
                # A partition that was revoked is not paced any more.
                if wait_s > 0 and self._is_mine(p) and p.waiting_records < FULL_RECORDS:
                    await asyncio.sleep(wait_s)
                await self._commit(p)
        except KafkaError as error:
            await self._refused(p, error)
        finally:
            p.commit = None
            p.room.set()

    async def _commit(self, p: Carried) -> None:
        group, p.waiting, p.waiting_records = p.waiting, [], 0
        p.room.set()
        p.started_at = began = monotonic()
        # Records that are translated meanwhile belong to the next one.
        position = p.next
        batches = self._batches(p, group, position)
        assert p.producer is not None
        written = dict.fromkeys(batch.tp.topic for batch in batches)
        with rights.writing(self.config.transactional_id(p.number), *written):
            await p.producer.commit(batches)
        p.committed, p.refusals = position, 0
        self.stats.on_commit(monotonic() - began, group)

    def _batches(self, p: Carried, group: list[Translated], position: int) -> list[RecordBatch]:
        facts, letters = BatchFiller(), BatchFiller(MAX_LETTER_BATCH_BYTES)
        config = self.config
        for made in group:
            for fact in made.facts:
                to = TopicPartition(config.sources[fact.role], fact.partition)
                facts.add(to, fact.key, fact.value, FACT_HEADERS)
            for letter in made.letters:
                # A foreign topic may have more partitions than there are of dead letters.
                to = TopicPartition(config.dead_letters, letter.partition % config.partitions)
                letters.add(to, *letter_record(letter, STOCK.naming))
        mark = msgspec.json.encode(Mark(config.topic, p.topic_id, position))
        marks = BatchFiller()
        marks.add(TopicPartition(config.documents, 0), mark_key(self._by.name, p.number), mark, ())
        return [*facts.all(), *letters.all(), *marks.all()]

    async def _refused(self, p: Carried, error: KafkaError) -> None:
        """Whether it landed is unknown: taking over again will tell."""
        if not self._is_mine(p):
            return
        p.refusals += 1
        if p.refusals >= _REFUSALS_IN_A_ROW:
            await self._fail(
                f"Kafka refused {_REFUSALS_IN_A_ROW} commits of partition {p.number} in a row "
                f"({error!r}): look at the log of its brokers.",
                error,
            )
            return
        log.warning("Partition %d: a commit was refused (%r); taken over anew.", p.number, error)
        self._again(p)
