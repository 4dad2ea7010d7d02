"""The first reading of a file: all of it is checked before the first fact is sent. Asks nobody."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from app.loading.facts import FactMaker, LineFact
from app.loading.pieces import Became, Chunk, Equation, NoFact, chunks
from core.refusals import Refused
from domain.rules.held import CURRENT
from importers.documents.known import FIRST_BYTES, UnknownFormat, format_of
from importers.documents.port import BrokenDocument, Document, Format

#: Of one file; each is remembered by name while it is loaded.
_MAX_DOCUMENTS: Final = 100_000
_MAX_IDENTITY_CHARS: Final = 512
_FIRST: Final = 10


class FileRefused(Exception):
    """A file that cannot be loaded; the message is one sentence that names it."""


class SeenDocument(msgspec.Struct):
    """A document of a file.

    lines, facts: how many. digest: of all that would be sent for it.
    """

    where: str
    lines: int
    facts: int
    digest: str


class CheckedFile(msgspec.Struct, frozen=True):
    """A file that was read to its end.

    sha256: of its bytes. documents: by identity, in their order, without tests that are left out.
    chunks: the digest of each; judged: those of which the rules refused something. first: some
    facts. version: size and time of change, to see whether it is still the same.
    """

    path: Path
    format: Format
    sha256: str
    equation: Equation
    documents: dict[str, SeenDocument]
    chunks: list[bytes]
    judged: frozenset[int]
    first: list[LineFact]
    version: tuple[int, int]


class Opened:
    """How files are read, both times.

    Args:
        make: makes facts.
        with_tests: take test documents as real ones.
        given: the format of a file, by its path and first bytes; None: each has the one that it
            looks like.
        name: of the format to look for, or None.
    """

    def __init__(
        self,
        make: FactMaker,
        *,
        with_tests: bool,
        given: Callable[[Path, bytes], Format] | None,
        name: str | None,
    ) -> None:
        self._make, self._given, self._name = make, given, name
        self.with_tests = with_tests

    def check(
        self, path: Path, told: Callable[[NoFact], None], said: Callable[[int], None]
    ) -> CheckedFile:
        """Read a file to its end.

        Args:
            path: of the file.
            told: is given each line that is no fact.
            said: is told now and then how many lines were read.

        Raises:
            FileRefused: nothing of it can be loaded.
        """
        try:
            with path.open("rb") as file:
                return self._check(path, file, told, said)
        except OSError as error:
            raise FileRefused(f"{path} cannot be read: {error.strerror}.") from None
        except (BrokenDocument, UnknownFormat) as why:
            raise FileRefused(f"{path}: {why}") from None

    def chunks(self, checked: CheckedFile) -> Iterator[Chunk]:
        """Read a file again, and give what was checked.

        Raises:
            FileRefused: it is no longer the same.
        """
        digests = iter(checked.chunks)
        try:
            with checked.path.open("rb") as file:
                for number, chunk in enumerate(self._cut(checked.format, file)):
                    if number in checked.judged:
                        _check_by_rules(chunk)
                    if chunk.digest() != next(digests, None):
                        raise BrokenDocument("It is another one.")
                    yield chunk
                if next(digests, None) is None:
                    return
        except (OSError, BrokenDocument):
            pass
        raise FileRefused(
            f"{checked.path} was changed while it was loaded: load it again when it is whole; "
            "what was sent is remembered."
        )

    def _cut(self, by: Format, file: BinaryIO) -> Iterator[Chunk]:
        return chunks(by.read(file), self._make, with_tests=self.with_tests)

    def _check(
        self,
        path: Path,
        file: BinaryIO,
        told: Callable[[NoFact], None],
        said: Callable[[int], None],
    ) -> CheckedFile:
        if not file.seekable():
            raise FileRefused(f"{path} cannot be read twice: save it as a file first.")
        head = file.read(FIRST_BYTES)
        by = format_of(head, self._name) if self._given is None else self._given(path, head)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants readinto
        file.seek(0)
        seen = _Seen()
        judged = set()
        for number, chunk in enumerate(self._cut(by, file)):
            if _check_by_rules(chunk):
                judged.add(number)
            for one in chunk.told:
                told(one)
            seen.add(chunk)
            said(seen.equation.lines)
        assert seen.equation.holds(), seen.equation
        return CheckedFile(
            path=path,
            format=by,
            sha256=sha256,
            equation=seen.equation,
            documents=seen.documents,
            chunks=seen.chunks,
            judged=frozenset(judged),
            first=seen.first,
            version=version_of(path),
        )


def refuse_twice(files: Iterable[CheckedFile]) -> None:
    """Refuse files of which two hold one document: what is remembered is read before both.

    Raises:
        FileRefused: names both.
    """
    seen: dict[str, Path] = {}
    for file in files:
        for name in (*file.documents, file.sha256):
            if (other := seen.setdefault(name, file.path)) is not file.path:
                what = "The same bytes" if name == file.sha256 else f"The document {name!a}"
                raise FileRefused(
                    f"{file.path}: {what} came in {other}, too: leave one out, or load them one "
                    "after the other."
                )


def version_of(path: Path) -> tuple[int, int]:
    """Size and time of change."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


class _Seen:
    """Collects what is kept of a file."""

    def __init__(self) -> None:
        self.equation = Equation()
        self.documents: dict[str, SeenDocument] = {}
        self.chunks: list[bytes] = []
        self.first: list[LineFact] = []
        self._open: Document | None = None
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, chunk: Chunk) -> None:
        """Take in a chunk. Raises BrokenDocument."""
        self.equation.add(chunk.equation)
        self.chunks.append(chunk.digest())
        for piece in chunk.pieces:
            if piece.is_left_out:
                continue
            document = piece.document
            if self._open is not document:
                self._begin(document)
            seen = self.documents[document.identity]
            seen.lines = piece.lines
            seen.facts += len(piece.facts)
            self._digest.update(b"".join([fact.value for fact in piece.facts]))
            if piece.is_last:
                seen.digest = self._digest.hexdigest()
            if len(self.first) < _FIRST:
                self.first += piece.facts[: _FIRST - len(self.first)]

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
        self.documents[identity] = SeenDocument(document.where, 0, 0, "")
        self._open, self._digest = document, hashlib.blake2b(digest_size=16)


def _check_by_rules(chunk: Chunk) -> bool:
    """Refuse what the rules that the table judges by would refuse; tell whether that was any."""
    values = [fact.value for piece in chunk.pieces for fact in piece.facts]
    # As they will be read: FACT_HEADERS say no more than none do, and cost more to look at.
    found = CURRENT.decode_batch(values, [()] * len(values))
    if Refused not in set(map(type, found)):
        return False
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
    return True
