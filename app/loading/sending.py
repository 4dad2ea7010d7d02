"""The second reading: what was checked is sent, each fact once for ever.

1. Initialise the transactional id of all who load: an earlier load can commit no more.
2. Read what is remembered of these documents. A finished one is refused; an unfinished one goes
   on behind its last acknowledged line.
3. Settle what its counts become, and whether what it takes back can be: before the first is sent.
4. Send chunk by chunk: the facts of some lines, and how far their documents are with them, in
   one transaction. A crash leaves both or neither, and the next load goes on from there.
5. Where a line takes a document back, send its corrections, once all before that line is committed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.translating import FACT_HEADERS
from app.config import Settings
from app.deadletters import reader
from app.loading.checking import CheckedFile, FileRefused, Opened
from app.loading.decisions.asking import WorkersAsked
from app.loading.decisions.places import SentPlaces
from app.loading.decisions.revoking import CorrectionGroup, Corrections, TakenBack, came_too_late
from app.loading.decisions.settling import Settled, done_of, names_asked_for, settle_all
from app.loading.found.loaded import LoadedFile
from app.loading.pieces import Chunk, DocumentPiece, LineRevocation
from app.loading.remembered import (
    DocumentNote,
    NotSent,
    NotSentBecause,
    Remembered,
    forgot_containers,
    not_sent,
    note_key,
    packed_key,
    packings,
    remembered,
    revoked_key,
)
from app.resending import OnlySender, only_sender
from core.lately import Lately
from core.partitioning import partition_for
from core.positions import format_position
from web.access.callers import Caller
from wire.fetch import end_offsets
from wire.filling import BatchFiller

_TRANSACTION_TIMEOUT_MS: Final = 30_000
#: All of its facts are in the log, so there is a position behind them.
_IS_SENT: Final = (None, NotSentBecause.LOADED_BEFORE)
_OVERTAKEN: Final = (
    "Another load took over, for only one at a time may send: when it is done, load this "
    "again. What was sent is remembered, and it goes on behind it."
)


async def send_all(
    settings: Settings,
    opened: Opened,
    files: Sequence[CheckedFile],
    *,
    is_named: bool,
    said: Callable[[int], None],
    asked: WorkersAsked | None = None,
    leave_out_refused: bool = False,
    caller: Caller | None = None,
) -> list[LoadedFile]:
    """Send what was checked.

    Args:
        settings: whose topics.
        opened: how files are read.
        files: in the order in which they are sent.
        is_named: somebody named the document, so the same bytes may be another one.
        said: is told now and then how many lines were acknowledged.
        asked: workers, by whom counts are decided; needed where there are any.
        leave_out_refused: send the rest where counts are refused; else nothing is sent.
        caller: whose token it is; its name goes with them, and what it may write bounds them.

    Raises:
        FileRefused: a file was changed meanwhile.
        RecordsError: Kafka is away, its topics are not as the settings say, or another load
            took over.
        Unasked: there are counts, and no worker answers.
    """
    found = []
    async with (
        only_sender(  # 1
            *(settings, f"{settings.name}-load", _TRANSACTION_TIMEOUT_MS, _OVERTAKEN),
            remembers=settings.documents_topic,
        ) as only,
        reader(settings) as consumer,
    ):
        memory = await _memory(consumer, settings, files)  # 2
        corrections = Corrections(consumer, settings, memory, caller)
        ends = await _ends(consumer, settings)
        settled = await settle_all(  # 3
            *(settings, opened, files, memory, asked, corrections),
            lambda file: not_sent(file, memory, is_named),
            {(tp.topic, tp.partition): end for tp, end in ends.items()},
            partial(packings, consumer, settings),
            caller,
        )
        stopped = NotSent() if leave_out_refused else settled.stopped()
        where = _places(settings, ends, memory)
        targets = frozenset(one.target for file in files for one in file.revocations)
        means = _Means(settings, only, opened, memory, settled, corrections, where, targets, caller)
        for place, file in enumerate(files):
            if (why := settled.refusals.get(place, stopped)).sentence:
                loaded = _not_loaded(file, place, why, settled)
            else:
                loaded = await _Sending(file, means).run(said)  # 4
            if loaded.position is None and loaded.because in _IS_SENT:
                loaded.position = await _furthest(consumer, settings)
            found.append(loaded)
    return found


def _not_loaded(file: CheckedFile, place: int, why: NotSent, settled: Settled) -> LoadedFile:
    return LoadedFile(
        file,
        refused=why.sentence,
        because=why.because,
        levels=settled.decisions_of(file),
        closed=settled.closed_of(file),
        forbidden=settled.forbidden.get(place, []),
    )


async def _furthest(consumer: AIOKafkaConsumer, settings: Settings) -> str:
    """The last offset of each source partition: no fact that was sent before stands behind it.

    A marker may stand there. Whoever counts passes over it, and has counted what is before.
    """
    ends = await _ends(consumer, settings, committed=False)
    return format_position({(tp.topic, tp.partition): end - 1 for tp, end in ends.items() if end})


async def _memory(
    consumer: AIOKafkaConsumer, settings: Settings, files: Sequence[CheckedFile]
) -> Remembered:
    identities = {identity for one in files for identity in one.documents}
    hashes = {one.sha256 for one in files}
    names = names_asked_for(files)
    return await remembered(consumer, settings, identities, hashes, lambda _: None, names)


def _places(
    settings: Settings, ends: Mapping[TopicPartition, int], memory: Remembered
) -> SentPlaces:
    """Where what is sent lies, and what was sent by earlier loads."""
    return SentPlaces(
        {topic: role for role, topic in settings.source_topics.items()},
        ends,
        {id_: note.sent or {} for id_, (note, _) in memory.notes.items()},
    )


async def _ends(
    consumer: AIOKafkaConsumer, settings: Settings, *, committed: bool = True
) -> dict[TopicPartition, int]:
    """Of all sources: where a committed reader comes to an end, or any."""
    tps = [
        TopicPartition(topic, partition)
        for topic in settings.source_topics.values()
        for partition in range(settings.partitions)
    ]
    return await end_offsets(consumer, tps, committed=committed)


class _Means(NamedTuple):
    """With what a file is sent; one load has one of each. targets: what its lines take back."""

    settings: Settings
    only: OnlySender
    opened: Opened
    memory: Remembered
    settled: Settled
    corrections: Corrections
    places: SentPlaces
    targets: frozenset[str]
    caller: Caller | None


class _Group(msgspec.Struct):
    """One transaction, how many facts are in it, how many lines it is of; what it remembers."""

    batches: BatchFiller
    facts: int = 0
    lines: int = 0
    notes: dict[str, DocumentNote] = {}


class _Sending:
    """One file on its way."""

    def __init__(self, file: CheckedFile, means: _Means) -> None:
        self._file, self._means = file, means
        self._to = Lately(self._place_of)
        memory = means.memory
        self._done = done_of(memory)
        self._revoking = {one.document for one in file.revocations}
        went_on = sum(
            note.lines for id_, (note, _) in memory.notes.items() if id_ in file.documents
        )
        levels = means.settled.decisions_of(file)
        closed = means.settled.closed_of(file)
        self._loaded = LoadedFile(file, went_on=went_on, levels=levels, closed=closed)
        self._actor = None
        if (caller := means.caller) is not None:
            self._actor = b',"onhandactor":%b}' % msgspec.json.encode(caller.name)
        #: Of each source partition the furthest, while all are known.
        self._furthest: dict[tuple[str, int], int] | None = None if went_on else {}

    async def run(self, said: Callable[[int], None]) -> LoadedFile:
        """Send all that is not acknowledged; the next chunk is read while one travels.

        Raises:
            FileRefused: it is not the file any more that was checked.
        """
        if self._file.file.version() != self._file.version:
            raise FileRefused(f"{self._file.file} was changed while it was checked: load it again.")
        loaded, lines = self._loaded, 0
        groups = self._groups()
        group = await asyncio.to_thread(next, groups, None)
        while group is not None:
            if isinstance(group, LineRevocation):
                # Alone: what is read meanwhile may be what it takes back.
                await self._take_back(group)
                group = await asyncio.to_thread(next, groups, None)
                continue
            sent = group
            committing = asyncio.ensure_future(self._commit(sent))
            try:
                group = await asyncio.to_thread(next, groups, None)
            finally:
                await committing
            loaded.sent += sent.facts
            lines += sent.lines
            said(lines)
        if self._furthest is not None:
            loaded.position = format_position(self._furthest)
        return loaded

    async def _commit(self, group: _Group) -> None:
        await self._send(group.batches)
        now_ms = time.time_ns() // 10**6
        for identity, note in group.notes.items():
            # Of 100,000 documents only those that this load may still ask for.
            if not self._means.targets.isdisjoint((identity, note.called)):
                self._means.memory.keep(identity, note, now_ms)

    async def _send(self, filled: BatchFiller) -> None:
        if not (batches := filled.all()):
            return
        offsets = await self._means.only.commit(batches)
        self._means.places.committed(batches, offsets)
        if -1 in offsets:
            self._furthest = None
        if self._furthest is not None:
            for batch, offset in zip(batches, offsets, strict=True):
                if batch.tp.topic != self._means.settings.documents_topic:
                    self._furthest[batch.tp.topic, batch.tp.partition] = offset + batch.size - 1

    async def _take_back(self, revocation: LineRevocation) -> None:  # 5
        taken = TakenBack(revocation.where, revocation.target)
        self._loaded.taken.append(taken)
        here = self._file.documents
        async for group in self._means.corrections.groups(revocation, taken, here):
            await self._correct(group)

    async def _correct(self, group: CorrectionGroup) -> None:
        batches, where = BatchFiller(), self._remembers
        for fact in group.facts:
            batches.add(self._to[fact.role, fact.key], fact.key, fact.value, FACT_HEADERS)
        for name, mark in group.marks.items():
            batches.add(where, revoked_key(name), msgspec.json.encode(mark), [])
        await self._send(batches)
        self._means.memory.marks.update(group.marks)

    def _groups(self) -> Iterator[_Group | LineRevocation]:
        """What is sent together; what a line takes back comes before that line."""
        for chunk in self._means.opened.chunks(self._file):
            group = _Group(BatchFiller())
            for piece in self._to_send(chunk):
                done = self._done.get(piece.document.identity, 0)
                if revocations := [one for one in piece.revocations if one.rank > done]:
                    yield group
                    group = _Group(BatchFiller())
                    yield from revocations
                self._add(self._timely(piece), group)
            group.lines = chunk.equation.lines
            yield group

    def _to_send(self, chunk: Chunk) -> Iterator[DocumentPiece]:
        """What is not acknowledged of a chunk; of a test that is left out, nothing."""
        settled = self._means.settled
        decided = settled.decided.facts
        for piece in chunk.pieces:
            if piece.is_left_out:
                continue
            done = self._done.get(piece.document.identity, 0)
            if not (done or piece.levels or piece.contained):
                yield piece
                continue
            forgot = self._forgot(piece) is not None
            if piece.lines + piece.is_last > done or forgot:
                ids = [level.count.id for level in piece.levels]
                facts = piece.facts + [decided[id_] for id_ in ids if id_ in decided]
                facts += settled.unpacked.facts_of(piece)
                facts = [fact for fact in facts if fact.rank > done] if done else facts
                packed = [one for one in piece.packed if forgot or one.rank > done]
                yield msgspec.structs.replace(piece, facts=facts, packed=packed)

    def _forgot(self, piece: DocumentPiece) -> DocumentNote | None:
        """The note of a document that was loaded by a build which did not remember this packing."""
        identity = piece.document.identity
        note, _ = self._means.memory.notes.get(identity, (None, 0))
        if note is None or not piece.packed:
            return None
        return note if forgot_containers(note, self._file.documents[identity]) else None

    def _timely(self, piece: DocumentPiece) -> DocumentPiece:
        """Without what a document says that was taken back before it came."""
        identity = piece.document.identity
        called = self._file.documents[identity].called
        revokes = identity in self._revoking
        mark = came_too_late(identity, called, revokes, self._means.memory)
        if mark is None:
            return piece
        self._loaded.late[identity] = mark.by
        return msgspec.structs.replace(piece, facts=[], packed=[])

    def _add(self, piece: DocumentPiece, group: _Group) -> None:
        identity, places = piece.document.identity, self._means.places
        counts: dict[TopicPartition, int] = {}
        add, to_of, actor = group.batches.add, self._to, self._actor
        for fact in piece.facts:
            to = to_of[fact.role, fact.key]
            counts[to] = counts.get(to, 0) + 1
            value = fact.value if actor is None else fact.value[:-1] + actor
            add(to, fact.key, value, FACT_HEADERS)
        for to, count in counts.items():
            places.add(identity, to, count)
        seen = self._file.documents[identity]
        note = DocumentNote(
            lines=piece.lines,
            facts=seen.facts,
            digest=seen.digest,
            file=self._file.file.name,
            sha256=self._file.sha256,
            is_whole=piece.is_last,
            called=seen.called,
            sent=places.of(identity),
            sums=self._file.equation,
        )
        if (before := self._forgot(piece)) is not None:
            # Where its facts lie, and that it is done, says the build that sent them.
            note = msgspec.structs.replace(before, digest=seen.digest)
        for one in piece.packed:
            key = packed_key(one.packing.container, identity, one.number)
            group.batches.add(self._remembers, key, msgspec.json.encode(one.packing), [])
        group.batches.add(self._remembers, note_key(identity), msgspec.json.encode(note), [])
        group.notes[identity] = note
        if piece.is_last:
            places.forget(identity)
        group.facts += len(piece.facts)

    @property
    def _remembers(self) -> TopicPartition:
        return TopicPartition(self._means.settings.documents_topic, 0)

    def _place_of(self, role_and_key: tuple[str, bytes]) -> TopicPartition:
        role, key = role_and_key
        settings = self._means.settings
        topic = settings.source_topics[role]
        return TopicPartition(topic, partition_for(key, settings.partitions))
