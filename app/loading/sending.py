"""The second reading: what was checked is sent, each fact once for ever.

1. Initialise the transactional id of all who load: an earlier load can commit no more.
2. Read what is remembered of these documents. A finished one is refused; an unfinished one goes
   on behind its last acknowledged line.
3. Send chunk by chunk: the facts of some lines, and how far their documents are with them, in
   one transaction. A crash leaves both or neither, and the next load goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.translating import FACT_HEADERS
from app.config import Settings
from app.deadletters import reader
from app.loading.checking import CheckedFile, FileRefused, Opened
from app.loading.pieces import Chunk, DocumentPiece
from app.loading.remembered import DocumentNote, Remembered, note_key, remembered
from app.resending import OnlySender, only_sender
from core.partitioning import partition_for
from core.positions import format_position
from wire.fetch import end_offsets
from wire.filling import BatchFiller
from wire.transactions import RecordBatch

_TRANSACTION_TIMEOUT_MS: Final = 30_000
_OVERTAKEN: Final = (
    "Another load took over, for only one at a time may send: when it is done, load this "
    "again. What was sent is remembered, and it goes on behind it."
)


class LoadedFile(msgspec.Struct):
    """What was done with a file.

    sent: facts, now. went_on: how many lines an earlier load had acknowledged. refused: why
    nothing was sent, as a sentence; "" where it was. is_conflict: because a document of the name
    says something else. position: of its facts, where all were sent, now or before.
    """

    file: CheckedFile
    sent: int = 0
    went_on: int = 0
    refused: str = ""
    is_conflict: bool = False
    position: str | None = None


async def send_all(
    settings: Settings,
    opened: Opened,
    files: Sequence[CheckedFile],
    *,
    is_named: bool,
    said: Callable[[int], None],
    actor: str | None = None,
) -> list[LoadedFile]:
    """Send what was checked.

    Args:
        settings: whose topics.
        opened: how files are read.
        files: in the order in which they are sent.
        is_named: somebody named the document, so the same bytes may be another one.
        said: is told now and then how many lines were acknowledged.
        actor: whose token they are sent with; it stands beside what happened.

    Raises:
        FileRefused: a file was changed meanwhile.
        DeadLettersError: Kafka is away, its topics are not as the settings say, or another load
            took over.
    """
    identities = {identity for one in files for identity in one.documents}
    hashes = {one.sha256 for one in files}
    found: list[LoadedFile] = []
    async with (
        only_sender(  # 1
            settings,
            f"{settings.name}-load",
            _TRANSACTION_TIMEOUT_MS,
            _OVERTAKEN,
            remembers=settings.documents_topic,
        ) as only,
        reader(settings) as consumer,
    ):
        memory = await remembered(consumer, settings, identities, hashes, lambda _: None)  # 2
        for file in files:
            if (why := _refusal(file, memory, is_named)) is not None:
                loaded = LoadedFile(file, refused=why.sentence, is_conflict=why.is_conflict)
            else:
                sending = _Sending(settings, only, opened, file, memory, actor)
                loaded = await sending.run(said)  # 3
            if loaded.position is None and not loaded.is_conflict:
                loaded.position = format_position(await _ends(consumer, settings))
            found.append(loaded)
    return found


async def _ends(consumer: AIOKafkaConsumer, settings: Settings) -> dict[tuple[str, int], int]:
    """The last offset of each source partition: no fact that was sent before stands behind it.

    A marker may stand there. Whoever counts passes over it, and has counted what is before.
    """
    tps = [
        TopicPartition(topic, partition)
        for topic in settings.source_topics.values()
        for partition in range(settings.partitions)
    ]
    ends = await end_offsets(consumer, tps, committed=False)
    return {(tp.topic, tp.partition): end - 1 for tp, end in ends.items() if end}


class _NotSent(NamedTuple):
    """Why nothing of a file may be sent; is_conflict: another one has its name."""

    sentence: str
    is_conflict: bool = False


def _refusal(file: CheckedFile, memory: Remembered, is_named: bool) -> _NotSent | None:
    """None if it may be sent."""
    is_new = False
    for identity, seen in file.documents.items():
        if (found := memory.notes.get(identity)) is None:
            is_new = True
            continue
        note, when = found
        if note.digest != seen.digest:
            begun = "was loaded" if note.is_whole else "was begun, and is not finished,"
            return _NotSent(
                f"{identity} {begun} {_day(when)} from {note.file}, and says something else now: "
                "if this is another document, give it another name (a table: --document); if a "
                "map, a catalogue or a list of places was changed since, take the former one.",
                is_conflict=True,
            )
        is_new = is_new or not note.is_whole
    if not is_new and file.documents:
        note, when = memory.notes[next(iter(file.documents))]
        what = next(iter(file.documents)) if len(file.documents) == 1 else "All that is in it"
        return _NotSent(f"{what} was loaded {_day(when)} from {note.file}: nothing was sent again.")
    alike = memory.alike.get(file.sha256)
    if alike is not None and alike not in file.documents and not is_named:
        return _NotSent(
            f"The same bytes were loaded as {alike}: nothing was sent again. If they are another "
            "document all the same, name it with --document."
        )
    return None


def _day(ms: int) -> str:
    from app.commands.console import moment

    return f"on {moment(ms)[:10]}"


class _Sending:
    """One file on its way."""

    def __init__(
        self,
        settings: Settings,
        only: OnlySender,
        opened: Opened,
        file: CheckedFile,
        memory: Remembered,
        actor: str | None,
    ) -> None:
        self._settings, self._only, self._opened, self._file = settings, only, opened, file
        self._done = {
            identity: note.lines + note.is_whole  # behind the last line there is nothing
            for identity, (note, _) in memory.notes.items()
        }
        went_on = sum(
            note.lines for id_, (note, _) in memory.notes.items() if id_ in file.documents
        )
        self._loaded = LoadedFile(file, went_on=went_on)
        self._actor = None if actor is None else b',"onhandactor":%b}' % msgspec.json.encode(actor)
        #: Of each source partition the furthest, while all are known.
        self._furthest: dict[tuple[str, int], int] | None = None if went_on else {}

    async def run(self, said: Callable[[int], None]) -> LoadedFile:
        """Send all that is not acknowledged; the next chunk is read while one travels."""
        if self._file.file.version() != self._file.version:
            raise FileRefused(f"{self._file.file} was changed while it was checked: load it again.")
        loaded, lines = self._loaded, 0
        groups = self._groups()
        group = await asyncio.to_thread(next, groups, None)
        while group is not None:
            batches, facts, of_lines = group
            committing = asyncio.ensure_future(self._commit(batches))
            try:
                group = await asyncio.to_thread(next, groups, None)
            finally:
                await committing
            loaded.sent += facts
            lines += of_lines
            said(lines)
        if self._furthest is not None:
            loaded.position = format_position(self._furthest)
        return loaded

    async def _commit(self, batches: Sequence[RecordBatch]) -> None:
        if not batches:
            return
        offsets = await self._only.commit(batches)
        if -1 in offsets:
            self._furthest = None
        if self._furthest is not None:
            for batch, offset in zip(batches, offsets, strict=True):
                if batch.tp.topic != self._settings.documents_topic:
                    self._furthest[batch.tp.topic, batch.tp.partition] = offset + batch.size - 1

    def _groups(self) -> Iterator[tuple[list[RecordBatch], int, int]]:
        """Each is one transaction, how many facts are in it, and how many lines it is of."""
        for chunk in self._opened.chunks(self._file):
            facts = 0
            batches = BatchFiller()
            for piece in self._to_send(chunk):
                facts += self._add(piece, batches)
            yield batches.all(), facts, chunk.equation.lines

    def _to_send(self, chunk: Chunk) -> Iterator[DocumentPiece]:
        """What is not acknowledged of a chunk; of a test that is left out, nothing."""
        for piece in chunk.pieces:
            if piece.is_left_out:
                continue
            done = self._done.get(piece.document.identity, 0)
            if piece.lines + piece.is_last > done:
                facts = [fact for fact in piece.facts if fact.rank > done] if done else piece.facts
                yield DocumentPiece(piece.document, piece.lines, facts, piece.is_last)

    def _add(self, piece: DocumentPiece, batches: BatchFiller) -> int:
        settings, partitions = self._settings, self._settings.partitions
        topics = settings.source_topics
        for fact in piece.facts:
            to = TopicPartition(topics[fact.role], partition_for(fact.key, partitions))
            value = fact.value if self._actor is None else fact.value[:-1] + self._actor
            batches.add(to, fact.key, value, FACT_HEADERS)
        seen = self._file.documents[piece.document.identity]
        note = DocumentNote(
            lines=piece.lines,
            facts=seen.facts,
            digest=seen.digest,
            file=self._file.file.name,
            sha256=self._file.sha256,
            is_whole=piece.is_last,
        )
        where = TopicPartition(settings.documents_topic, 0)
        key = note_key(piece.document.identity)
        batches.add(where, key, msgspec.json.encode(note), [])
        return len(piece.facts)
