"""A map for a workbook, drafted from its rows: which sheet, where headings are, what is what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import BinaryIO, Final

from importers.documents.excel.archive import PartArchive
from importers.documents.excel.cells import ColumnRole, Conversion
from importers.documents.excel.grid import GridRow, rows_of
from importers.documents.excel.workbook import NamedSheet, SharedTexts, Workbook
from importers.documents.port import BrokenDocument
from importers.documents.sheets.drafting import LookedAt, drafted
from importers.documents.sheets.maps import QUESTION, Hidden

_ROWS: Final = 1000
_text = partial(json.dumps, ensure_ascii=False)


def draft_workbook(file: BinaryIO, name: str) -> str:
    """A map as TOML text.

    Args:
        file: of the workbook.
        name: of the file, for a comment.

    Raises:
        BrokenDocument: it cannot be read, or no sheet that is to be seen has a table.
    """
    book = Workbook(PartArchive(file))
    texts = book.texts()
    seen = [sheet for sheet in book.sheets if not sheet.is_hidden]
    for sheet in seen:
        if rows := _table(book, sheet, texts):
            return drafted(_look(book, sheet, rows, len(seen)), name)
    raise BrokenDocument("It is no table: at least a heading, a row and two columns are needed.")


def _table(book: Workbook, sheet: NamedSheet, texts: SharedTexts) -> list[GridRow]:
    """The first rows from the heading on: the first row with more than one cell."""
    rows = list(islice(rows_of(book, sheet, texts), _ROWS))
    for at, row in enumerate(rows):
        if len(row.cells) > 1 and at + 1 < len(rows):
            return rows[at:]
    return []


def _look(book: Workbook, sheet: NamedSheet, rows: Sequence[GridRow], sheets: int) -> LookedAt:
    first, *others = rows
    convert = Conversion(book, ".")
    header = [""] * (1 + first.cells[-1].column)
    for cell in first.cells:
        header[cell.column] = convert.text(cell, ColumnRole.SHOWN, first.number).strip()
    named = {
        at: heading for at, heading in enumerate(header) if heading and header.count(heading) == 1
    }
    columns: dict[str, list[str]] = {heading: [] for heading in named.values()}
    texts: dict[str, list[str]] = {heading: [] for heading in named.values()}
    for row in others:
        found = {one.column: one for one in row.cells}
        for at, heading in named.items():
            held = found.get(at)
            columns[heading].append(
                "" if held is None else convert.text(held, ColumnRole.SHOWN, row.number).strip()
            )
            if held is not None and held.kind == "s":
                texts[heading].append(held.value.strip())
    written = [f"sheet = {_text(sheet.name)}"] if sheets > 1 else []
    if first.number > 1:
        written.append(f"skip = {first.number - 1}")
    if any(row.is_hidden for row in others):
        words = f'"{Hidden.READ}" or "{Hidden.LEFT_OUT}"'
        written.append(f'hidden = "{QUESTION}"  # some rows are: {words}')
    return LookedAt(written, header, columns, texts)
