"""`onhand dlq replay`: send again what was refused for its address alone, each once for ever.

What was sent is remembered by what it says: target topic, key, value and headers. Not by its
position alone, for positions shift when a log is restored or copied; and the same fact, refused
at two positions (a retry), is sent once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import MessageSizeTooLargeError

from app.config import Settings
from app.deadletters import reader
from app.resending import OnlySender, content_of, only_sender, remembered_marks
from core.partitioning import partition_for
from core.records import Headers
from core.refusals import Refused
from domain.rules.held import NEWEST
from tables.home.letters import Letter, letters
from wire.filling import BatchFiller
from wire.transactions import RecordBatch

#: Sound inside, so that the right address heals them; other refusals need a corrected event.
REPLAYABLE = ("misrouted", "key_mismatch", "missing_key")
#: Letters sent in one transaction: one chunk, which is sent and remembered or neither.
_GROUP = 500
_GROUP_BYTES = 8 * 2**20
_TRANSACTION_TIMEOUT_MS = 10_000
_OVERTAKEN = "Another `onhand dlq replay` took over; it sends what this one had not yet."
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
        RecordsError: Kafka is away, or another replay has taken over.
    """
    done = Replayed(sent={}, sent_before=0, impossible={}, impossible_count=0, other_reasons=0)
    async with _sender(settings, dry_run) as send, reader(settings) as consumer:  # 1
        remembered = _Remembered()
        async for mark in remembered_marks(consumer, settings, said):  # 2
            remembered.read(mark)
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


_Send = Callable[[Sequence[_Resend], Replayed], Awaitable[None]]


@asynccontextmanager
async def _sender(settings: Settings, dry_run: bool) -> AsyncIterator[_Send]:
    """Sends chunks, as the one replay that may."""
    if dry_run:
        yield _count
        return
    name = f"{settings.name}-replay"
    async with only_sender(settings, name, _TRANSACTION_TIMEOUT_MS, _OVERTAKEN) as only:
        yield _Sender(only, settings).send


async def _count(group: Sequence[_Resend], done: Replayed) -> None:
    for resend in group:
        done.sent[resend.letter.reason] = done.sent.get(resend.letter.reason, 0) + 1


class _Sender:
    def __init__(self, only: OnlySender, settings: Settings) -> None:
        self._only, self._settings = only, settings

    async def send(self, group: Sequence[_Resend], done: Replayed) -> None:
        """One transaction; if a record in it is too large, one for each."""
        if not group:
            return
        try:
            await self._only.commit(self._batches(group))
        except MessageSizeTooLargeError:
            # It fitted when its producer compressed it better; it must not hold up the others.
            await self._only.abort()
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
            number = partition_for(mark, self._only.marks)
            where = TopicPartition(self._settings.replayed_topic, number)
            batches.add(where, mark, msgspec.json.encode(note), [])
        return batches.all()
