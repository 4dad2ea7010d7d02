"""CSV files: rows of whatever delimiter and encoding, each a line of one document.

Traps that are met here: a byte order mark, an encoding that is another, line breaks inside
quotes, a quote that nobody closes, rows of another length, the heading in the middle again. Two
equal rows are two lines: a line's number is that of its first line in the file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO, Final

from importers.documents.port import BrokenDocument, DocumentPart, Format
from importers.documents.sheets.maps import SheetMap
from importers.documents.sheets.rows import RowReader, format_of_rows

CSV: Final = "csv"
#: A line of more characters is none.
_MAX_LINE_CHARS: Final = 2**20


def csv_format(by: SheetMap, document: str) -> Format:
    """The format of files that a map describes; `document`: see `format_of_rows`."""
    return format_of_rows(CSV, document, lambda head: False, lambda file: _lines(file, by))


def _lines(file: BinaryIO, by: SheetMap) -> Iterator[DocumentPart]:
    text = io.TextIOWrapper(file, by.encoding, errors="strict", newline="")
    lines = _bounded(text, by.encoding)
    try:
        for _ in range(by.skip):
            next(lines, None)
        rows = csv.reader(lines, delimiter=by.delimiter, strict=True)
        reader: RowReader | None = None
        begins = by.skip + 1
        for row in rows:
            if reader is None and row:
                reader = RowReader(by, row if by.header else None, len(row))
                if not by.header:
                    yield reader.line(row, begins)
            elif reader is not None and row:
                yield reader.line(row, begins)
            begins = by.skip + rows.line_num + 1
    except csv.Error as error:
        raise BrokenDocument(
            f"Line {begins} begins a row that cannot be read ({error}): look for a quote that is "
            "not closed, or not doubled inside of a text."
        ) from None
    finally:
        text.detach()  # the file is its owner's to close
    if reader is None:
        raise BrokenDocument("The file has no rows: export it again.")


def _bounded(text: io.TextIOWrapper, encoding: str) -> Iterator[str]:
    """Lines with their ends, each of a bounded length."""
    readline, count = text.readline, 0
    try:
        while line := readline(_MAX_LINE_CHARS):
            count += 1
            if len(line) == _MAX_LINE_CHARS:
                raise BrokenDocument(f"Line {count:,} has a million characters: it is no table.")
            if "\0" in line:
                raise BrokenDocument(
                    f"Line {count:,} holds a zero byte, as UTF-16 read as {encoding} does: set "
                    "encoding in the map."
                )
            yield line
    except UnicodeError as error:
        encoding = encoding.removesuffix("-sig")
        raise BrokenDocument(
            f"In line {count + 1:,} or behind it stand bytes that are not {encoding} ({error}): "
            "set encoding in the map, often cp1252 or utf-16."
        ) from None
