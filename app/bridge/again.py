"""`onhand bridge --again`: after a map was mended, records are read once more.

Each fact is sent once for ever. Two things see to that: what was sent is remembered in the same
transaction, by position and content of its record; and nothing is sent that stands in a source
topic already, whoever wrote it. Both are read after the transactional id was initialised, from
which point on no earlier run can commit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import msgspec
from aiokafka import TopicPartition

from agents.learning import Learning, RegistryAway
from agents.translating import FACT_HEADERS, MadeFact, Translator
from app.bridge.mapping import learning_of, map_of
from app.bridge.rereading import (
    Candidate,
    Said,
    Since,
    digest_of,
    facts_there,
    read_before,
    refused_before,
    spans_since,
)
from app.config import Settings
from app.deadletters import reader
from app.resending import content_of, only_sender, remembered_marks
from core.partitioning import partition_for
from core.records import Record
from importers.frames.maps import ForeignMap
from wire.filling import BatchFiller
from wire.transactions import RecordBatch
from wire.whole import RecordsError

#: Of one transaction: it is sent and remembered, or neither.
_GROUP_RECORDS: Final = 500
_GROUP_FACTS: Final = 5_000
_TRANSACTION_TIMEOUT_MS: Final = 30_000
_OVERTAKEN: Final = "Another `onhand bridge --again` took over; it sends what this one had not yet."
#: Facts that one run looks up; each takes about 100 bytes.
_MOST_FACTS: Final = 2_000_000
#: Of those that are refused again so many are named; the others are counted.
_NAMED: Final = 1000


class ReadAgain(msgspec.Struct):
    """What a run did.

    read: records. made: of these, became facts now. sent: facts, by role. sent_before: records
    that an earlier run sent. there: facts that stand in a source topic already. left: records
    that the map leaves out. refused: by reason; named: why, by position, of the first 1,000.
    """

    read: int = 0
    made: int = 0
    sent: dict[str, int] = {}
    sent_before: int = 0
    there: int = 0
    left: int = 0
    refused: dict[str, int] = {}
    named: dict[str, str] = {}

    def refuse(self, position: str, reason: str, detail: str) -> None:
        """Note one that is no fact this time either."""
        self.refused[reason] = self.refused.get(reason, 0) + 1
        if len(self.named) < _NAMED:
            self.named[position] = f"{reason}: {detail}"


class _Resent(msgspec.Struct, frozen=True):
    """A record and what it becomes; `mark` is the key under which that is remembered."""

    mark: bytes
    facts: list[MadeFact]


_Send: TypeAlias = Callable[[list[_Resent]], Awaitable[None]]
_Read: TypeAlias = Callable[[], AsyncIterator[Candidate]]


async def read_again(
    settings: Settings, since: Since | None, *, dry_run: bool, said: Said
) -> ReadAgain:
    """Read once more what was refused, or all records from somewhere on, and send what is new.

    1. Initialise the transactional id: an earlier run can commit no more.
    2. Read what earlier runs sent.
    3. See what the records would become, and which of these facts are there already.
    4. Send the others in chunks; each is one transaction with its being remembered.

    Args:
        settings: name the topic, the map and the version whose dead letters are read.
        since: all records from there on; None: the dead letters.
        dry_run: only count; initialises and writes nothing.
        said: is told now and then how many records were read.

    Raises:
        SettingsError: the map cannot be used.
        RecordsError: Kafka or the registry is away, or another run took over.
    """
    by = map_of(settings)
    learning = learning_of(settings, by, None)
    try:
        async with _sender(settings, by, dry_run) as send, reader(settings) as consumer:  # 1
            sent = {mark async for mark in remembered_marks(consumer, settings, said)}  # 2
            read: _Read
            if since is None:
                read = lambda: refused_before(consumer, settings, said)  # noqa: E731
            else:
                spans = await spans_since(consumer, settings, by.name, since)
                read = lambda: read_before(consumer, settings, spans, said)  # noqa: E731
            work = _Rereading(settings, by, learning, sent, send)
            wanted = await work.wanted(read)  # 3
            there = await facts_there(consumer, settings, wanted, since is None, said)
            return await work.resend(read, there)  # 4
    except RegistryAway as error:
        raise RecordsError(str(error)) from error
    finally:
        if learning is not None:
            await learning.stop()


class _Rereading:
    """One run over its records.

    Args:
        settings: of the bridge.
        by: its map.
        learning: of the schemas that it needs.
        sent: marks of what was sent ever.
        send: one transaction.
    """

    def __init__(
        self,
        settings: Settings,
        by: ForeignMap,
        learning: Learning | None,
        sent: set[bytes],
        send: _Send,
    ) -> None:
        self._topic, self._name = settings.bridge_topic, by.name
        self._translator = Translator(self._topic, by, settings.partitions)
        self._learning, self._sent, self._send = learning, sent, send
        self._done = ReadAgain()

    async def wanted(self, read: _Read) -> set[int]:
        """The facts that these records would become; see `digest_of`.

        Raises:
            RecordsError: they are too many for one run.
        """
        found: set[int] = set()
        async for partition, record in read():
            if self._mark(partition, record) in self._sent:
                continue
            if self._learning is not None:
                await self._learning.learn([record])
            made = self._translator.translate(partition, [record])
            found.update(map(_digest, made.facts))
            if len(found) > _MOST_FACTS:
                raise RecordsError(
                    f"These records are more than {_MOST_FACTS:,} facts, too many for one run: "
                    "name a later --since."
                )
        return found

    async def resend(self, read: _Read, there: set[int]) -> ReadAgain:
        """Send what is not there yet, and say what became of all."""
        done, group, facts = self._done, list[_Resent](), 0
        async for partition, record in read():
            done.read += 1
            resent = self._judge(partition, record, there)
            if resent is None:
                continue
            group.append(resent)
            facts += len(resent.facts)
            if len(group) >= _GROUP_RECORDS or facts >= _GROUP_FACTS:
                await self._flush(group)
                group, facts = [], 0
        await self._flush(group)
        return done

    def _judge(self, partition: int, record: Record, there: set[int]) -> _Resent | None:
        done = self._done
        position = f"{self._topic}-{partition}@{record[0]}"
        mark = self._mark(partition, record)
        if mark in self._sent:
            done.sent_before += 1
            return None
        made = self._translator.translate(partition, [record])
        for letter in made.letters:
            done.refuse(position, letter.reason, letter.detail)
        done.left += made.left
        new = [fact for fact in made.facts if _digest(fact) not in there]
        done.there += len(made.facts) - len(new)
        if not new:
            return None
        # A letter may be there twice, and two lines may say one fact.
        self._sent.add(mark)
        there.update(map(_digest, new))
        return _Resent(mark, new)

    def _mark(self, partition: int, record: Record) -> bytes:
        """By content too: a topic that was made again has other records at the same positions."""
        offset, _, key, value, headers = record
        content = content_of(self._topic, key or b"", value or b"", headers)
        return f"{self._topic}-{partition}@{offset} bridge/{self._name}/{content}".encode()

    async def _flush(self, group: list[_Resent]) -> None:
        if not group:
            return
        await self._send(group)
        self._done.made += len(group)
        for one in group:
            for fact in one.facts:
                self._done.sent[fact.role] = self._done.sent.get(fact.role, 0) + 1


def _digest(fact: MadeFact) -> int:
    event = msgspec.json.decode(fact.value, type=_Identity)
    return digest_of(fact.role, event.source, event.id)


class _Identity(msgspec.Struct):
    source: str
    id: str


@asynccontextmanager
async def _sender(settings: Settings, by: ForeignMap, dry_run: bool) -> AsyncIterator[_Send]:
    """Sends chunks, as the one run that may."""
    if dry_run:
        yield _nothing
        return
    name = f"{settings.bridge_group(by.name)}-again"
    async with only_sender(settings, name, _TRANSACTION_TIMEOUT_MS, _OVERTAKEN) as only:

        async def send(group: list[_Resent]) -> None:
            await only.commit(_batches(group, settings, only.marks))

        yield send


async def _nothing(group: list[_Resent]) -> None:
    """A dry run."""


def _batches(group: list[_Resent], settings: Settings, marks: int) -> list[RecordBatch]:
    """The facts, then their being remembered."""
    batches = BatchFiller()
    note = msgspec.json.encode({"to": "bridge", "version": settings.version})
    for one in group:
        for fact in one.facts:
            to = TopicPartition(settings.source_topics[fact.role], fact.partition)
            batches.add(to, fact.key, fact.value, FACT_HEADERS)
    for one in group:
        where = TopicPartition(settings.replayed_topic, partition_for(one.mark, marks))
        batches.add(where, one.mark, note, [])
    return batches.all()
