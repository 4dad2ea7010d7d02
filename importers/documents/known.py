"""The formats that are known by what stands in a file. A new one is a line in `KNOWN`.

Tables are not among them: what their columns are is said by a map (`sheets/`).
"""

from __future__ import annotations

from typing import BinaryIO, Final

from importers.documents.edifact.reading import EDIFACT
from importers.documents.epcis.jsonld import EPCIS_JSON
from importers.documents.epcis.xml import EPCIS_XML
from importers.documents.excel.archive import MAX_PART_BYTES, ZIP_HEAD
from importers.documents.excel.drafting import draft_workbook
from importers.documents.excel.reading import EXCEL, excel_format
from importers.documents.port import Format
from importers.documents.sheets.csvs import CSV, csv_format
from importers.documents.sheets.drafting import LOOKED_AT_BYTES, draft_map
from importers.documents.sheets.maps import SheetMap
from importers.documents.x12.reading import X12

#: The first that a file looks like is taken.
KNOWN: Final[tuple[Format, ...]] = (EPCIS_JSON, EPCIS_XML, X12, EDIFACT)
#: How many bytes tell.
FIRST_BYTES: Final = 4096
#: The formats of tables.
TABLES: Final = (CSV, EXCEL)
_WEB_PAGE: Final = (
    "It is a web page, as some programs write for Excel: open it in Excel and save it again, as "
    ".xlsx."
)
#: How files begin that many take for tables, in lower case, and what to do with them.
_UNREADABLE: Final = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "It is an Excel file of before 2007 (.xls), or one with "
    "a password: save it as .xlsx, without one.",
    b"\x1f\x8b": "It is packed by gzip: unpack it.",
    b"%pdf-": "It is a PDF file: have its table exported as CSV or Excel.",
    b"<html": _WEB_PAGE,
    b"<!doctype html": _WEB_PAGE,
    b"<table": _WEB_PAGE,
}


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
        tables = (f"{one} (with --map)" for one in TABLES)
        names = ", ".join([*tables, *(one.name for one in KNOWN)])
        raise UnknownFormat(f"There is no format {name[:60]!a}: there are {names}.")
    if (known := known_format(head)) is not None:
        return known
    if head.startswith(ZIP_HEAD):
        raise UnknownFormat(
            "It is an archive. If it is an Excel workbook, `--draft-mapping` writes a map for it, "
            "and --map takes it; else unpack it."
        )
    refuse_unreadable(head)
    if (told := _told_of(head)) is not None:
        raise UnknownFormat(told)
    raise UnknownFormat(
        "It is of no format that is known by its content. If it is a table, `--draft-mapping` "
        "writes a map for it, and --map takes it; else name the format with --format."
    )


def known_format(head: bytes) -> Format | None:
    """The format that a file looks like by its first bytes; None: a table, or something else."""
    return next((one for one in KNOWN if one.looks_like(head)), None)


def table_format(
    head: bytes,
    by: SheetMap,
    document: str,
    name: str | None,
    most_bytes: int = MAX_PART_BYTES,
) -> Format:
    """The format of a table: a workbook or a CSV file.

    Args:
        head: the first bytes of the file.
        by: the map of its columns.
        document: how the file is known.
        name: of one of `TABLES`, where somebody asked for it.
        most_bytes: of one part of a workbook, unpacked.

    Raises:
        UnknownFormat: it is a workbook that cannot be read.
    """
    if name != CSV:
        refuse_unreadable(head)
    is_excel = name == EXCEL or (name is None and head.startswith(ZIP_HEAD))
    if is_excel:
        return excel_format(by, document, most_bytes)
    return csv_format(by, document)


def draft_table(file: BinaryIO, name: str) -> str:
    """A map for a table, as TOML text, with what the file shows and questions for the rest.

    Args:
        file: that stands at its first byte.
        name: of the file, for a comment.

    Raises:
        UnknownFormat: it is a workbook that cannot be read, or of a format that needs no map.
        BrokenDocument: it is no table.
    """
    head = file.read(FIRST_BYTES)
    if (known := known_format(head)) is not None:
        raise UnknownFormat(f"It is {known.name}, which needs no map: load it without one.")
    refuse_unreadable(head)
    if head.startswith(ZIP_HEAD):
        return draft_workbook(file, name)
    return draft_map(head + file.read(LOOKED_AT_BYTES - len(head)), name)


def refuse_unreadable(head: bytes) -> None:
    """Raise UnknownFormat for what is no table, whatever its name says, and no document."""
    plain = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for begin, sentence in _UNREADABLE.items():
        if plain.startswith(begin):
            raise UnknownFormat(sentence)


def _told_of(head: bytes) -> str | None:
    """What to do with a file that nearly is of a format; None: it is like none."""
    plain = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not plain:
        return "It is empty: export it again."
    if plain.startswith((b"{", b"[")):
        return (
            "It is JSON, of which EPCIS 2.0 is read: one document with epcisBody.eventList, or one "
            "event. Have it sent as that, or export a table."
        )
    if plain.startswith(b"<"):
        return (
            "It is XML, of which EPCIS is read: a document that begins with EPCISDocument. Have it "
            "sent as that, or export a table."
        )
    if plain.startswith(b"ISA"):
        return (
            "It begins as X12 does, and not with an ISA of 106 characters in which each element "
            "has its fixed width: have the whole interchange sent again."
        )
    return None
