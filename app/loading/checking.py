"""The first reading of a file: all of it is checked before the first fact is sent. Asks nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import BinaryIO, Final, cast

import msgspec

from app.loading.facts import SOURCE, FactMaker, LineContained, LineFact, LineLevel
from app.loading.found.digests import DocumentDigest
from app.loading.found.spool import KeptAt, Spool
from app.loading.given import GivenFile
from app.loading.pieces import (
    Became,
    Chunk,
    Equation,
    LineRevocation,
    NoFact,
    chunk_of,
    chunks,
    digest_of_chunk,
)
from core.lately import Lately
from core.refusals import Refused
from core.words import in_words
from domain.events import StockEvent
from domain.rules.held import CURRENT
from domain.rules.sets import RuleSet
from importers.documents.known import FIRST_BYTES, UnknownFormat, format_of
from importers.documents.port import BrokenDocument, Document, Format

#: Of one file; each is remembered by name while it is loaded.
_MAX_DOCUMENTS: Final = 100_000
_MAX_IDENTITY_CHARS: Final = 512
#: Of one file, and so many containers; each is kept until it is decided.
MOST_LEVELS: Final = 100_000
_FIRST: Final = 10


class FileRefused(Exception):
    """A file that cannot be loaded; the message is one sentence that names it."""


class SeenDocument(msgspec.Struct):
    """A document of a file.

    lines, facts: how many; counts are no facts yet. digest: of all that it says. called: by what
    later ones take it back, where that is not its identity. uncontained: the digest without what
    it says of containers; "" where it says nothing of them. packs: it says what lies in one.
    """

    where: str
    lines: int
    facts: int
    digest: str
    called: str = ""
    uncontained: str = ""
    packs: bool = False


class CheckedFile(msgspec.Struct, frozen=True):
    """A file that was read to its end.

    sha256: of its bytes. documents: by identity, in their order, without tests that are left out.
    chunks: the digest of each; kept: where each was kept, None where they were not. judged: those
    of which the rules refused something. first: some facts. version: to see whether it is still
    the same. forbidden: of the lines whose facts whoever loads may not write, the first. levels,
    revocations, contained: all, in their order. packed: where it first says what is in a
    container; None: nowhere.
    """

    file: GivenFile
    format: Format
    sha256: str
    equation: Equation
    documents: dict[str, SeenDocument]
    chunks: list[bytes]
    judged: frozenset[int]
    first: list[LineFact]
    version: tuple[int, int]
    forbidden: list[NoFact]
    levels: list[LineLevel] = []
    revocations: list[LineRevocation] = []
    contained: list[LineContained] = []
    packed: str | None = None
    kept: list[KeptAt] | None = None


class Opened:
    """How files are read, both times.

    Args:
        make: makes facts.
        with_tests: take test documents as real ones.
        given: the format of a file, by its name and first bytes; None: each has the one that it
            looks like.
        name: of the format to look for, or None.
        rules: that the table judges by.
        may_write: why facts of a source and location may not be written, as a sentence; None:
            whoever loads may write all.
        most_levels: of one file; each is kept until it is decided, and asked for one by one.
        spool: where what was found is kept for the second time; None: files are read twice.
    """

    def __init__(
        self,
        make: FactMaker,
        *,
        with_tests: bool,
        given: Callable[[str, bytes], Format] | None,
        name: str | None,
        rules: RuleSet = CURRENT,
        may_write: Callable[[str, str], str | None] | None = None,
        most_levels: int = MOST_LEVELS,
        spool: Spool | None = None,
    ) -> None:
        self._spool = spool
        self.make, self._given, self._name = make, given, name
        self._rules, self._most_levels = rules, most_levels
        self._why_not = None
        if may_write is not None:
            self._why_not = Lately[str, str | None](lambda location: may_write(SOURCE, location))
        self.with_tests = with_tests

    def check(
        self, given: GivenFile, told: Callable[[NoFact], None], said: Callable[[int], None]
    ) -> CheckedFile:
        """Read a file to its end.

        Args:
            given: the file.
            told: is given each line that is no fact.
            said: is told now and then how many lines were read.

        Raises:
            FileRefused: nothing of it can be loaded.
        """
        try:
            with given.open() as file:
                return self._check(given, file, told, said)
        except OSError as error:
            raise FileRefused(f"{given} cannot be read: {error.strerror}.") from None
        except (BrokenDocument, UnknownFormat) as why:
            raise FileRefused(f"{given}: {why}") from None

    def chunks(self, checked: CheckedFile) -> Iterator[Chunk]:
        """Give what was checked: as it was kept, or by reading the file again.

        Raises:
            FileRefused: it is no longer the same.
        """
        kept = None
        if self._spool is not None and checked.kept is not None:
            kept = self._spool.read(checked.kept)
        return self._read_again(checked) if kept is None else _as_kept(checked, kept)

    def _read_again(self, checked: CheckedFile) -> Iterator[Chunk]:
        digests = iter(checked.chunks)
        try:
            with checked.file.open() as file:
                for number, chunk in enumerate(self._cut(checked.format, file)):
                    if number in checked.judged:
                        self._judged(chunk)
                    if digest_of_chunk(chunk.packed()) != next(digests, None):
                        raise BrokenDocument("It is another one.")
                    yield chunk
                if next(digests, None) is None:
                    return
        except (OSError, BrokenDocument):
            pass
        raise FileRefused(
            f"{checked.file} was changed while it was loaded: load it again when it is whole; "
            "what was sent is remembered."
        )

    def _cut(self, by: Format, file: BinaryIO) -> Iterator[Chunk]:
        parts = by.read(file)
        return chunks(parts, self.make, with_tests=self.with_tests)

    def _check(
        self,
        given: GivenFile,
        file: BinaryIO,
        told: Callable[[NoFact], None],
        said: Callable[[int], None],
    ) -> CheckedFile:
        if not file.seekable():
            raise FileRefused(f"{given} cannot be read twice: save it as a file first.")
        head = file.read(FIRST_BYTES)
        by = format_of(head, self._name) if self._given is None else self._given(given.name, head)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants readinto
        file.seek(0)
        seen = _Seen(self._most_levels, self._spool)
        judged: set[int] = set()
        forbidden: list[NoFact] = []
        for number, chunk in enumerate(self._cut(by, file)):
            lines = chunk.equation.refused
            events = self._judged(chunk)
            if chunk.equation.refused > lines:
                judged.add(number)
            forbidden += self._forbidden(chunk, events, _FIRST - len(forbidden))
            for one in chunk.told:
                told(one)
            seen.add(chunk)
            said(seen.equation.lines)
        assert seen.equation.holds(), seen.equation
        return CheckedFile(
            file=given,
            format=by,
            sha256=sha256,
            equation=seen.equation,
            documents=seen.documents,
            chunks=seen.chunks,
            judged=frozenset(judged),
            first=seen.first,
            version=given.version(),
            forbidden=forbidden,
            levels=seen.levels,
            revocations=seen.revocations,
            contained=seen.contained,
            packed=seen.packed,
            kept=seen.kept,
        )

    def _judged(self, chunk: Chunk) -> list[StockEvent]:
        """Refuse what the rules that the table judges by would; return what is left, as it reads.

        It is in the order of the chunk's facts.
        """
        values = [fact.value for piece in chunk.pieces for fact in piece.facts]
        # As they will be read: FACT_HEADERS say no more than none do, and cost more to look at.
        found = self._rules.decode_batch(values, [()] * len(values))
        if Refused not in set(map(type, found)):
            return cast("list[StockEvent]", found)
        events = iter(found)
        for piece in chunk.pieces:
            judged = [(fact, next(events)) for fact in piece.facts]
            refused = [(fact, event) for fact, event in judged if isinstance(event, Refused)]
            if refused:
                piece.facts = [fact for fact, event in judged if not isinstance(event, Refused)]
                for fact, why in refused:
                    chunk.equation.facts -= 1
                    chunk.equation.refused += 1
                    chunk.told.append(NoFact(fact.where, Became.REFUSED, why.detail))
        return [event for event in found if not isinstance(event, Refused)]

    def _forbidden(self, chunk: Chunk, events: list[StockEvent], most: int) -> list[NoFact]:
        """The first lines whose facts whoever loads may not write, then such counts."""
        why_not = self._why_not
        if why_not is None or most <= 0:
            return []
        facts = (fact.where for piece in chunk.pieces for fact in piece.facts)
        moved = zip(facts, (event.data.location for event in events), strict=True)
        levels = (level for piece in chunk.pieces for level in piece.levels)
        counted = ((level.where, level.count.location) for level in levels)
        inside = (one for piece in chunk.pieces for one in piece.contained)
        contained = ((one.line.where, one.location) for one in inside)
        places = chain(moved, counted, contained)
        lines = ((where, why_not[location]) for where, location in places)
        found = (NoFact(where, Became.REFUSED, why) for where, why in lines if why is not None)
        return list(islice(found, most))


def _as_kept(checked: CheckedFile, kept: Iterator[bytes]) -> Iterator[Chunk]:
    try:
        yield from map(chunk_of, kept)
    except OSError as error:
        raise FileRefused(
            f"What was read of {checked.file} was kept, and does not come back "
            f"({in_words(error)}): load it again; what was sent is remembered."
        ) from None


def refuse_twice(files: Iterable[CheckedFile]) -> None:
    """Refuse files of which two hold one document: what is remembered is read before both.

    Raises:
        FileRefused: names both.
    """
    seen: dict[str, GivenFile] = {}
    for file in files:
        for name in (*file.documents, file.sha256):
            if (other := seen.setdefault(name, file.file)) is not file.file:
                what = "The same bytes" if name == file.sha256 else f"The document {name!a}"
                raise FileRefused(
                    f"{file.file}: {what} came in {other}, too: leave one out, or load them one "
                    "after the other."
                )


class _Seen:
    """Collects what is kept of a file."""

    def __init__(self, most_levels: int, spool: Spool | None) -> None:
        self._most_levels, self._spool = most_levels, spool
        self.kept: list[KeptAt] | None = None if spool is None else []
        self.equation = Equation()
        self.documents: dict[str, SeenDocument] = {}
        self.chunks: list[bytes] = []
        self.first: list[LineFact] = []
        self.levels: list[LineLevel] = []
        self.revocations: list[LineRevocation] = []
        self.contained: list[LineContained] = []
        self.packed: str | None = None
        self._open: Document | None = None
        self._digest = DocumentDigest()

    def add(self, chunk: Chunk) -> None:
        """Take in a chunk. Raises BrokenDocument."""
        self.equation.add(chunk.equation)
        self._keep(chunk.packed())
        for piece in chunk.pieces:
            if piece.is_left_out:
                continue
            document = piece.document
            if self._open is not document:
                self._begin(document)
            seen = self.documents[document.identity]
            seen.lines = piece.lines
            seen.facts += len(piece.facts)
            self._digest.add(piece)
            self.levels += piece.levels
            self.revocations += piece.revocations
            self.contained += piece.contained
            if piece.packed:
                seen.packs = True
                self.packed = self.packed or piece.packed[0].where
            for some, what in ((self.levels, "counts"), (self.contained, "containers")):
                if len(some) > (most := self._most_levels):
                    raise BrokenDocument(f"It has more than {most:,} {what}: split it.")
            if piece.is_last:
                seen.digest = self._digest.hexdigest()
                seen.uncontained = self._digest.uncontained()
            if len(self.first) < _FIRST:
                self.first += piece.facts[: _FIRST - len(self.first)]

    def _keep(self, packed: bytes) -> None:
        self.chunks.append(digest_of_chunk(packed))
        if self._spool is None or self.kept is None:
            return
        if (where := self._spool.keep(packed)) is None:
            self.kept = None
        else:
            self.kept.append(where)

    def _begin(self, document: Document) -> None:
        identity = document.identity
        if not 1 <= len(identity) <= _MAX_IDENTITY_CHARS:
            raise BrokenDocument(
                f"The document at {document.where} has a number of {len(identity):,} characters; "
                f"1 to {_MAX_IDENTITY_CHARS} can be remembered."
            )
        if (before := self.documents.get(identity)) is not None:
            raise BrokenDocument(
                f"The documents at {before.where} and {document.where} have one number, "
                f"{identity!a}: ask the sender which one counts, and leave the other out."
            )
        if len(self.documents) >= _MAX_DOCUMENTS:
            raise BrokenDocument(f"It has more than {_MAX_DOCUMENTS:,} documents: split it.")
        called = document.called or ""
        self.documents[identity] = SeenDocument(document.where, 0, 0, "", called)
        self._open, self._digest = document, DocumentDigest()
