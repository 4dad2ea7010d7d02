"""What a message is in relation to an earlier one: X12 element 353, EDIFACT element 1225."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

from importers.documents.port import (
    AnyLine,
    Document,
    DocumentPart,
    LevelLine,
    MovedLine,
    OtherLine,
    RefusedLine,
    RevokingLine,
)
from importers.documents.values import clip, short_identity


class Purpose(Enum):
    """What is done with the lines of a message."""

    ORIGINAL = "original"
    CANCELS = "cancels"
    REPLACES = "replaces"
    DUPLICATE = "duplicate"
    UNCLEAR = "unclear"


X12_PURPOSES: Final = {
    "00": Purpose.ORIGINAL,
    "01": Purpose.CANCELS,
    "05": Purpose.REPLACES,
    "07": Purpose.DUPLICATE,
}
EDIFACT_PURPOSES: Final = {
    "": Purpose.ORIGINAL,
    "1": Purpose.CANCELS,
    "5": Purpose.REPLACES,
    "7": Purpose.DUPLICATE,
    "9": Purpose.ORIGINAL,
    "31": Purpose.DUPLICATE,
}


class Message:
    """A message whose sender has a number for what it is about, such as a shipment.

    Args:
        called: that number with the sender's; the same in each message about it.
        identity: of an original.
        control: numbers of this one message, for those about an earlier one.
        code: as the message has it.
        purposes: what the codes mean.
        where: of the message.
        is_test: as its interchange says.
    """

    def __init__(
        self,
        called: str,
        identity: str,
        control: str,
        code: str,
        purposes: dict[str, Purpose],
        where: str,
        *,
        is_test: bool,
    ) -> None:
        self.purpose = purposes.get(code, Purpose.UNCLEAR)
        self._code, self._where = code, where
        # A test must never stand for the real one that has its number.
        test = "test:" if is_test else ""
        self._called = short_identity(test + called)
        own = (
            identity
            if self.purpose is Purpose.ORIGINAL
            else f"{called}:{self.purpose.value}:{control}"
        )
        self.document = Document(
            identity=short_identity(test + own), where=where, is_test=is_test, called=self._called
        )

    def begin(self) -> Iterator[DocumentPart]:
        """Yield the document, and that it takes an earlier one back if it does."""
        yield self.document
        if self.purpose in (Purpose.CANCELS, Purpose.REPLACES):
            yield RevokingLine(
                where=self._where, number="message", document=self._called, revoked=None
            )

    def judged(self, line: MovedLine | LevelLine | OtherLine | RefusedLine) -> DocumentPart:
        """Return the line as it counts in such a message."""
        if self.purpose in (Purpose.ORIGINAL, Purpose.REPLACES):
            return line
        if self.purpose is Purpose.UNCLEAR:
            return _refused(
                line,
                f"The message says that its function is {clip(self._code)}, which does not say "
                "whether its goods count: ask its sender for an original or a replacement.",
            )
        rule = (
            "The message says that it is a duplicate, which counts nothing."
            if self.purpose is Purpose.DUPLICATE
            else "The message cancels an earlier one, whose lines count, and not these."
        )
        return OtherLine(where=line.where, number=line.number, rule=rule)


def _refused(line: AnyLine, sentence: str) -> RefusedLine:
    return RefusedLine(where=line.where, number=line.number, sentence=sentence)
