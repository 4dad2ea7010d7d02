"""X12 segment by segment, with the envelopes around them checked.

The separators are those of each ISA, which has fixed widths for that: no sign is known before.
A reader that has got all transaction sets without `BrokenDocument` knows that every count and
reference of GE, SE and IEA agreed and that the end was there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

from importers.documents.envelopes import EnvelopeChecks, MessageEnvelope, broken_interchange
from importers.documents.values import as_text, clip

_CHUNK_BYTES: Final = 1 << 16
MAX_SEGMENT_BYTES: Final = 1 << 20
ISA_BYTES: Final = 106
#: Where the element separators stand in the ISA; then the component separator and the terminator.
_SEPARATORS: Final = (3, 6, 17, 20, 31, 34, 50, 53, 69, 76, 81, 83, 89, 99, 101, 103)
_NAME = re.compile(r"[A-Z][A-Z0-9]{1,2}")
_SPACE: Final = b" \t\r\n"


class X12Segment(msgspec.Struct, frozen=True):
    """A segment. `number` within its transaction set, ST being 1; 0 outside of one."""

    name: str
    elements: list[str]
    number: int
    where: str

    def __getitem__(self, position: int) -> str:
        """Element by the position that X12 gives it, from 1 on; "" where there is none."""
        return self.elements[position - 1] if position <= len(self.elements) else ""


def x12_segments(file: BinaryIO) -> Iterator[tuple[MessageEnvelope, X12Segment]]:
    """Yield the segments of all transaction sets, each from ST to SE.

    Raises:
        BrokenDocument: an envelope does not hold; at the latest at the end.
    """
    envelopes = _Envelopes()
    for raw in _raw_segments(file):
        yield from envelopes.take(raw)
    envelopes.end()


def _raw_segments(file: BinaryIO) -> Iterator[list[str]]:
    """Yield name and elements of each segment; the ISA begins again with separators of its own."""
    buffer, separator, terminator = b"", b"", b""
    at = 0
    more = True
    while True:
        # Some files have each segment in a line of its own, with spaces before it.
        while at < len(buffer) and buffer[at] in _SPACE and buffer[at : at + 1] != terminator:
            at += 1
        end = -1
        if buffer[at : at + 3] == b"ISA" or not terminator:
            if len(buffer) - at >= ISA_BYTES:
                separator, terminator = _signs(buffer[at : at + ISA_BYTES])
                end = at + ISA_BYTES - 1
        else:
            end = buffer.find(terminator, at)
        if end >= 0:
            raw, at = buffer[at:end], end + 1
            if raw.strip():  # a terminator that ends a line may end an empty one, too
                yield [as_text(one).strip() for one in raw.split(separator)]
            continue
        if len(buffer) - at > MAX_SEGMENT_BYTES:
            raise broken_interchange(
                "A segment does not end: the terminator of the ISA does not come"
            )
        if not more:
            break
        chunk = file.read(_CHUNK_BYTES)
        more = bool(chunk)
        buffer, at = buffer[at:] + chunk, 0
    if buffer[at:].strip(_SPACE + b"\x1a\0"):
        raise broken_interchange(
            f"The file ends within a segment ({clip(as_text(buffer[at : at + 40]))})"
        )


def _signs(isa: bytes) -> tuple[bytes, bytes]:
    separator, terminator = isa[3:4], isa[105:106]
    if (
        not isa.startswith(b"ISA")
        or any(isa[at : at + 1] != separator for at in _SEPARATORS)
        or separator == terminator
        or separator.isalnum()
        or terminator.isalnum()
    ):
        raise broken_interchange(
            "The file does not begin with an ISA of 106 characters in which 16 elements have "
            "their fixed widths"
        )
    return separator, terminator


class _Envelopes(EnvelopeChecks):
    """Where we are: in no interchange, in one, in a group of it, or in a set of that."""

    def __init__(self) -> None:
        super().__init__()
        self.isa: list[str] = []
        self.gs: list[str] = []
        self.st: list[str] = []
        self.groups: set[str] = set()
        self.sets: set[str] = set()
        self.envelope: MessageEnvelope | None = None
        self.number = 0
        self.interchanges = 0

    def take(self, raw: list[str]) -> Iterator[tuple[MessageEnvelope, X12Segment]]:
        self.count += 1
        name, elements = raw[0], raw[1:]
        if not _NAME.fullmatch(name):
            self.fail(f"{clip(name)} is no name of a segment")
        if self.envelope is None:
            self.around(name, elements)
            if self.envelope is None:
                return
        elif name in ("ISA", "GS", "ST", "GE", "IEA"):
            self.fail(f"{name} comes before the SE of the set {clip(self.st[1])}")
        envelope = self.envelope
        self.number += 1
        where = f"segment {self.count} ({name})"
        yield envelope, X12Segment(name, elements, self.number, where)
        if name == "SE":
            said, ended = _filled(elements, 2)[:2]
            self.same("SE", said, self.number, ended, self.st[1], "segments")
            self.envelope = None

    def around(self, name: str, elements: list[str]) -> None:
        if name == "ISA":
            if self.isa:
                self.fail("An ISA comes before the IEA of the interchange before")
            self.interchanges += 1
            self.isa, self.groups = elements, set()
        elif not self.isa:
            self.fail(f"{name} comes without an ISA before it")
        elif name == "GS" and not self.gs:
            self.gs, self.sets = _filled(elements, 8), set()
            self.once(self.groups, self.gs[5], "groups")
        elif name == "ST" and self.gs:
            self.st, self.number = _filled(elements, 2), 0
            self.once(self.sets, self.st[1], "sets")
            isa, gs = self.isa, self.gs
            self.envelope = MessageEnvelope(
                standard="x12",
                sender=f"{isa[4]}:{isa[5]}",
                # The control numbers alone come round again; some senders have one for ever.
                numbers=f"{isa[8]}:{isa[12]}:{gs[5]}:{self.st[1]}",
                kind=self.st[0],
                is_test=isa[14] == "T",
            )
        elif name == "GE" and self.gs:
            said, ended = _filled(elements, 2)[:2]
            self.same("GE", said, len(self.sets), ended, self.gs[5], "sets")
            self.gs = []
        elif name == "IEA" and not self.gs:
            # A converter's own terminator before the one of the ISA is no part of the number.
            said, ended = (one.rstrip("~^'|") for one in _filled(elements, 2)[:2])
            self.same("IEA", said, len(self.groups), ended, self.isa[12], "groups")
            self.isa = []
        elif name != "TA1" or self.gs:
            self.fail(f"{name} stands where it cannot")

    def end(self) -> None:
        if self.isa or not self.interchanges:
            raise broken_interchange("The file ends before the IEA of its interchange")


def _filled(elements: list[str], count: int) -> list[str]:
    return elements + [""] * (count - len(elements))
