"""X12 as a format: each transaction set is a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from importers.documents.envelopes import read_messages
from importers.documents.port import DocumentPart, Format
from importers.documents.x12.activities import ProductActivity
from importers.documents.x12.interchanges import ISA_BYTES, x12_segments
from importers.documents.x12.shipnotices import ShipNotice

_SETS: Final[dict[str, type[ProductActivity] | type[ShipNotice]]] = {
    "852": ProductActivity,
    "856": ShipNotice,
}
_RECEIPTS: Final = ("997", "999", "824")


def read_x12(file: BinaryIO) -> Iterator[DocumentPart]:
    """Yield each transaction set and its lines.

    Raises:
        BrokenDocument: an envelope does not hold.
    """
    return read_messages(x12_segments(file), "ST", _SETS, _RECEIPTS)


def _looks_like(head: bytes) -> bool:
    text = head.lstrip()
    return text.startswith(b"ISA") and len(text) >= ISA_BYTES and not text[3:4].isalnum()


X12 = Format(name="x12", looks_like=_looks_like, read=read_x12)
