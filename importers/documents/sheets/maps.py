"""The map of a sheet: a TOML file that says what of a row is what of a line.

All that is wrong with it is told at once, a sentence each, before any row is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from importers.documents.localtimes import zone_of
from importers.documents.sheets.times import CellTime, FormError, time_reader
from importers.mapfile import MapError, MapReader, quoted


class LineKind(StrEnum):
    """What a row says: one of the movements, or one of the last two."""

    RECEIVED = "received"
    DISPATCHED = "dispatched"
    SOLD = "sold"
    RETURNED = "returned"
    ADJUSTED = "adjusted"
    #: So many lay there; nothing moved.
    COUNTED = "counted"
    #: Nothing about stock.
    IGNORED = "ignored"


#: Names of an item and of a place: one of each is needed. The field's name is the scheme.
ITEM_FIELDS: Final = ("sku", "gtin", "item")
PLACE_FIELDS: Final = ("location", "gln", "place")
_OTHERS: Final = ("kind", "quantity", "unit", "time", "clock", "reason", "reference")
SHEET_FIELDS: Final = (*ITEM_FIELDS, *PLACE_FIELDS, *_OTHERS)
_NEEDED: Final = {
    "kind": ("kind",),
    "item": ITEM_FIELDS,
    "place": PLACE_FIELDS,
    "quantity": ("quantity",),
}
#: By its heading, or by its number from 1 on.
Column: TypeAlias = str | int
#: What a draft leaves open.
QUESTION: Final = "?"
#: A day in one column, and in another what the clock said; read as one text, a space between.
_TIMES: Final = ("time", "clock")
_WORDLESS: Final = ("quantity", *_TIMES)
_TABLES: Final = ("constants", "columns", "words", "negative", "only", "not_for_stock")
_SETTINGS: Final = (
    *("delimiter", "encoding", "header", "skip", "decimal", "thousands", "time_form", "zone"),
    *("sheet", "hidden"),
)
_MARKS: Final = {"decimal": (".", ","), "thousands": ("", ".", ",", " ", "'")}


class Hidden(StrEnum):
    """What becomes of the rows of a sheet that nobody sees."""

    REFUSED = "refused"
    READ = "read"
    LEFT_OUT = "left out"


class Condition(msgspec.Struct, frozen=True):
    """A column, and words that may stand in it."""

    column: Column
    words: frozenset[str]


class SheetMap(msgspec.Struct, frozen=True, kw_only=True):
    """One map.

    skip: lines before the heading, or before the first row without one.
    decimal, thousands: signs in a quantity; thousands is "" where there are none.
    read_time: of a cell; None: rows have no time.
    constants, columns: where a line's fields come from; each field is in one of them.
    words: what the texts found for a field mean.
    negative: what a row below 0 is, by what it would be above 0. It loses its sign; as an
        adjustment, it has that of what it does to the stock.
    sheet, hidden: of a workbook: the name of the sheet, None for the only one; and its rows that
        nobody sees. delimiter, encoding: of a CSV file.
    only: a row counts where each of these holds. not_for_stock: where none of these does.
    """

    delimiter: str
    encoding: str
    header: bool
    skip: int
    decimal: str
    thousands: str
    read_time: Callable[[str], CellTime] | None
    constants: dict[str, str]
    columns: dict[str, Column]
    words: dict[str, Mapping[str, str]]
    negative: dict[LineKind, LineKind]
    sheet: str | None = None
    hidden: Hidden = Hidden.REFUSED
    only: tuple[Condition, ...] = ()
    not_for_stock: tuple[Condition, ...] = ()


def read_sheet_map(text: str) -> SheetMap:
    """Read and check a map.

    Raises:
        MapError: names every problem at once, each with its remedy.
    """
    return _Reader(text).read()


class _Reader(MapReader):
    def read(self) -> SheetMap:
        self._refuse_questions("", self._document)
        self._unknown(self._document, "", (*_SETTINGS, *_TABLES))
        tables = {name: self._table(name) for name in _TABLES}
        for name in ("constants", "columns"):
            self._unknown(tables[name], name, SHEET_FIELDS)
        columns = {f: c for f, c in tables["columns"].items() if self._is_column("columns", f, c)}
        constants = dict(self._constants(tables["constants"]))
        self._complete(tables["constants"], tables["columns"])
        self._clock(tables["columns"])
        words = dict(self._words(tables["words"], columns))
        found = SheetMap(
            delimiter=self._delimiter(),
            encoding=self._encoding(),
            header=self._flag("header", True),
            skip=self._skip(),
            decimal=self._mark("decimal", "."),
            thousands=self._mark("thousands", ""),
            read_time=self._times("time" in tables["columns"]),
            constants=constants,
            columns=columns,
            words=words,
            negative=dict(self._negative(tables["negative"])),
            sheet=self._sheet(),
            hidden=Hidden(self._choice("hidden", Hidden) or Hidden.REFUSED),
            only=tuple(self._conditions("only", tables["only"])),
            not_for_stock=tuple(self._conditions("not_for_stock", tables["not_for_stock"])),
        )
        if found.decimal == found.thousands:
            self._wrong("", "thousands", f"is {found.decimal!r}, as decimal is: one is another")
        if not found.header:
            self._check_numbers(found)
        if self._problems:
            raise MapError(self._problems)
        return found

    def _refuse_questions(self, table: str, values: Mapping[str, Any]) -> None:
        """What a draft asks must be answered before all else is judged."""
        for key, value in values.items():
            if isinstance(value, dict):
                self._refuse_questions(f"{table}.{key}" if table else key, value)
            elif value == QUESTION:
                self._wrong(table, key, "is a question of the draft: answer it")
        if not table and self._problems:
            raise MapError(self._problems)

    # ---- how the file is written

    def _delimiter(self) -> str:
        found = self._document.get("delimiter", ",")
        if isinstance(found, str) and len(found) == 1 and found not in '"\r\n':
            return found
        self._wrong("", "delimiter", f'is {quoted(found)}: use one character, such as ";" or "\\t"')
        return ","

    def _encoding(self) -> str:
        found = self._document.get("encoding", "utf-8")
        try:
            "a".encode(found)  # of nothing, any name will do
        except (LookupError, TypeError, ValueError):
            self._wrong(
                "", "encoding", f"is {quoted(found)}: use one such as utf-8, cp1252 or utf-16"
            )
            return "utf-8"
        # A byte order mark is no part of the first heading.
        return "utf-8-sig" if found.lower() in ("utf-8", "utf8") else str(found)

    def _flag(self, name: str, default: bool) -> bool:
        found = self._document.get(name, default)
        if not isinstance(found, bool):
            self._wrong("", name, "is true or false")
        return bool(found)

    def _skip(self) -> int:
        found = self._document.get("skip", 0)
        if type(found) is int and 0 <= found <= 1000:
            return found
        self._wrong("", "skip", "is how many lines to leave out at the top, 0 to 1000")
        return 0

    def _sheet(self) -> str | None:
        found = self._document.get("sheet")
        if found is None or (isinstance(found, str) and found):
            return found
        self._wrong("", "sheet", "is no name of a sheet: write it in quotes")
        return None

    def _mark(self, name: str, default: str) -> str:
        found = self._document.get(name, default)
        if found in _MARKS[name]:
            return str(found)
        known = ", ".join(repr(mark) for mark in _MARKS[name])
        self._wrong("", name, f"is {quoted(found)}: use one of {known}")
        return default

    def _times(self, is_read: bool) -> Callable[[str], CellTime] | None:
        form, name = self._document.get("time_form"), self._document.get("zone")
        if not is_read:
            for setting in ("time_form", "zone"):
                if setting in self._document:
                    self._wrong("", setting, "is of a time, and [columns] has none: add time to it")
            return None
        if form is None:
            self._problems.append(
                "The map does not say how a time is written: set time_form, such as "
                '"%d.%m.%Y %H:%M" or "rfc3339".'
            )
            return None
        zone: ZoneInfo | None = None
        try:
            zone = None if name is None else zone_of(str(name))
        except ValueError as why:
            self._wrong("", "zone", f"is wrong: {why}")
        try:
            return time_reader(str(form), zone)
        except FormError as why:
            self._wrong("", "time_form", f"{why}")
        return None

    def _clock(self, columns: Mapping[str, Any]) -> None:
        if "clock" not in columns:
            return
        form = str(self._document.get("time_form", ""))
        if "time" not in columns:
            self._wrong("columns", "clock", "says a time of day, and no column the day: add time")
        elif form and not {"%H", "%I"} & {form[at : at + 2] for at in range(len(form))}:
            self._wrong(
                "columns", "clock", "is read behind time, and time_form has no hour: say how both "
                'are written, a space between, such as "%d.%m.%Y %H:%M"',
            )  # fmt: skip

    # ---- what is what

    def _is_column(self, table: str, key: str, value: Any) -> bool:
        if (isinstance(value, str) and value) or (type(value) is int and value >= 1):
            return True
        self._wrong(table, key, "is no column: write its heading in quotes, or its number from 1")
        return False

    def _constants(self, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for field, value in table.items():
            if field in _TIMES:
                self._wrong("constants", field, "cannot be the same for all: name its column")
            elif field == "quantity" and type(value) is not int:
                self._wrong("constants", field, "is a whole number: write it without quotes")
            elif field == "kind":
                self._kind("constants", field, value)
            elif field != "quantity" and not (isinstance(value, str) and value):
                self._wrong("constants", field, "is a text: write it in quotes")
            yield field, str(value)

    def _complete(self, constants: Mapping[str, Any], columns: Mapping[str, Any]) -> None:
        for what, fields in _NEEDED.items():
            given = [field for field in fields if field in constants or field in columns]
            if not given:
                named = what if len(fields) == 1 else f"{what} ({', '.join(fields)})"
                self._problems.append(
                    f"The map does not say what the {named} of a row is: add it to [columns] or "
                    "[constants]."
                )
            elif len(given) > 1:
                self._wrong(
                    "columns" if given[1] in columns else "constants", given[1],
                    f"is given beside {given[0]}: a row has one {what}, so remove one of them",
                )  # fmt: skip
        for field in constants:
            if field in columns:
                self._wrong("columns", field, "is in [constants] too: remove one of them")

    def _words(
        self, table: Mapping[str, Any], columns: Collection[str]
    ) -> Iterator[tuple[str, Mapping[str, str]]]:
        for field, words in table.items():
            if field in _WORDLESS or field not in columns:
                self._wrong("words", field, "has no words: name a field of [columns] that is text")
            elif not isinstance(words, dict) or not all(isinstance(w, str) for w in words.values()):
                self._wrong("words", field, 'is a table of texts: write "A" = "B"')
            else:
                for word, meant in words.items():
                    if field == "kind":
                        self._kind("words.kind", word, meant)
                yield field, words

    def _kind(self, table: str, key: str, value: Any) -> LineKind | None:
        if value in list(LineKind):
            return LineKind(value)
        self._wrong(table, key, f"is {quoted(value)}: use one of {', '.join(LineKind)}")
        return None

    def _negative(self, table: Mapping[str, Any]) -> Iterator[tuple[LineKind, LineKind]]:
        self._unknown(table, "negative", list(LineKind)[:4])
        for kind, value in table.items():
            meant = self._kind("negative", kind, value)
            if meant is LineKind.COUNTED:
                self._wrong("negative", kind, "is counted, and no count is below 0: use another")
            elif kind in list(LineKind)[:4] and meant is not None:
                yield LineKind(kind), meant

    def _conditions(self, name: str, table: Mapping[str, Any]) -> Iterator[Condition]:
        for column, words in table.items():
            wanted = [words] if isinstance(words, str) else words
            if not isinstance(wanted, list) or not all(isinstance(w, str) for w in wanted):
                self._wrong(name, column, 'is a list of texts: write ["paid", "sent"]')
            else:
                number = column.isascii() and column.isdigit() and not self._has_header()
                yield Condition(int(column) if number else column, frozenset(wanted))

    def _has_header(self) -> bool:
        return self._document.get("header", True) is not False

    def _check_numbers(self, found: SheetMap) -> None:
        """Without a heading, columns have only numbers."""
        for field, column in found.columns.items():
            if isinstance(column, str):
                self._wrong("columns", field, "is a heading, and header is false: use its number")
        for name, conditions in (("only", found.only), ("not_for_stock", found.not_for_stock)):
            for one in conditions:
                if isinstance(one.column, str):
                    self._wrong(name, one.column, "is a heading, and header is false: use a number")
