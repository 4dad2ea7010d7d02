"""The formats that are known by what stands in a file. A new one is a line in `KNOWN`.

Tables are not among them: what their columns are is said by a map (`sheets/`).
"""

from __future__ import annotations

from typing import Final

from importers.documents.edifact.reading import EDIFACT
from importers.documents.epcis.jsonld import EPCIS_JSON
from importers.documents.epcis.xml import EPCIS_XML
from importers.documents.port import Format
from importers.documents.x12.reading import X12

#: The first that a file looks like is taken.
KNOWN: Final[tuple[Format, ...]] = (EPCIS_JSON, EPCIS_XML, X12, EDIFACT)
#: How many bytes tell.
FIRST_BYTES: Final = 4096


class UnknownFormat(Exception):
    """No format for a file; the text says what to do."""


def format_of(head: bytes, name: str | None) -> Format:
    """The format of a file.

    Args:
        head: its first bytes.
        name: of the format that somebody asked for; None: the one that it looks like.

    Raises:
        UnknownFormat: there is none.
    """
    if name is not None:
        for one in KNOWN:
            if one.name == name:
                return one
        names = ", ".join(["csv (with --map)", *(one.name for one in KNOWN)])
        raise UnknownFormat(f"There is no format {name[:60]!a}: there are {names}.")
    for one in KNOWN:
        if one.looks_like(head):
            return one
    if head[:4] == b"PK\x03\x04":
        raise UnknownFormat(
            "It is an archive, as Excel files are: save the sheet as CSV (UTF-8), or unpack it."
        )
    if head[:2] == b"\x1f\x8b":
        raise UnknownFormat("It is packed by gzip: unpack it.")
    raise UnknownFormat(
        "It is of no format that is known by its content. If it is a table, `--draft-mapping` "
        "writes a map for it, and --map takes it; else name the format with --format."
    )
