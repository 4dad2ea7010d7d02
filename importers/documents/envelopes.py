"""What X12 and EDIFACT have in common: messages in envelopes that say how many there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, NoReturn, Protocol, TypeVar

import msgspec

from importers.documents.port import (
    BrokenDocument,
    Document,
    DocumentPart,
    OtherLine,
    RefusedLine,
)
from importers.documents.values import clip, short_identity

#: Of one interchange or group: their numbers are kept, to see one that comes twice.
_MAX_NUMBERS: Final = 100_000


class MessageEnvelope(msgspec.Struct, frozen=True):
    """What stands around a message.

    `standard`: "x12" or "edifact". `sender`: its id with the word for whose it is. `numbers`: day
    and number of the interchange, and those of group and message. `kind`: 856, DESADV, ….
    """

    standard: str
    sender: str
    numbers: str
    kind: str
    is_test: bool

    @property
    def identity(self) -> str:
        """Of the message, by the numbers around it; a test never has that of a real one."""
        test = "test:" if self.is_test else ""
        return short_identity(f"{test}{self.standard}:{self.sender}:{self.numbers}")


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def where(self) -> str: ...


SomeSegment = TypeVar("SomeSegment", bound=_Named)
_Taken = TypeVar("_Taken", contravariant=True)


class MessageReader(Protocol[_Taken]):
    """Reads one message, segment by segment."""

    def take(self, segment: _Taken) -> Iterator[DocumentPart]:
        """Yield what the message is known to say with this segment."""
        ...


def read_messages(
    segments: Iterable[tuple[MessageEnvelope, SomeSegment]],
    first: str,
    kinds: Mapping[str, Callable[[MessageEnvelope], MessageReader[SomeSegment]]],
    receipts: Collection[str],
) -> Iterator[DocumentPart]:
    """Yield each message as a document; one of a kind that is not read has one line.

    Args:
        segments: of all messages, each from its first to its last.
        first: the name of the first segment.
        kinds: the readers; which one is said by the message and never by its group or
            interchange, whose words for it senders get wrong.
        receipts: kinds that say only that another message arrived.
    """
    reader: MessageReader[SomeSegment] | None = None
    for envelope, segment in segments:
        if segment.name == first:
            make = kinds.get(envelope.kind)
            reader = make(envelope) if make is not None else None
            if reader is None:
                yield Document(
                    identity=envelope.identity, where=segment.where, is_test=envelope.is_test
                )
                yield _unread(envelope.kind, segment.where, kinds, receipts)
        if reader is not None:
            yield from reader.take(segment)


def _unread(
    kind: str, where: str, kinds: Iterable[str], receipts: Collection[str]
) -> OtherLine | RefusedLine:
    if kind in receipts:
        rule = f"A message {clip(kind)} says only that another one arrived."
        return OtherLine(where=where, number="1", rule=rule)
    return RefusedLine(
        where=where,
        number="1",
        sentence=f"A message {clip(kind)} is not read here, but {' and '.join(kinds)} are: leave "
        "it out, or see docs/your-own-format.md for what it would need.",
    )


class EnvelopeChecks:
    """Counts and references of envelopes. `count`: of the segments up to now."""

    def __init__(self) -> None:
        self.count = 0

    def once(self, numbers: set[str], number: str, what: str) -> None:
        """Take in the number of a group or message; raises BrokenDocument if it was there."""
        if number in numbers:
            self.fail(f"Two {what} have the number {clip(number)}")
        if len(numbers) >= _MAX_NUMBERS:
            self.fail(f"There are more than {_MAX_NUMBERS} {what} in one")
        numbers.add(number)

    def same(self, name: str, said: str, count: int, ended: str, number: str, what: str) -> None:
        """Compare what a closing segment says with what there was; raises BrokenDocument."""
        if not (said.isascii() and said.isdigit() and len(said) <= 12) or int(said) != count:
            self.fail(f"{name} says {clip(said)} {what}, and there are {count}")
        if ended != number:
            self.fail(f"{name} ends the number {clip(ended)}, and {clip(number)} is open")

    def fail(self, what: str) -> NoReturn:
        """Raise BrokenDocument with the place."""
        raise broken_interchange(f"Segment {self.count}: {what}")


def broken_interchange(what: str) -> BrokenDocument:
    """Return what is raised for a file of which nothing may be taken."""
    return BrokenDocument(
        f"{what}: have the whole interchange sent again, nothing of it was taken."
    )
