"""`onhand dlq replay`: send again what was refused for its address alone, each once for ever.

What was sent is remembered by what it says: target topic, key, value and headers. Not by its
position alone, for positions shift when a log is restored or copied; and the same fact, refused
at two positions (a retry), is sent once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced

from app.admin import kafka_failed
from app.config import Settings
from app.deadletters import reader
from core.partitioning import partition_for
from core.records import Headers
from core.refusals import Refused
from domain.rules.held import NEWEST
from tables.home.letters import DeadLettersError, Letter, letters, records
from wire.filling import BatchFiller
from wire.transactions import Brokers, RecordBatch, TransactionalProducer

#: Sound inside, so that the right address heals them; other refusals need a corrected event.
REPLAYABLE = ("misrouted", "key_mismatch", "missing_key")
#: Letters sent in one transaction: one chunk, which is sent and remembered or neither.
_GROUP = 500
_GROUP_BYTES = 8 * 2**20
# While a transaction is open, readers of its source partitions wait. After a kill -9 they
# wait this long; the next replay ends it at once.
_TRANSACTION_TIMEOUT_MS = 10_000
#: To begin, and for one transaction.
_PATIENCE_S = 30.0
_GOODBYE_S = 5.0
#: Of those that cannot be sent so many are named; the others are counted.
_NAMED = 1000


class Replayed(msgspec.Struct):
    """What a replay did.

    sent: how many, by reason. sent_before: by an earlier replay, or as another letter that
    says the same. impossible: why, by position, of the first 1,000 that cannot be sent.
    impossible_count: of all that cannot. other_reasons: letters that no address would heal.
    """

    sent: dict[str, int]
    sent_before: int
    impossible: dict[str, str]
    impossible_count: int
    other_reasons: int

    def cannot(self, letter: Letter, why: str) -> None:
        """Note one that cannot be sent."""
        self.impossible_count += 1
        if len(self.impossible) < _NAMED:
            self.impossible[letter.position] = why


class _Resend(msgspec.Struct, frozen=True):
    """A letter and the record that it becomes; `content` names that record."""

    letter: Letter
    topic: str
    key: bytes
    partition: int
    content: str

    @property
    def mark(self) -> bytes:
        """The key under which it is remembered."""
        return mark_of(self.letter.position, self.content)

    @property
    def size(self) -> int:
        """Roughly, in bytes."""
        return len(self.letter.value or b"") + 200


def mark_of(position: str, content: str) -> bytes:
    """The key in `{name}-replayed` of a letter (its record's position) and what it became."""
    return f"{position} {content}".encode()


class _Remembered:
    """Which records were ever sent again, as `{name}-replayed` tells."""

    def __init__(self) -> None:
        self._contents: set[str] = set()
        self._positions: set[str] = set()

    def read(self, mark: bytes) -> None:
        """Take in one mark. Those without a content are of a build that knew positions alone."""
        position, _, content = mark.decode(errors="replace").rpartition(" ")
        if position:
            self._contents.add(content)
        else:
            self._positions.add(content)

    def add(self, resend: _Resend) -> bool:
        """Whether it is new; remembered from now on."""
        known = resend.content in self._contents or resend.letter.position in self._positions
        self._contents.add(resend.content)
        return not known


async def replay(settings: Settings, *, dry_run: bool, said: Callable[[int], None]) -> Replayed:
    """Send again, to the right address, every dead letter that has a wrong one.

    1. Initialise the transactional id, which is the same for all versions and all replays:
       from here on no earlier replay can commit, and a later one ends this one.
    2. Read which were ever sent again.
    3. Send the others in chunks; a record and its being remembered are one transaction, so a
       crash between the two leaves neither, and the next replay goes on behind the last chunk.

    Args:
        settings: whose dead letters.
        dry_run: only count; initialises and sends nothing.
        said: is told now and then how many letters were read.

    Raises:
        DeadLettersError: Kafka is away, or another replay has taken over.
    """
    done = Replayed(sent={}, sent_before=0, impossible={}, impossible_count=0, other_reasons=0)
    async with _sender(settings, dry_run) as send, reader(settings) as consumer:  # 1
        remembered = _Remembered()
        async for record in records(consumer, settings.replayed_topic, None, said):  # 2
            if record.key is not None and record.value is not None:
                remembered.read(record.key)
        group: list[_Resend] = []
        size = 0
        async for letter in letters(consumer, settings.dlq_topic, None, said):  # 3
            resend = _judge(letter, settings, remembered, done)
            if resend is None:
                continue
            group.append(resend)
            size += resend.size
            if len(group) >= _GROUP or size >= _GROUP_BYTES:
                await send(group, done)
                group, size = [], 0
        await send(group, done)
    return done


def _judge(
    letter: Letter, settings: Settings, remembered: _Remembered, done: Replayed
) -> _Resend | None:
    """How to send it again; None, with the reason in `done`, if not."""
    if letter.reason not in REPLAYABLE:
        done.other_reasons += 1
    elif letter.value is None:
        done.cannot(letter, "too large to have been kept: send it as a new event")
    elif letter.topic not in settings.source_topics.values():
        done.cannot(letter, "not from a topic of this ONHAND_TOPIC_PREFIX")
    elif isinstance(event := NEWEST.decode(letter.value, letter.headers), Refused):
        done.cannot(letter, f"{event.reason}: {event.detail}")
    elif not _can_be_sent(letter.headers):
        done.cannot(letter, "the name of a header is not UTF-8: send it as a new event")
    else:
        topic, key = settings.source_topics[event.role], event.data.sku.encode()
        content = content_of(topic, key, letter.value, letter.headers)
        partition = partition_for(key, settings.partitions)
        resend = _Resend(letter, topic, key, partition, content)
        if remembered.add(resend):
            return resend
        done.sent_before += 1
    return None


def _can_be_sent(headers: Headers) -> bool:
    try:
        return all(name.encode() is not None for name, _ in headers)
    except UnicodeEncodeError:
        return False


def content_of(topic: str, key: bytes, value: bytes, headers: Headers) -> str:
    """A name for the record: SHA-256 of its parts, each with its length before it."""
    digest = hashlib.sha256()
    parts: list[bytes | None] = [topic.encode(), key, value]
    for name, content in headers:
        parts += [name.encode(errors="surrogateescape"), content]
    for part in parts:
        digest.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    return digest.hexdigest()


_Send = Callable[[Sequence[_Resend], Replayed], Awaitable[None]]


@asynccontextmanager
async def _sender(settings: Settings, dry_run: bool) -> AsyncIterator[_Send]:
    """Sends chunks, as the one replay that may."""
    if dry_run:
        yield _count
        return
    topics = [*settings.source_topics.values(), settings.replayed_topic]
    brokers = Brokers(settings.client_kwargs(), topics)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await brokers.start()
            counts = await counted_partitions(brokers, settings)
            transactional_id = f"{settings.name}-replay"
            producer = await TransactionalProducer.open(
                brokers, transactional_id, _TRANSACTION_TIMEOUT_MS, lane=0
            )
        sender = _Sender(producer, settings, counts[settings.replayed_topic])
        yield sender.send
    except (KafkaError, OSError, TimeoutError) as error:
        raise DeadLettersError(kafka_failed(settings, error)) from error
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(brokers.stop(), _GOODBYE_S)


async def counted_partitions(brokers: Brokers, settings: Settings) -> dict[str, int]:
    """How many each topic has.

    Raises:
        DeadLettersError: a source has another number than the settings say.
    """
    await brokers.client.force_metadata_update()
    found = brokers.client.cluster.partitions_for_topic
    counts = {settings.replayed_topic: len(found(settings.replayed_topic) or ())}
    for topic in settings.source_topics.values():
        counts[topic] = len(found(topic) or ())
        if counts[topic] != settings.partitions:
            raise DeadLettersError(
                f"Topic {topic} has {counts[topic]} partitions, not {settings.partitions}: run "
                "`onhand topics check`, for the right key would lead to the wrong one."
            )
    if not counts[settings.replayed_topic]:
        raise DeadLettersError(
            f"There is no topic {settings.replayed_topic}: run `onhand topics check`."
        )
    return counts


async def _count(group: Sequence[_Resend], done: Replayed) -> None:
    for resend in group:
        done.sent[resend.letter.reason] = done.sent.get(resend.letter.reason, 0) + 1


class _Sender:
    """marks: partitions of the topic that remembers."""

    def __init__(self, producer: TransactionalProducer, settings: Settings, marks: int) -> None:
        self._producer, self._settings, self._marks = producer, settings, marks

    async def send(self, group: Sequence[_Resend], done: Replayed) -> None:
        """One transaction; if a record in it is too large, one for each."""
        if not group:
            return
        try:
            # The producer itself tries for as long as it takes.
            async with asyncio.timeout(_PATIENCE_S):
                await self._producer.commit(self._batches(group))
        except ProducerFenced as error:
            raise DeadLettersError(
                "Another `onhand dlq replay` took over; it sends what this one had not yet."
            ) from error
        except MessageSizeTooLargeError:
            # It fitted when its producer compressed it better; it must not hold up the others.
            async with asyncio.timeout(_PATIENCE_S):
                await self._producer.abort()
            if len(group) == 1:
                done.cannot(group[0].letter, "larger than its topic takes today")
                return
            for resend in group:
                await self.send([resend], done)
            return
        await _count(group, done)

    def _batches(self, group: Iterable[_Resend]) -> list[RecordBatch]:
        """The records themselves, then their being remembered."""
        batches = BatchFiller()
        for resend in group:
            letter = resend.letter
            to = TopicPartition(resend.topic, resend.partition)
            batches.add(to, resend.key, letter.value, letter.headers)
        for resend in group:
            letter = resend.letter
            to = f"{resend.topic}-{resend.partition}"
            note = {"to": to, "reason": letter.reason, "version": self._settings.version}
            mark = resend.mark
            where = TopicPartition(self._settings.replayed_topic, partition_for(mark, self._marks))
            batches.add(where, mark, msgspec.json.encode(note), [])
        return batches.all()
