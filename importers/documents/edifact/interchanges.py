"""EDIFACT segment by segment, with the envelopes around them checked.

The separators are those of each UNA, and the usual ones where there is none. A reader that has got
all messages without `BrokenDocument` knows that every count and reference of UNT, UNE and UNZ
agreed and that the end was there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

from importers.documents.envelopes import EnvelopeChecks, MessageEnvelope, broken_interchange
from importers.documents.values import as_text, clip

_CHUNK_BYTES: Final = 1 << 16
_MAX_SEGMENT_BYTES: Final = 1 << 20
_USUAL: Final = b":+.? '"
_NAME = re.compile(r"[A-Z]{3}")
_SPACE: Final = b" \t\r\n"


class EdifactSegment(msgspec.Struct, frozen=True):
    """A segment. `number` within its message, UNH being 1; `marks`: what decimals begin with."""

    name: str
    elements: list[list[str]]
    number: int
    where: str
    marks: str

    def at(self, element: int, component: int = 1) -> str:
        """Return a component by its position from 1 on; "" where there is none."""
        if element > len(self.elements):
            return ""
        components = self.elements[element - 1]
        return components[component - 1] if component <= len(components) else ""


class _Signs(msgspec.Struct, frozen=True):
    """Those of a UNA; `segment` finds a whole segment with its terminator."""

    component: bytes
    element: bytes
    release: bytes
    terminator: bytes
    marks: str
    segment: re.Pattern[bytes]


def edifact_segments(file: BinaryIO) -> Iterator[tuple[MessageEnvelope, EdifactSegment]]:
    """Yield the segments of all messages, each from UNH to UNT.

    Raises:
        BrokenDocument: an envelope does not hold; at the latest at the end.
    """
    envelopes = _Envelopes()
    for signs, raw in _raw_segments(file):
        yield from envelopes.take(signs.marks, _split(raw, signs))
    envelopes.end()


def _raw_segments(file: BinaryIO) -> Iterator[tuple[_Signs, bytes]]:
    signs = _signs(_USUAL, ".,")
    buffer, at, more = b"", 0, True
    while True:
        while at < len(buffer) and buffer[at] in _SPACE:
            at += 1
        found = None
        if buffer[at : at + 3] == b"UNA":
            if len(buffer) - at >= 9:
                signs = _signs(buffer[at + 3 : at + 9], buffer[at + 5 : at + 6].decode("latin-1"))
                at += 9
                continue
        elif found := signs.segment.match(buffer, at):
            at = found.end()
            yield signs, found[0]
            if found[0].startswith(b"UNZ"):
                signs = _signs(_USUAL, ".,")  # the next interchange has a UNA of its own or none
            continue
        if len(buffer) - at > _MAX_SEGMENT_BYTES:
            raise broken_interchange("A segment does not end: its terminator does not come")
        if not more:
            break
        # Whole pieces, so that a long segment is not looked at again for each.
        chunk = file.read(_CHUNK_BYTES)
        more = bool(chunk)
        buffer, at = buffer[at:] + chunk, 0
    if buffer[at:].strip(_SPACE + b"\x1a\0"):
        raise broken_interchange(
            f"The file ends within a segment ({clip(as_text(buffer[at : at + 40]))})"
        )


def _signs(una: bytes, marks: str) -> _Signs:
    component, element, release, terminator = una[:1], una[1:2], una[3:4], una[5:6]
    signs = [component, element, terminator] + ([release] if release != b" " else [])
    if len(set(signs)) != len(signs) or any(sign.isalnum() for sign in [*signs, una[2:3]]):
        raise broken_interchange(
            f"UNA names signs that cannot be told apart ({clip(as_text(una))})"
        )
    end, skip = re.escape(terminator), re.escape(release)
    # A released sign stands for itself, also the terminator and the release sign.
    pattern = rb"[^%s]*+%s" % (end, end)
    if release != b" ":
        pattern = rb"(?:[^%s%s]++|%s[\s\S])*+%s" % (end, skip, skip, end)
    return _Signs(component, element, release, terminator, marks, re.compile(pattern))


def _split(raw: bytes, signs: _Signs) -> list[list[str]]:
    body = raw[:-1]
    if signs.release == b" " or signs.release not in body:
        return [
            [as_text(one).strip() for one in element.split(signs.component)]
            for element in body.split(signs.element)
        ]
    elements: list[list[str]] = [[]]
    piece = bytearray()
    position = 0
    while position < len(body):
        sign = body[position : position + 1]
        if sign == signs.release:
            position += 1
            piece += body[position : position + 1]
        elif sign in (signs.component, signs.element):
            elements[-1].append(as_text(bytes(piece)).strip())
            piece.clear()
            if sign == signs.element:
                elements.append([])
        else:
            piece += sign
        position += 1
    elements[-1].append(as_text(bytes(piece)).strip())
    return elements


class _Envelopes(EnvelopeChecks):
    """Where we are: in no interchange, in one, in a group of it, or in a message."""

    def __init__(self) -> None:
        super().__init__()
        self.unb: EdifactSegment | None = None
        self.ung: EdifactSegment | None = None
        self.unh = ""
        self.messages: set[str] = set()
        self.groups: set[str] = set()
        self.in_group = 0
        self.envelope: MessageEnvelope | None = None
        self.number = 0
        self.interchanges = 0

    def take(
        self, marks: str, raw: list[list[str]]
    ) -> Iterator[tuple[MessageEnvelope, EdifactSegment]]:
        self.count += 1
        name = raw[0][0]
        if not _NAME.fullmatch(name):
            self.fail(f"{clip(name)} is no name of a segment")
        where = f"segment {self.count} ({name})"
        if self.envelope is None:
            self.around(EdifactSegment(name, raw[1:], 0, where, marks))
            if self.envelope is None:
                return
        elif name in ("UNB", "UNG", "UNH", "UNE", "UNZ"):
            self.fail(f"{name} comes before the UNT of the message {clip(self.unh)}")
        envelope = self.envelope
        self.number += 1
        segment = EdifactSegment(name, raw[1:], self.number, where, marks)
        yield envelope, segment
        if name == "UNT":
            self.closes(segment, self.number, self.unh, "segments")
            self.envelope = None

    def around(self, segment: EdifactSegment) -> None:
        name = segment.name
        if name == "UNB":
            if self.unb is not None:
                self.fail("A UNB comes before the UNZ of the interchange before")
            self.interchanges += 1
            self.unb, self.messages, self.groups = segment, set(), set()
        elif self.unb is None:
            self.fail(f"{name} comes without a UNB before it")
        elif name == "UNG" and self.ung is None:
            self.ung, self.in_group = segment, 0
            self.once(self.groups, segment.at(5), "groups")
        elif name == "UNH":
            self.in_group += 1
            self.unh, self.number = segment.at(1), 0
            self.once(self.messages, self.unh, "messages")
            self.envelope = MessageEnvelope(
                standard="edifact",
                sender=f"{self.unb.at(2, 2)}:{self.unb.at(2)}",
                # The references alone come round again; some senders have one for ever.
                numbers=f"{self.unb.at(4)}:{self.unb.at(5)}:{self.unh}",
                kind=segment.at(2),
                is_test=self.unb.at(11) == "1",
            )
        elif name == "UNE" and self.ung is not None:
            self.closes(segment, self.in_group, self.ung.at(5), "messages")
            self.ung = None
        elif name == "UNZ" and self.ung is None:
            count, what = (
                (len(self.groups), "groups") if self.groups else (len(self.messages), "messages")
            )
            self.closes(segment, count, self.unb.at(5), what)
            self.unb = None
        else:
            self.fail(f"{name} stands where it cannot")

    def closes(self, segment: EdifactSegment, count: int, reference: str, what: str) -> None:
        self.same(segment.name, segment.at(1), count, segment.at(2), reference, what)

    def end(self) -> None:
        if self.unb is not None or not self.interchanges:
            raise broken_interchange("The file ends before the UNZ of its interchange")
