"""Documents cut into chunks that are sent whole: what each of its lines became."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final, assert_never

import msgspec

from app.loading.facts import FactMaker, LineContained, LineFact, LineLevel, moment_us
from importers.documents.containers import Packing
from importers.documents.port import (
    ContainedLine,
    Document,
    DocumentLine,
    DocumentPart,
    LevelLine,
    MovedLine,
    OtherLine,
    PackedLine,
    RefusedLine,
    RevokingLine,
)

#: Of one transaction. No setting: both readings of a file must cut it alike.
CHUNK_LINES: Final = 8_000
_TEST: Final = "Its document is a test, as its sender says: --test takes it as a real one."


class Became(StrEnum):
    """What a line is, other than a fact."""

    NOT_FOR_STOCK = "not for stock"
    REFUSED = "refused"
    #: For who only looks: a load will know.
    UNDECIDED = "not decided"


class NoFact(msgspec.Struct, frozen=True):
    """A line that is no fact, and why; `sentence` has its full stop."""

    where: str
    became: Became
    sentence: str


class Equation(msgspec.Struct):
    """How many lines there were, and what became of them."""

    lines: int = 0
    facts: int = 0
    levels: int = 0
    revocations: int = 0
    not_for_stock: int = 0
    refused: int = 0

    def __str__(self) -> str:
        return (
            f"{self.lines:,} lines = {self.facts:,} facts + {self.levels:,} levels + "
            f"{self.revocations:,} revocations + {self.not_for_stock:,} not for stock + "
            f"{self.refused:,} refused"
        )

    def holds(self) -> bool:
        """Whether no line is lost, or counted twice."""
        parts = (self.facts, self.levels, self.revocations, self.not_for_stock, self.refused)
        return self.lines == sum(parts)

    def add(self, other: Equation) -> None:
        """Add what another counted."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class LineRevocation(msgspec.Struct, frozen=True):
    """A line takes an earlier document back, or one line of it.

    document: whose line it is; rank, where: as of a fact. target: identity of what is taken back,
    or what several are called; line: its number, None for all of them.
    """

    document: str
    rank: int
    where: str
    target: str
    line: str | None

    def said(self) -> bytes:
        """All of it as text, to tell a document from another one."""
        return msgspec.json.encode((self.rank, self.target, self.line))


class LinePacked(msgspec.Struct, frozen=True):
    """What a line says of a container; rank: as of a fact; number: as that of the line."""

    rank: int
    where: str
    number: str
    packing: Packing

    def said(self) -> bytes:
        """All of it as text, to tell a document from another one."""
        return msgspec.json.encode((self.rank, self.packing))


class DocumentPiece(msgspec.Struct, array_like=True):
    """Part of one document.

    document: whose. lines: of it, up to the end of this part. is_last: no more follow.
    is_left_out: it is a test, and nobody asked for tests: it is neither sent nor remembered.
    levels, revocations, contained: still to be decided. packed: to be remembered.
    """

    document: Document
    lines: int
    facts: list[LineFact]
    is_last: bool = False
    is_left_out: bool = False
    levels: list[LineLevel] = []
    revocations: list[LineRevocation] = []
    contained: list[LineContained] = []
    packed: list[LinePacked] = []

    def said_besides(self) -> bytes:
        """What it says of counts and takes back, whatever will be decided of it, as text."""
        if not (self.levels or self.revocations):
            return b""
        return b"".join([one.said() for some in (self.levels, self.revocations) for one in some])

    def said_of_containers(self) -> bytes:
        """The same of containers, alone."""
        if not (self.contained or self.packed):
            return b""
        return b"".join([one.said() for some in (self.contained, self.packed) for one in some])


class Chunk(msgspec.Struct):
    """Some lines of a file, by document."""

    equation: Equation
    pieces: list[DocumentPiece]
    told: list[NoFact]

    def packed(self) -> bytes:
        """All that it would send, for `chunk_of`; what is told of it was told."""
        return _pack((self.equation, self.pieces))


def chunk_of(data: bytes) -> Chunk:
    """A chunk as it was packed."""
    return Chunk(*_unpack(data), [])


def digest_of_chunk(data: bytes) -> bytes:
    """A digest of a chunk that was packed."""
    return hashlib.blake2b(data, digest_size=16).digest()


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(tuple[Equation, list[DocumentPiece]]).decode


def chunks(
    parts: Iterable[DocumentPart],
    make: FactMaker,
    *,
    with_tests: bool,
    size: int = CHUNK_LINES,
) -> Iterator[Chunk]:
    """Cut what a reader gives; constant memory, and the same chunks each time.

    Args:
        parts: of one file.
        make: makes facts of lines.
        with_tests: take test documents as real ones.
        size: lines of a chunk.

    Raises:
        BrokenDocument: the reader says so.
    """
    chunk = Chunk(Equation(), [], [])
    piece: DocumentPiece | None = None
    for part in parts:
        if isinstance(part, Document):
            if piece is not None:
                piece.is_last = True
            piece = DocumentPiece(part, 0, [], is_left_out=part.is_test and not with_tests)
            chunk.pieces.append(piece)
            continue
        if piece is None:
            raise TypeError("a reader gave a line before its document")
        piece.lines += 1
        chunk.equation.lines += 1
        if piece.is_left_out:
            chunk.equation.refused += 1
            chunk.told.append(NoFact(part.where, Became.REFUSED, _TEST))
        else:
            _take(part, piece, chunk, make)
        if chunk.equation.lines >= size:
            yield chunk
            piece = DocumentPiece(piece.document, piece.lines, [], is_left_out=piece.is_left_out)
            chunk = Chunk(Equation(), [piece], [])
    if piece is not None:
        piece.is_last = True
    yield chunk


def _take(part: DocumentLine, piece: DocumentPiece, chunk: Chunk, make: FactMaker) -> None:
    identity, rank, equation = piece.document.identity, piece.lines, chunk.equation
    try:
        match part:
            case MovedLine():
                piece.facts.append(make.fact(identity, rank, part))
                equation.facts += 1
            case ContainedLine():
                piece.contained.append(make.contained(identity, rank, part))
                equation.facts += 1
            case PackedLine():
                at_us = moment_us(part.time)
                packing = Packing(part.container, at_us, part.is_in, part.things, part.goods)
                piece.packed.append(LinePacked(rank, part.where, part.number, packing))
                equation.not_for_stock += 1
                rule = f"It says what is in the container {part.container}, which is remembered."
                chunk.told.append(NoFact(part.where, Became.NOT_FOR_STOCK, rule))
            case LevelLine():
                piece.levels.append(make.level(identity, rank, part))
                equation.levels += 1
            case RevokingLine():
                found = LineRevocation(identity, rank, part.where, part.document, part.revoked)
                piece.revocations.append(found)
                equation.revocations += 1
            case OtherLine():
                equation.not_for_stock += 1
                chunk.told.append(NoFact(part.where, Became.NOT_FOR_STOCK, part.rule))
            case RefusedLine():
                raise ValueError(part.sentence)
            case _:
                assert_never(part)
    except ValueError as why:
        equation.refused += 1
        chunk.told.append(NoFact(part.where, Became.REFUSED, str(why)))
