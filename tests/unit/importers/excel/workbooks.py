"""Workbooks for tests, written by a program that writes them as Excel does."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import xlsxwriter

from importers.documents.excel.reading import excel_format
from importers.documents.port import Document, DocumentPart
from importers.documents.sheets.maps import read_sheet_map
from tests.support.inputs.sheets import SALES

TIMES = f'time_form = "excel"\nzone = "Europe/Berlin"\n{SALES}time = "day"\n'
HEAD = ("sku", "qty")
#: 23 November 2026, 12:00.
NOON = 46349.5

Cell = Any
#: Is given the book and its sheet once its rows are written.
Then = Callable[[Any, Any], None]
#: Calculated values are those that Excel would show: so Excel saves a book, and few others do.
SHEET = "xl/worksheets/sheet1.xml"
UNCALCULATED = ' fullCalcOnLoad="1"'


def a_book(
    rows: Sequence[Sequence[Cell]],
    then: Then = lambda book, sheet: None,
    *,
    is_calculated: bool = True,
    sheets: Sequence[str] = ("Sales",),
    **options: Any,
) -> bytes:
    """A workbook; a cell is a text, a number, a truth, or a pair of a number and its format."""
    data = io.BytesIO()
    book = xlsxwriter.Workbook(
        data, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, **options}
    )
    forms: dict[str, Any] = {}
    for name in sheets:
        sheet = book.add_worksheet(name)
        for number, row in enumerate(rows if name == sheets[0] else ()):
            for column, cell in enumerate(row):
                if isinstance(cell, tuple):
                    value, form = cell
                    if form not in forms:
                        forms[form] = book.add_format({"num_format": form})
                    sheet.write_number(number, column, value, forms[form])
                elif cell is not None:
                    sheet.write(number, column, cell)
    then(book, book.worksheets()[0])
    book.close()
    found = data.getvalue()
    return with_part(found, "xl/workbook.xml", UNCALCULATED, "") if is_calculated else found


def with_part(data: bytes, part: str, before: str, after: str) -> bytes:
    """The same with a part changed by hand, for what no program writes on purpose."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            text = old.read(name).decode()
            if name == part:
                assert before in text, text
                text = text.replace(before, after)
            new.writestr(name, text, zipfile.ZIP_DEFLATED)
    return changed.getvalue()


def lines_of(data: bytes, by: str = SALES) -> list[DocumentPart]:
    first, *lines = excel_format(read_sheet_map(by), "sales.xlsx").read(io.BytesIO(data))
    assert first == Document(identity="file:sales.xlsx", where="line 1")
    return lines


def line_of(
    row: Sequence[Cell],
    by: str = SALES,
    header: Sequence[str] = HEAD,
    then: Then = lambda book, sheet: None,
    **options: Any,
) -> DocumentPart:
    (line,) = lines_of(a_book([header, row], then, **options), by)
    return line
