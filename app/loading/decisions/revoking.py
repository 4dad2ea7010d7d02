"""What a document takes back: the facts that were sent for an earlier one, each once for ever.

A cancellation names no lines, so what was sent is read back from the log, from where a note of
that document says. Each fact gets one correction, at its own moment, that names it. The
corrections and the mark that says so are one transaction: a crash leaves both or neither.

What was not loaded yet is marked all the same, so that it counts nothing if it comes later.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator
from contextlib import aclosing
from typing import cast

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.config import Settings
from app.loading.checking import CheckedFile
from app.loading.decisions.deciding import StockMove, move_of
from app.loading.facts import REVOKED, SOURCE, LineFact, correction_fact
from app.loading.pieces import CHUNK_LINES, Became, LineRevocation, NoFact
from app.loading.remembered import Remembered, RevokedMark
from web.access.callers import Caller
from web.http.times import rfc3339
from wire.fetch import Stored, end_offsets
from wire.whole import RecordsError, whole_topic


class TakenBack(msgspec.Struct):
    """What a line took back.

    target: as the line says. documents: of these, how many that had been loaded. facts: that were
    made up for, now.
    """

    where: str
    target: str
    documents: int = 0
    facts: int = 0


class CorrectionGroup(msgspec.Struct, frozen=True):
    """Of one transaction: corrections, and what is remembered beside them, by name."""

    facts: list[LineFact]
    marks: dict[str, RevokedMark]


def names_taken_back(revocation: LineRevocation, memory: Remembered) -> list[str]:
    """Identities of the documents that a line is about and that were loaded, in whole or part."""
    return [name for name in memory.named(revocation.target) if name != revocation.document]


def why_not(file: CheckedFile, earlier: Collection[str], memory: Remembered) -> str:
    """Why a file may not be loaded because of what it takes back; "" if it may.

    Args:
        file: that was checked.
        earlier: identities and names of documents that the same load sends before it, or in it.
        memory: of earlier loads.
    """
    for revocation in file.revocations:
        names = names_taken_back(revocation, memory)
        for name in names:
            note, _ = memory.notes[name]
            if not note.is_whole and name not in earlier:
                return (
                    f"{revocation.where} takes back {name}, which was begun, and is not finished: "
                    f"load {note.file} to its end first."
                )
            if note.facts and note.sent is None:
                return (
                    f"{revocation.where} takes back {name}, which was loaded by a build that did "
                    "not remember where its facts lie: post what makes up for them (`onhand "
                    "adjust … --reason correction`)."
                )
        if revocation.line is not None and not names and revocation.target not in earlier:
            return (
                f"{revocation.where} takes back a line of {revocation.target}, which was not "
                "loaded: load that first."
            )
    return ""


async def forbidden_of(
    file: CheckedFile, caller: Caller, memory: Remembered, corrections: Corrections
) -> list[NoFact]:
    """Lines that take back what their caller may not write, or say what lies in a container.

    The second moves goods wherever it is shipped from later. What was not loaded yet may be
    anything, so whoever may not write all cannot keep it from counting when it comes. What stands
    in the same file was judged when that was checked.

    Raises:
        RecordsError: the log is not as the notes say.
    """
    found = []
    if file.packed is not None and (why := caller.may_write_anywhere(SOURCE)) is not None:
        sentence = f"It says what lies in a container, wherever that goes. {why}"
        found.append(NoFact(file.packed, Became.REFUSED, sentence))
    for one, stands_here in _with_what_stands_here(file):
        names = names_taken_back(one, memory)
        why = None
        if not names and not stands_here:
            why = caller.may_write_anywhere(SOURCE)
        for name in names:
            moves, _ = await corrections.left_of(one, name)
            places = dict.fromkeys(move.location for move in moves or ())
            told = (caller.may_write(SOURCE, location) for location in places)
            why = why or next(filter(None, told), None)
        if why is not None:
            sentence = f"It takes back {one.target}. {why}"
            found.append(NoFact(one.where, Became.REFUSED, sentence))
    return found


def _with_what_stands_here(file: CheckedFile) -> Iterator[tuple[LineRevocation, bool]]:
    """Each revocation, and whether what it takes back stands in its file.

    By its own identity, or before it under that name. Not by the revoking document itself: a
    cancellation is called as what it cancels.
    """
    places = {identity: place for place, identity in enumerate(file.documents)}
    called: dict[str, int] = {}
    for place, seen in enumerate(file.documents.values()):
        called.setdefault(seen.called, place)
    for one in file.revocations:
        own = places[one.document]
        is_before = bool(one.target) and called.get(one.target, own) < own
        yield one, is_before or (one.target in places and one.target != one.document)


def came_too_late(
    identity: str, called: str, revokes: bool, memory: Remembered
) -> RevokedMark | None:
    """The mark of who took a document back before it came; None: nobody did.

    What takes an earlier one back itself is called as that one is, and is another. One that is not
    finished, and was taken back all the same, came too late before, too.
    """
    found = memory.notes.get(identity)
    if found is not None and found[0].is_whole:
        return None
    if (mark := memory.marks.get(identity)) is not None or revokes:
        return mark
    return memory.marks.get(called)


def taken_back_meanwhile(files: Iterable[CheckedFile]) -> set[str]:
    """Identities of documents of a load of which nothing is left at its end: it revokes them."""
    documents: list[tuple[str, str, bool]] = []
    by: dict[str, set[int]] = {}
    for file in files:
        revoking = {one.document for one in file.revocations}
        begun = len(documents)
        documents += [(id_, seen.called, id_ in revoking) for id_, seen in file.documents.items()]
        places = {id_: begun + n for n, id_ in enumerate(file.documents)}
        for one in file.revocations:
            if one.line is None:
                by.setdefault(one.target, set()).add(places[one.document])
    return {
        identity
        for place, (identity, called, revokes) in enumerate(documents)
        if any(
            other > place or (other < place and (not revokes or target == identity))
            for target in (identity, called)
            for other in by.get(target, ())
        )
    }


class Corrections:
    """Reads back what was sent, and makes the corrections.

    Args:
        consumer: started; reads committed.
        settings: whose topics.
        memory: of earlier loads, and of this one as it goes on.
        caller: who takes back; None: one who may write all.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        settings: Settings,
        memory: Remembered,
        caller: Caller | None = None,
    ) -> None:
        self._consumer, self._settings, self._memory = consumer, settings, memory
        self._may_write_all = caller is None or caller.may_write_anywhere(SOURCE) is None

    async def groups(
        self, revocation: LineRevocation, taken: TakenBack, here: Collection[str] = ()
    ) -> AsyncIterator[CorrectionGroup]:
        """Each is to be committed before the next one is asked for.

        `here`: identities of the documents of the same file.

        Raises:
            RecordsError: the log is not as the notes say.
        """
        memory = self._memory
        for name in names_taken_back(revocation, memory):
            moves, done = await self.left_of(revocation, name)
            if moves is None:
                continue
            taken.documents += 1
            whole = name if revocation.line is None else f"{name}#{revocation.line}"
            for first in range(0, max(len(moves), 1), CHUNK_LINES):
                some = moves[first : first + CHUNK_LINES]
                facts = [_correction(revocation, move) for move in some if move.change]
                end = first + len(some)
                mark = RevokedMark(revocation.document, done + end, is_whole=end >= len(moves))
                taken.facts += len(facts)
                yield CorrectionGroup(facts, {whole: mark})
        # Of whoever may not write all, others' documents may have that name.
        may_mark = self._may_write_all or revocation.target in here
        if may_mark and revocation.line is None and revocation.target not in memory.marks:
            # Also where nothing was loaded: it may still come.
            mark = RevokedMark(revocation.document, 0, is_whole=True)
            yield CorrectionGroup([], {revocation.target: mark})

    async def left_of(
        self, revocation: LineRevocation, name: str
    ) -> tuple[list[StockMove] | None, int]:
        """What a line still takes back of a document, and how many of its facts are done.

        In the order of their ids: so a later load goes on behind what is done. None: all was taken
        back before.

        Raises:
            RecordsError: they are not where its note says.
        """
        marks = self._memory.marks
        mark = marks.get(name)
        if mark is not None and mark.is_whole:
            return None, 0
        done = 0 if mark is None else mark.done
        moves = (await self.sent_for(name))[done:]
        if revocation.line is None:
            # A line that was taken back by itself before stays in its place, and moves nothing.
            gone = [
                msgspec.structs.replace(move, change=0) if move.id in marks else move
                for move in moves
            ]
            return gone, done
        id_ = f"{name}#{revocation.line}"
        if id_ in marks:
            return None, 0
        return [move for move in moves if move.id == id_], 0

    async def sent_for(self, name: str) -> list[StockMove]:
        """The facts of a document that was loaded, in the order of their ids.

        Raises:
            RecordsError: they are not where its note says.
        """
        note, _ = self._memory.notes[name]
        found: dict[str, StockMove] = {}
        for place, (begin, count) in (note.sent or {}).items():
            role, _, partition = place.rpartition("-")
            tp = TopicPartition(self._settings.source_topics[role], int(partition))
            found |= await self._read(tp, begin, count, name)
        return [found[id_] for id_ in sorted(found)]

    async def _read(
        self, tp: TopicPartition, begin: int, count: int, name: str
    ) -> dict[str, StockMove]:
        self._consumer.assign([tp])
        # What was committed just now may still wait for its marker: it is waited for.
        end = (await end_offsets(self._consumer, [tp], committed=False))[tp]
        begin = max(begin, (await self._consumer.beginning_offsets([tp]))[tp])
        found: dict[str, StockMove] = {}
        spans = {tp.partition: (begin, end)}
        # As we write it; what others have written in other letters is not ours.
        within = msgspec.json.encode(name)[1:-1]
        whole = whole_topic(self._consumer, tp.topic, None, _silent, spans)
        async with aclosing(cast("AsyncGenerator[Stored, None]", whole)) as read:
            async for record in read:
                if record.value is None or within not in record.value:
                    continue
                move = _sent_move(record, name)
                if move is not None:
                    found.setdefault(move.id, move)
                if len(found) == count:
                    return found
        raise RecordsError(
            f"{tp.topic}-{tp.partition} has {len(found):,} facts of {name} from {begin:,} on, and "
            f"{count:,} were sent: is it the topic that they were sent to?"
        )


def _silent(count: int) -> None:
    """Nobody is told how far it is: a document is soon read."""


def _sent_move(record: Stored, name: str) -> StockMove | None:
    """What a record moved, if it is a fact of this document, and no correction of one."""
    try:
        move = move_of(record.value or b"", SOURCE)
    except (msgspec.MsgspecError, KeyError):
        return None
    if move is None or move.id.endswith(REVOKED) or move.id.rpartition("#")[0] != name:
        return None
    if move.time is None:
        move = msgspec.structs.replace(move, time=rfc3339(record.timestamp))
    return move


def _correction(revocation: LineRevocation, move: StockMove) -> LineFact:
    return correction_fact(
        *(revocation.rank, revocation.where, move.id, move.sku, move.location),
        *(-move.change, move.time or ""),
    )
