"""The rows of a sheet, one by one: what each cell holds, before anybody says what it means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from core.lately import Lately
from importers.documents.excel.archive import broken_workbook
from importers.documents.excel.parts import MAIN_SPACES, is_true, parsed
from importers.documents.excel.workbook import NamedSheet, SharedTexts, Workbook, unescaped

MAX_ROWS: Final = 1_048_576
MAX_COLUMNS: Final = 16_384
_MAX_MERGES: Final = 100_000
_REFERENCE = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
_MERGED = re.compile(
    rb"<(?:\w+:)?mergeCell\s[^<>]{0,200}?ref=[\"']([A-Z0-9]{2,10}):([A-Z0-9]{2,10})[\"']"
)
_MAX_MERGE_BYTES: Final = 300


class HeldCell(NamedTuple):
    """What a cell holds.

    column: from 0 on. kind: `s` a text, `n` a number, `b` 1 or 0, `e` an error, `d` a day as text,
    `?` a formula without its value. style: how it is shown. formula: as far as the cell has it;
    None: it is none.
    """

    column: int
    kind: str
    value: str
    style: int
    formula: str | None


class GridRow(NamedTuple):
    """A row with something in it. number: from 1 on, as Excel shows it."""

    number: int
    is_hidden: bool
    cells: list[HeldCell]


class Merge(NamedTuple):
    """Cells that are one; rows from 1 on, columns from 0 on, both ends inside."""

    name: str
    first_row: int
    last_row: int
    first_column: int
    last_column: int


def rows_of(book: Workbook, sheet: NamedSheet, texts: SharedTexts) -> Iterator[GridRow]:
    """Yield the rows that hold something, in their order.

    Raises:
        BrokenDocument: the sheet is damaged.
    """
    grid = _Grid(texts)
    what = f"The sheet {sheet.name[:60]!a}"
    pieces = book.archive.pieces(sheet.part)
    for _ in parsed(pieces, what, grid.start, grid.end, grid.text):
        yield from grid.rows
        grid.rows.clear()


def merges_of(book: Workbook, sheet: NamedSheet) -> list[Merge]:
    """All of a sheet, in the order of their first rows: they stand behind all rows.

    Raises:
        BrokenDocument: the sheet is damaged.
    """
    found: list[Merge] = []
    kept = b""
    for piece in book.archive.pieces(sheet.part):
        kept += piece
        end = 0
        if b"mergeCell" in kept:
            for one in _MERGED.finditer(kept):
                first, last = (_REFERENCE.fullmatch(ref.decode()) for ref in one.groups())
                if first is None or last is None or len(found) >= _MAX_MERGES:
                    raise broken_workbook(
                        f"The sheet {sheet.name[:60]!a} has too many merged cells"
                    )
                found.append(
                    Merge(
                        f"{first[0]}:{last[0]}", int(first[2]), int(last[2]),
                        _column(first[1]), _column(last[1]),
                    )
                )  # fmt: skip
                end = one.end()
        kept = kept[max(end, len(kept) - _MAX_MERGE_BYTES) :]
    return sorted(found, key=lambda one: one.first_row)


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


class _Grid:
    """Takes what the parser tells, and makes rows of it."""

    def __init__(self, texts: SharedTexts) -> None:
        self.rows: list[GridRow] = []
        self._texts = texts
        self._columns = Lately(_column)
        self._names: dict[str, str] | None = None
        self._number, self._is_hidden = 0, False
        self._cells: list[HeldCell] = []
        self._column = -1
        self._kind, self._style = "n", 0
        self._value: list[str] = []
        self._formula: list[str] = []
        self._has_value = self._has_formula = False
        self._into: list[str] | None = None
        self._read_aloud = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._names is None:
            self._names = _names_of(tag)
        name = self._names.get(tag)
        if name == "c":
            self._begin_cell(attributes)
        elif name == "v" or (name == "t" and not self._read_aloud):
            self._into, self._has_value = self._value, True
        elif name == "f":
            self._into, self._has_formula = self._formula, True
        elif name == "row":
            self._begin_row(attributes)
        elif name == "rPh":  # how a Japanese text is read aloud: no part of it
            self._read_aloud += 1

    def text(self, characters: str) -> None:
        if self._into is not None:
            self._into.append(characters)
            if len(self._into) > 4000:  # a piece has up to 8,192 characters
                raise broken_workbook(f"A cell of row {self._number} has far too long a text")

    def end(self, tag: str) -> None:
        assert self._names is not None
        name = self._names.get(tag)
        self._into = None
        if name == "c":
            self._end_cell()
        elif name == "row":
            if self._cells:
                self.rows.append(GridRow(self._number, self._is_hidden, self._cells))
                self._cells = []
        elif name == "rPh":
            self._read_aloud -= 1

    def _begin_row(self, attributes: dict[str, str]) -> None:
        said = attributes.get("r")
        number = self._number + 1
        if said is not None:
            if not (said.isascii() and said.isdigit()) or len(said) > 7 or int(said) < number:
                raise broken_workbook(f"Behind row {self._number} comes row {said[:20]!a}")
            number = int(said)
        if number > MAX_ROWS:
            raise broken_workbook(f"It has more than {MAX_ROWS:,} rows")
        self._number, self._is_hidden = number, is_true(attributes.get("hidden"))
        self._column = -1

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        said = attributes.get("r")
        column = self._column + 1
        if said is not None:
            found = _REFERENCE.fullmatch(said)
            if found is None or int(found[2]) != self._number:
                raise broken_workbook(f"In row {self._number} stands a cell {said[:20]!a}")
            at = self._columns[found[1]]
            if at < column:
                raise broken_workbook(f"The cell {said} comes twice, or not in its place")
            column = at
        if column >= MAX_COLUMNS:
            raise broken_workbook(f"It has more than {MAX_COLUMNS:,} columns")
        self._column = column
        self._kind = attributes.get("t", "n")
        style = attributes.get("s", "0")
        if not (style.isascii() and style.isdigit()) or len(style) > 6:
            raise broken_workbook(f"A cell of row {self._number} has the style {style[:20]!a}")
        self._style = int(style)
        self._has_value = self._has_formula = False

    def _end_cell(self) -> None:
        value = "".join(self._value)
        formula = "".join(self._formula) if self._has_formula else None
        self._value.clear()
        self._formula.clear()
        kind = self._kind
        if formula is not None and (not self._has_value or (kind == "n" and not value)):
            kind = "?"
        elif not value:
            return
        elif kind == "s":
            if not (value.isascii() and value.isdigit()) or len(value) > 9:
                raise broken_workbook(f"A cell of row {self._number} names no text")
            value = self._texts[int(value)]
        elif kind in ("str", "inlineStr"):
            kind, value = "s", unescaped(value)
        elif kind not in ("n", "b", "e", "d"):
            raise broken_workbook(f"A cell of row {self._number} is of the kind {kind[:20]!a}")
        if value or kind == "?":
            self._cells.append(HeldCell(self._column, kind, value, self._style, formula))


def _names_of(root: str) -> dict[str, str]:
    """The names that count, as the parser gives them: others are of extensions."""
    space = root.rpartition(" ")[0]
    if root.rpartition(" ")[2] != "worksheet" or space not in ("", *MAIN_SPACES):
        raise broken_workbook("Its sheet is no sheet of rows")
    before = f"{space} " if space else ""
    return {f"{before}{name}": name for name in ("row", "c", "v", "t", "f", "rPh")}
