"""EDIFACT as a format: each message is a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from importers.documents.edifact.despatches import DespatchAdvice
from importers.documents.edifact.interchanges import edifact_segments
from importers.documents.edifact.salesreports import SalesReport
from importers.documents.envelopes import read_messages
from importers.documents.port import DocumentPart, Format

_MESSAGES: Final[dict[str, type[DespatchAdvice] | type[SalesReport]]] = {
    "DESADV": DespatchAdvice,
    "SLSRPT": SalesReport,
}
_RECEIPTS: Final = ("CONTRL", "APERAK")


def read_edifact(file: BinaryIO) -> Iterator[DocumentPart]:
    """Yield each message and its lines.

    Raises:
        BrokenDocument: an envelope does not hold.
    """
    return read_messages(edifact_segments(file), "UNH", _MESSAGES, _RECEIPTS)


def _looks_like(head: bytes) -> bool:
    return head.lstrip().startswith((b"UNA", b"UNB+"))


EDIFACT = Format(name="edifact", looks_like=_looks_like, read=read_edifact)
