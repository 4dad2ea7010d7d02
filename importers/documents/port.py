"""What a reader of documents is, and what it makes of each line. Pure: no network, no clock.

A *format* is a module with a value of `Format`. Its reader goes over the bytes from the first to
the last and yields, for each document in them, a `Document` and then its lines. It is run twice:
once to check all of it before the first fact is sent (whole or nothing: counts, references and
trailers are the reader's work, and it raises `BrokenDocument`), and once to send. So it keeps
nothing of what it has yielded, and memory does not grow with the file.

Items and places come out as the document names them. What they are here is said by a catalogue
and a list of places, which no reader knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import StrEnum
from typing import BinaryIO, TypeAlias

import msgspec


class Movement(StrEnum):
    """What a line moves; each is one type of event."""

    RECEIVED = "received"
    DISPATCHED = "dispatched"
    SOLD = "sold"
    RETURNED = "returned"
    #: Signed; it has a reason.
    ADJUSTED = "adjusted"


class ForeignName(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """An item or a place as a document names it.

    `scheme`: whose number it is: `gtin` (14 digits, the check digit is right), `gln` (13),
    `sku` or `location` (already ours), or the document's own word in lower case (`buyer`,
    `seller`, `duns`, …). `code` is text, unchanged: zeros lead.
    """

    scheme: str
    code: str


class AnyLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of a document; never by itself, always one of those below.

    `where`: for people: "line 12", "segment 14", "$.epcisBody.eventList[3]". `number`: of this
    line within its document, made of the document's own numbers and never of content, at most
    64 characters; two equal lines have two numbers, and the same line sent again has the same.
    """

    where: str
    number: str


class MovedLine(AnyLine, frozen=True, kw_only=True):
    """Goods moved.

    `quantity`: above 0, but for `Movement.ADJUSTED`, where it is signed and not 0. `unit`: UN/ECE
    Recommendation 20 in capitals ("KGM"), None for pieces. `time`: an instant, RFC 3339 with
    `Z`; `day`: where there is no instant, since the document has no zone, what its local clock
    said: YYYY-MM-DD, or YYYY-MM-DDTHH:MM:SS if there is a time of day. `reason` is given for
    `Movement.ADJUSTED` only.
    """

    movement: Movement
    item: ForeignName
    place: ForeignName
    quantity: Decimal
    unit: str | None = None
    time: str | None = None
    day: str | None = None
    reason: str | None = None
    reference: str | None = None


class LevelLine(AnyLine, frozen=True, kw_only=True):
    """Goods were counted: `quantity` lay there at `time` (or on `day`); it moved nothing."""

    item: ForeignName
    place: ForeignName
    quantity: Decimal
    unit: str | None = None
    time: str | None = None
    day: str | None = None
    reference: str | None = None


class PackedGoods(msgspec.Struct, frozen=True, gc=False):
    """So many of an item; unit: as that of `MovedLine`."""

    item: ForeignName
    unit: str | None
    quantity: Decimal


class PackedLine(AnyLine, frozen=True, kw_only=True):
    """Things went into a container or came out of it: it moves nothing, and is remembered.

    `container`: its SSCC. `time`: an instant, as that of `MovedLine`. `is_in`: else out; `things`
    and `goods` as those of `containers.Packing`.
    """

    container: str
    time: str
    is_in: bool
    things: tuple[str, ...] = ()
    goods: tuple[PackedGoods, ...] = ()


class ContainedLine(AnyLine, frozen=True, kw_only=True):
    """Goods moved in a container, and what lies in it was said elsewhere.

    `container`: its SSCC. `sign`: of a quantity of `Movement.ADJUSTED`, else 1. `time`: an
    instant, of the contents, too. `beside`: what the same goods are named by besides, as that of
    `containers.goods_inside`. All else as in a `MovedLine`.
    """

    movement: Movement
    container: str
    place: ForeignName
    time: str
    beside: frozenset[str]
    sign: int = 1
    reason: str | None = None
    reference: str | None = None


class RevokingLine(AnyLine, frozen=True, kw_only=True):
    """What an earlier line said is taken back, once.

    `document` and `revoked`: identity of that document, or what it is `called`, and the number of
    its line; None for all of its lines. What several are called means all of them that came
    before.
    """

    document: str
    revoked: str | None


class OtherLine(AnyLine, frozen=True, kw_only=True):
    """The line says nothing of stock; `rule` is one sentence that says by which rule."""

    rule: str


class RefusedLine(AnyLine, frozen=True, kw_only=True):
    """The line cannot be read; `sentence` says why and what to do."""

    sentence: str


class Document(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The start of a document; the lines that follow are its own.

    `identity`: of the document's own numbers (sender, interchange, message), at most 512
    characters; the same document sent again has the same. `is_test`: its sender says it is a
    test; it is refused unless it was asked for. `called`: by which its sender cancels or replaces
    it, where that is another; a document and those that replace it one after the other are called
    alike.
    """

    identity: str
    where: str
    is_test: bool = False
    called: str | None = None


#: A line: goods moved, alone or in a container; a count; it takes back; it is not for stock, though
#: what it says of a container may be of use; or it is refused.
DocumentLine: TypeAlias = (
    MovedLine | ContainedLine | LevelLine | RevokingLine | OtherLine | PackedLine | RefusedLine
)
#: What a reader yields: a document, then each of its lines.
DocumentPart: TypeAlias = Document | DocumentLine


class BrokenDocument(Exception):
    """Not one line of the file may be taken; the text says where, why and what to do."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A format that is known by what stands in the first bytes.

    `name`: one lower-case word, for `--format` ("epcis-xml"). `looks_like`: whether the first
    4,096 bytes are of this format. `read`: all parts of a file that stands at its first byte;
    raises BrokenDocument.
    """

    name: str
    looks_like: Callable[[bytes], bool]
    read: Callable[[BinaryIO], Iterator[DocumentPart]]
