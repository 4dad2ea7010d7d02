"""What is settled before the first fact is sent: which files may be, and what their counts become.

It needs what is remembered of earlier loads, so it stands between the check and the sending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from app.config import Settings
from app.loading.checking import CheckedFile, Opened
from app.loading.decisions.asking import WorkersAsked
from app.loading.decisions.deciding import (
    Decided,
    LevelBecame,
    LevelDecision,
    StockMove,
    decide,
    move_of,
)
from app.loading.decisions.revoking import (
    Corrections,
    came_too_late,
    forbidden_of,
    names_taken_back,
    taken_back_meanwhile,
    why_not,
)
from app.loading.decisions.unpacking import AskPackings, Packings, Unpacked, unpack
from app.loading.facts import LineLevel
from app.loading.pieces import Became, LineRevocation, NoFact
from app.loading.remembered import NotSent, NotSentBecause, Remembered
from core.partitioning import partition_for
from core.positions import format_position
from web.access.callers import Caller

NOTHING_TO_DECIDE: Final = Decided({}, {})


class Settled(msgspec.Struct):
    """refusals: why a file may not be sent, by its place. decided: all counts of the others.

    unpacked: what moved in containers of these. forbidden: lines that their caller may not write
    for what they take back, or say of containers, by the file's place.
    """

    refusals: dict[int, NotSent]
    decided: Decided
    unpacked: Unpacked
    forbidden: dict[int, list[NoFact]]

    def decisions_of(self, file: CheckedFile) -> list[LevelDecision]:
        """Of the counts of a file, in their order; those of an earlier load are not among them."""
        found = self.decided.decisions
        return [found[level.count.id] for level in file.levels if level.count.id in found]

    def closed_of(self, file: CheckedFile) -> list[NoFact]:
        """Lines of a file that moved containers of which it is not known what was in them."""
        closed, lines = self.unpacked.closed, file.contained
        return [closed[at] for one in lines if (at := (one.document, one.rank)) in closed]

    def stopped(self) -> NotSent:
        """Why nothing is sent while what is refused is not left out."""
        counts, containers = len(self.decided.refused()), len(self.unpacked.closed)
        said = [f"{what} that are refused ({n:,})" for what, n in
                (("counts", counts), ("containers", containers)) if n]  # fmt: skip
        if not said:
            return NotSent()
        return NotSent(
            f"Nothing was sent, because of {' and '.join(said)}: correct them, or load the rest "
            "with --leave-out-refused.",
            NotSentBecause.REFUSED,
        )


def done_of(memory: Remembered) -> dict[str, int]:
    """How many lines of each document are done; of a whole one all, and one more."""
    return {
        identity: note.lines + note.is_whole  # behind the last line there is nothing
        for identity, (note, _) in memory.notes.items()
    }


def names_asked_for(files: Sequence[CheckedFile]) -> set[str]:
    """What the documents of these files are called, and what they take back."""
    names = {seen.called for file in files for seen in file.documents.values() if seen.called}
    return names | {one.target for file in files for one in file.revocations}


async def settle_all(
    settings: Settings,
    opened: Opened,
    files: Sequence[CheckedFile],
    memory: Remembered,
    asked: WorkersAsked | None,
    corrections: Corrections | None,
    refused: Callable[[CheckedFile], NotSent],
    ends: dict[tuple[str, int], int],
    packed: AskPackings | None,
    caller: Caller | None = None,
) -> Settled:
    """Settle all files of a load.

    Args:
        settings: whose topics.
        opened: how files are read.
        files: that were checked, in the order in which they are sent.
        memory: what is remembered of them.
        asked: workers; None: there are no counts, or nobody is to be asked.
        corrections: reads back what was sent; None: what is taken back is in no book.
        refused: why a file may not be loaded by what is remembered of it.
        ends: of each topic and partition, the offset behind the last record.
        packed: what earlier loads said of containers; None: nobody is to be asked.
        caller: whose token it is; None: one who may write all.

    Raises:
        Unasked: no worker answers.
        RecordsError: the log is not as the notes say.
    """
    refusals = _refusals(files, memory, refused)
    forbidden = await _forbidden(files, refusals, memory, corrections, caller)
    for at, lines in forbidden.items():
        refusals[at] = NotSent(lines[0].sentence, NotSentBecause.FORBIDDEN)
    going = [file for place, file in enumerate(files) if place not in refusals]
    late = {identity for file in going for identity in _late(file, memory)}
    done = done_of(memory)
    gone = late | taken_back_meanwhile(going)
    unpacked = await _unpacked(opened, going, late, gone, done, memory, packed)
    settled = Settled(refusals, NOTHING_TO_DECIDE, unpacked, forbidden)
    levels = [level for file in going for level in _left(file, late, done)]
    if not levels or asked is None:
        _count(going, settled)
        return settled
    back = [] if corrections is None else await _taken_back(going, memory, corrections)

    def beside(skus: Collection[str]) -> Iterator[StockMove]:
        yield from back
        keys = {sku.encode() for sku in skus}
        for file in going:
            yield from _moves(opened, file, keys, gone, done, unpacked)

    def after(sku: str) -> str:
        partition = partition_for(sku.encode(), settings.partitions)
        here = {at: end - 1 for at, end in ends.items() if at[1] == partition and end > 0}
        return format_position(here)

    settled.decided = await decide(asked, levels, beside, after, passing=gone)
    _count(going, settled)
    return settled


async def _unpacked(
    opened: Opened,
    files: Sequence[CheckedFile],
    late: Collection[str],
    gone: Collection[str],
    done: dict[str, int],
    memory: Remembered,
    packed: AskPackings | None,
) -> Unpacked:
    """What moved in containers, by all that these files and earlier ones say of them and holds."""
    wrong = {name for one in _revocations(files) for name in names_taken_back(one, memory)}
    wrong |= {name for name, mark in memory.marks.items() if mark.is_whole}
    wrong.update(gone)
    lines = [one for file in files for one in file.contained if one.document not in late]

    async def ask(containers: Collection[str]) -> Packings:
        before: Packings = {} if packed is None else await packed(containers)
        here = await asyncio.to_thread(_packings, opened, files, containers)
        return {at: one for at, one in (before | here).items() if at[0] not in wrong}

    otherwise = Became.UNDECIDED if packed is None else Became.REFUSED
    found = await unpack(opened.make, lines, ask, otherwise)
    found.closed = {at: why for at, why in found.closed.items() if at[1] > done.get(at[0], 0)}
    return found


def _packings(
    opened: Opened, files: Iterable[CheckedFile], containers: Collection[str]
) -> Packings:
    """What these files say of containers."""
    return {
        (piece.document.identity, one.number): one.packing
        for file in files
        if file.packed is not None
        for chunk in opened.chunks(file)
        for piece in chunk.pieces
        for one in piece.packed
        if one.packing.container in containers
    }


def _revocations(files: Iterable[CheckedFile]) -> Iterator[LineRevocation]:
    return (one for file in files for one in file.revocations)


def _refusals(
    files: Sequence[CheckedFile], memory: Remembered, refused: Callable[[CheckedFile], NotSent]
) -> dict[int, NotSent]:
    """By the place of a file: why nothing of it may be sent."""
    found: dict[int, NotSent] = {}
    earlier: set[str] = set()
    for place, file in enumerate(files):
        earlier |= {*file.documents, *(one.called for one in file.documents.values())}
        why = refused(file)
        if not why.sentence and (told := why_not(file, earlier, memory)):
            why = NotSent(told, NotSentBecause.REFUSED)
        if why.sentence:
            found[place] = why
    return found


async def _forbidden(
    files: Sequence[CheckedFile],
    refusals: Collection[int],
    memory: Remembered,
    corrections: Corrections | None,
    caller: Caller | None,
) -> dict[int, list[NoFact]]:
    """By the place of a file that may be sent else: lines that its caller may not write."""
    if caller is None or not caller.is_narrow or corrections is None:
        return {}
    found = {
        place: await forbidden_of(file, caller, memory, corrections)
        for place, file in enumerate(files)
        if place not in refusals
    }
    return {place: lines for place, lines in found.items() if lines}


async def settle_alone(
    settings: Settings, opened: Opened, files: Sequence[CheckedFile], asked: WorkersAsked | None
) -> Settled:
    """As far as that can be told without what is remembered: for who only looks.

    Raises:
        Unasked: no worker answers.
    """
    nothing = Remembered({}, {})
    none = settings, opened, files, nothing, asked, None
    return await settle_all(*none, lambda _: NotSent(), {}, None)


def _count(files: Iterable[CheckedFile], settled: Settled) -> None:
    """A count that is refused is a refused line, and so is a container that nobody has packed."""
    for file in files:
        decisions, closed = settled.decisions_of(file), settled.closed_of(file)
        levels = sum(one.became is LevelBecame.REFUSED for one in decisions)
        facts = sum(one.became is Became.REFUSED for one in closed)
        file.equation.levels -= levels
        file.equation.facts -= facts
        file.equation.refused += levels + facts


def _left(file: CheckedFile, late: Collection[str], done: dict[str, int]) -> Iterator[LineLevel]:
    """Counts of a file that are not done, and that stay."""
    for level in file.levels:
        if level.document not in late and level.rank > done.get(level.document, 0):
            yield level


def _late(file: CheckedFile, memory: Remembered) -> Iterator[str]:
    """Documents of a file that were taken back before they came."""
    revoking = {one.document for one in file.revocations}
    for identity, seen in file.documents.items():
        if came_too_late(identity, seen.called, identity in revoking, memory) is not None:
            yield identity


def _moves(
    opened: Opened,
    file: CheckedFile,
    keys: Collection[bytes],
    gone: Collection[str],
    done: dict[str, int],
    unpacked: Unpacked,
) -> Iterator[StockMove]:
    """What a file moves of these SKUs that is not in the log yet, and that stays."""
    for chunk in opened.chunks(file):
        for piece in chunk.pieces:
            identity = piece.document.identity
            if piece.is_left_out or identity in gone:
                continue
            begin = done.get(identity, 0)
            for fact in (*piece.facts, *unpacked.facts_of(piece)):
                if fact.rank > begin and fact.key in keys:
                    move = move_of(fact.value)
                    if move is not None:
                        yield move


async def _taken_back(
    files: Sequence[CheckedFile], memory: Remembered, corrections: Corrections
) -> list[StockMove]:
    """What is in the log, and is going to be made up for by these files."""
    found: dict[str, StockMove] = {}
    for one in _revocations(files):
        for name in names_taken_back(one, memory):
            moves, _ = await corrections.left_of(one, name)
            for move in moves or ():
                found[move.id] = msgspec.structs.replace(move, change=-move.change)
    return list(found.values())
