"""Excel's own files (.xlsx): the rows of one sheet, each a line of one document, by a map.

Traps that are met here: days as numbers, of two calendars; names as numbers, with zeros cut off or
digits lost; formulas that nobody calculated; sums among the rows; errors; merged cells; rows and
sheets that nobody sees; texts with other texts above them. Two equal rows are two lines: a line's
number is that of its row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

from importers.documents.excel.archive import MAX_PART_BYTES, ZIP_HEAD, PartArchive
from importers.documents.excel.cells import ColumnRole, Conversion
from importers.documents.excel.grid import GridRow, Merge, merges_of, rows_of
from importers.documents.excel.workbook import NamedSheet, Workbook
from importers.documents.port import (
    BrokenDocument,
    DocumentPart,
    Format,
    OtherLine,
    RefusedLine,
)
from importers.documents.sheets.cells import FAULT
from importers.documents.sheets.maps import (
    ITEM_FIELDS,
    PLACE_FIELDS,
    Column,
    Hidden,
    SheetMap,
)
from importers.documents.sheets.rows import RowReader, format_of_rows

EXCEL: Final = "excel"
_ROLES: Final = {
    **dict.fromkeys((*ITEM_FIELDS, *PLACE_FIELDS, "reference"), ColumnRole.NAME),
    "quantity": ColumnRole.QUANTITY,
    "time": ColumnRole.TIME,
}


def excel_format(by: SheetMap, document: str, most_bytes: int = MAX_PART_BYTES) -> Format:
    """The format of workbooks that a map describes.

    Args:
        by: the map.
        document: see `format_of_rows`.
        most_bytes: of one part, unpacked.
    """
    return format_of_rows(
        EXCEL,
        document,
        lambda head: head.startswith(ZIP_HEAD),
        lambda file: _lines(file, by, most_bytes),
    )


def sheet_of(book: Workbook, name: str | None) -> NamedSheet:
    """The sheet of a name; without one, the only one that people see.

    Raises:
        BrokenDocument: there is none, or are several.
    """
    if name is not None:
        for one in book.sheets:
            if one.name == name:
                return one
        names = ", ".join(ascii(one.name[:60]) for one in book.sheets[:20])
        raise BrokenDocument(f"There is no sheet {name[:60]!a}: there are {names}.")
    seen = [one for one in book.sheets if not one.is_hidden]
    if len(seen) == 1:
        return seen[0]
    if not seen:
        raise BrokenDocument("It has no sheet of rows that is to be seen: name one in the map.")
    raise BrokenDocument(
        f"It has {len(seen)} sheets, {', '.join(ascii(one.name[:60]) for one in seen[:20])}: say "
        f"which it is, such as sheet = {seen[0].name[:60]!a}, in the map."
    )


def _lines(file: BinaryIO, by: SheetMap, most_bytes: int) -> Iterator[DocumentPart]:
    book = Workbook(PartArchive(file, most_bytes))
    sheet = sheet_of(book, by.sheet)
    merged = _Merged(merges_of(book, sheet))
    whole = rows_of(book, sheet, book.texts())
    rows: Iterator[GridRow] = (row for row in whole if row.number > by.skip)
    if (first := next(rows, None)) is None:
        raise BrokenDocument(f"The sheet {sheet.name[:60]!a} has no rows: name another.")
    convert = Conversion(book, by.decimal)
    if by.header:
        header = _shown(first, convert)
    else:
        header = None
        rows = _again(first, rows)
    width = max(len(header or ()), 1 + first.cells[-1].column, *_numbers(by))
    if header is not None:
        header += [""] * (width - len(header))
    reader = RowReader(by, header, width)
    roles = _roles(by, header, width)
    used = [at for at, role in enumerate(roles) if role is not ColumnRole.SHOWN]
    for row in rows:
        texts = [""] * width
        for cell in row.cells:
            if cell.column < width:
                texts[cell.column] = convert.text(cell, roles[cell.column], row.number)
        for one in merged.over(row.number):
            _spoil(texts, used, one, row.number)
        if row.is_hidden and by.hidden is not Hidden.READ:
            yield _unseen(by.hidden, row.number)
        elif any(texts):
            yield reader.line(texts, row.number)


def _again(first: GridRow, rows: Iterable[GridRow]) -> Iterator[GridRow]:
    yield first
    yield from rows


def _shown(row: GridRow, convert: Conversion) -> list[str]:
    """The headings; their row may have no cell where a column has none."""
    texts = [""] * (1 + row.cells[-1].column)
    for cell in row.cells:
        texts[cell.column] = convert.text(cell, ColumnRole.SHOWN, row.number)
    return texts


def _numbers(by: SheetMap) -> list[int]:
    """Of columns that the map knows by their number."""
    return [column for column in _columns(by) if isinstance(column, int)]


def _columns(by: SheetMap) -> Iterator[Column]:
    yield from by.columns.values()
    yield from (one.column for one in (*by.only, *by.not_for_stock))


def _roles(by: SheetMap, header: Sequence[str] | None, width: int) -> list[ColumnRole]:
    """What each column is for; the reader of rows has checked that each that is named is there."""
    roles = [ColumnRole.SHOWN] * width
    places = {name.strip(): at for at, name in enumerate(header or ())}

    def place(column: Column) -> int:
        return column - 1 if isinstance(column, int) else places[column]

    for one in (*by.only, *by.not_for_stock):
        roles[place(one.column)] = ColumnRole.WORD
    for field, column in by.columns.items():
        roles[place(column)] = _ROLES.get(field, ColumnRole.WORD)
    return roles


def _spoil(texts: list[str], used: Iterable[int], merge: Merge, row: int) -> None:
    """Only the first of merged cells holds something, and it stands for all of them."""
    for at in used:
        if not merge.first_column <= at <= merge.last_column:
            continue
        is_first = (row, at) == (merge.first_row, merge.first_column)
        if not is_first or merge.first_row != merge.last_row:
            texts[at] = (
                f"{FAULT}is one of the merged cells {merge.name}, and what they say stands once: "
                "unmerge them, and fill each"
            )


def _unseen(hidden: Hidden, number: int) -> OtherLine | RefusedLine:
    where, own = f"line {number}", str(number)
    if hidden is Hidden.LEFT_OUT:
        rule = "The row is hidden, and the map leaves such rows out."
        return OtherLine(where=where, number=own, rule=rule)
    return RefusedLine(
        where=where,
        number=own,
        sentence="The row is hidden, by a filter or by hand: show it, or say in the map what "
        f'becomes of such rows: hidden = "{Hidden.READ}" or "{Hidden.LEFT_OUT}".',
    )


class _Merged:
    """Which merged cells are over a row, for rows in their order."""

    def __init__(self, merges: Sequence[Merge]) -> None:
        self._coming = list(reversed(merges))
        self._open: list[Merge] = []

    def over(self, row: int) -> Sequence[Merge]:
        if not self._coming and not self._open:
            return ()
        while self._coming and self._coming[-1].first_row <= row:
            self._open.append(self._coming.pop())
        self._open = [one for one in self._open if one.last_row >= row]
        return self._open
