"""One row of a sheet made into one line of a document, by the map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import BinaryIO, Final, TypeAlias, TypeVar

from core.lately import Lately
from importers.documents.port import (
    BrokenDocument,
    Document,
    DocumentPart,
    Format,
    LevelLine,
    MovedLine,
    Movement,
    OtherLine,
    RefusedLine,
)
from importers.documents.sheets.cells import FAULT, name_reader, quantity_reader
from importers.documents.sheets.maps import (
    ITEM_FIELDS,
    PLACE_FIELDS,
    Column,
    Condition,
    LineKind,
    SheetMap,
)
from importers.documents.sheets.times import CellTime
from importers.documents.values import MAX_TEXT_CHARS
from importers.mapfile import quoted

T = TypeVar("T")
RowLine: TypeAlias = MovedLine | LevelLine | OtherLine | RefusedLine
_MOVEMENTS: Final = {LineKind(one.value): one for one in Movement}
_ADDING: Final = (LineKind.RECEIVED, LineKind.RETURNED)
_BELOW_IGNORED: Final = "Its quantity is below 0, which [negative] of the map ignores."


def format_of_rows(
    name: str,
    document: str,
    looks_like: Callable[[bytes], bool],
    lines: Callable[[BinaryIO], Iterator[DocumentPart]],
) -> Format:
    """The format of files whose rows have no number of their own that tells files apart.

    Args:
        name: of the format.
        document: how the file is known.
        looks_like: see `Format`.
        lines: all lines of a file.
    """

    def read(file: BinaryIO) -> Iterator[DocumentPart]:
        yield Document(identity=f"file:{document}", where="line 1")
        yield from lines(file)

    return Format(name=name, looks_like=looks_like, read=read)


class _Unread(Exception):
    """A cell that says nothing readable; the text is one sentence."""


class RowReader:
    """Reads rows of one file.

    Args:
        by: the map.
        header: the headings; None: the file has none.
        width: columns of the file.

    Raises:
        BrokenDocument: the map names a column that is not there, or is there twice.
    """

    def __init__(self, by: SheetMap, header: Sequence[str] | None, width: int) -> None:
        self._by, self._width = by, width
        self._header = [name.strip() for name in header or ()]
        self._raw_header = None if header is None else list(header)
        self._only = [(one, self._column_at(one.column)) for one in by.only]
        self._left_out = [(one, self._column_at(one.column)) for one in by.not_for_stock]
        self._has_rules = bool(self._only or self._left_out)
        #: What is the same for all rows stands behind each row, so that every field has a place.
        self._constants: list[str] = []
        given = {**by.constants, **by.columns}
        item = next(field for field in ITEM_FIELDS if field in given)
        place = next(field for field in PLACE_FIELDS if field in given)
        self._kind_at = self._at("kind")
        self._kinds = Lately(self._kind)
        self._quantity_at = self._at("quantity")
        self._quantities = self._cells("quantity", quantity_reader(by.decimal, by.thousands))
        self._item_at = self._at(item)
        self._items = self._cells(item, name_reader(item))
        self._place_at = self._at(place)
        self._places = self._cells(place, name_reader(place))
        self._time_at = self._at("time")
        self._clock_at, self._has_clock = self._at("clock"), "clock" in by.columns
        self._times = self._cells("time", self._moment)
        self._unit_at = self._at("unit")
        self._units: Lately[str, str | None] = Lately(lambda cell: self._text("unit", cell))
        self._reference_at, self._reason_at = self._at("reference"), self._at("reason")

    def _at(self, field: str) -> int:
        """Where a field stands in a row; one that the map does not have is an empty text there."""
        if (column := self._by.columns.get(field)) is not None:
            return self._column_at(column)
        self._constants.append(self._by.constants.get(field, ""))
        return self._width + len(self._constants) - 1

    def _cells(self, field: str, read: Callable[[str], T]) -> Lately[str, T]:
        def named(cell: str) -> T:
            try:
                return read(self._text(field, cell) or "")
            except ValueError as why:
                raise _Unread(f"{self._named(field)} {why}.") from None

        return Lately(named)

    def _column_at(self, column: Column) -> int:
        if isinstance(column, int):
            if column > self._width:
                raise BrokenDocument(
                    f"The map names column {column}, and the file has {self._width}: correct it."
                )
            return column - 1
        header = self._header
        found = [at for at, name in enumerate(header) if name == column]
        if len(found) == 1:
            return found[0]
        if found:
            raise BrokenDocument(
                f"The heading {column!a} stands over {len(found)} columns: name the one that is "
                f"meant by its number, such as {found[0] + 1}."
            )
        close = get_close_matches(column, header, n=1, cutoff=0.6)
        there = (
            f"there are {', '.join(header)[:300]}. If the heading stands further down, set skip."
        )
        if close:
            there = f"did you mean {close[0]!a}?"
        if self._width == 1:
            there = "its first row is one column, so set delimiter in the map."
        raise BrokenDocument(f"The file has no column {column!a}, which the map names: {there}")

    def line(self, row: list[str], number: int) -> RowLine:
        """What the row says that begins at a line of the file; the row is used up."""
        where, own = f"line {number}", str(number)
        try:
            if len(row) != self._width:
                remedy = "put a text that holds the delimiter into quotes"
                if len(row) < self._width:
                    remedy = (
                        "export it again, with texts that hold a line break in quotes; a line that "
                        "is none of the table leave out of the file, by skip where it is above"
                    )
                raise _Unread(f"The row has {len(row)} of {self._width} columns: {remedy}.")
            if self._has_rules and (rule := self._rule_against(row)) is not None:
                return OtherLine(where=where, number=own, rule=rule)
            if row == self._raw_header:
                return OtherLine(where=where, number=own, rule="The row is the heading again.")
            row += self._constants
            return self._read(row, where, own)
        except _Unread as why:
            if not any(map(str.strip, row[: self._width])):
                return OtherLine(where=where, number=own, rule="The row is empty.")
            return RefusedLine(where=where, number=own, sentence=str(why))

    def _rule_against(self, row: Sequence[str]) -> str | None:
        for one, at in self._only:
            if (word := _word(row[at], one)) not in one.words:
                return f"[only] of the map leaves out {_called(one)} {quoted(word)}."
        for one, at in self._left_out:
            if (word := _word(row[at], one)) in one.words:
                return f"[not_for_stock] of the map names {_called(one)} {quoted(word)}."
        return None

    def _read(self, row: Sequence[str], where: str, own: str) -> RowLine:
        kind = self._kinds[row[self._kind_at]]
        if kind is LineKind.IGNORED:
            return OtherLine(where=where, number=own, rule="Its kind is ignored, by the map.")
        quantity = self._quantities[row[self._quantity_at]]
        if quantity <= 0:
            if quantity < 0 and kind is not LineKind.ADJUSTED:
                kind, quantity = self._opposite(kind, quantity)
                if kind is LineKind.IGNORED:
                    return OtherLine(where=where, number=own, rule=_BELOW_IGNORED)
            if not quantity and kind is not LineKind.COUNTED:
                return OtherLine(where=where, number=own, rule="A quantity of 0 moves nothing.")
        item = self._items[row[self._item_at]]
        place = self._places[row[self._place_at]]
        cell = row[self._time_at]
        if self._has_clock:
            cell = f"{cell.strip()} {self._text('clock', row[self._clock_at]) or ''}".strip()
        time, day = self._times[cell]
        unit = self._units[row[self._unit_at]]
        reference = self._text("reference", row[self._reference_at])
        if kind is LineKind.COUNTED:
            return LevelLine(
                where=where, number=own, item=item, place=place, quantity=quantity, unit=unit,
                time=time, day=day, reference=reference,
            )  # fmt: skip
        reason = None
        if kind is LineKind.ADJUSTED:
            reason = self._text("reason", row[self._reason_at])
            if reason is None:
                raise _Unread(
                    "An adjusted row needs a reason: add reason to [columns] or [constants] of the "
                    "map."
                )
        return MovedLine(
            where=where, number=own, movement=_MOVEMENTS[kind], item=item, place=place,
            quantity=quantity, unit=unit, time=time, day=day, reason=reason, reference=reference,
        )  # fmt: skip

    def _kind(self, cell: str) -> LineKind:
        text = self._text("kind", cell) or ""
        try:
            return LineKind(text)
        except ValueError:
            raise _Unread(
                f"{self._named('kind')} is {quoted(text)}, and says nothing without words: add "
                "[words.kind] to the map, with what each of its words is."
            ) from None

    def _moment(self, cell: str) -> CellTime:
        read = self._by.read_time
        return read(cell) if cell and read is not None else (None, None)

    def _opposite(self, kind: LineKind, quantity: Decimal) -> tuple[LineKind, Decimal]:
        if (meant := self._by.negative.get(kind)) is not None:
            # An adjustment is signed: it does to the stock what the row would have undone.
            is_taken = meant is LineKind.ADJUSTED and kind in _ADDING
            return meant, quantity if is_taken else -quantity
        if kind is LineKind.COUNTED:
            raise _Unread(f"{self._named('quantity')} is below 0, which no count is: correct it.")
        raise _Unread(
            f"{self._named('quantity')} is below 0, and the map does not say what that means: add "
            f'{kind} = "…" to [negative].'
        )

    def _text(self, field: str, cell: str) -> str | None:
        text = cell.strip()
        if text[:1] == FAULT:
            raise _Unread(f"{self._named(field)} {text[1:]}.")
        words = self._by.words.get(field)
        if words is not None:
            if text not in words:
                raise _Unread(
                    f"{self._named(field)} is {quoted(text)}, a word that [words.{field}] of the "
                    "map does not have: add it."
                )
            text = words[text]
        if len(text) > MAX_TEXT_CHARS:
            raise _Unread(f"{self._named(field)} has more than {MAX_TEXT_CHARS:,} characters.")
        return text or None

    def _named(self, field: str) -> str:
        column = self._by.columns.get(field)
        if column is None:
            return f"The {field}"
        return f"{column if isinstance(column, str) else f'Column {column}'}, the {field},"


def _word(cell: str, one: Condition) -> str:
    word = cell.strip()
    if word[:1] == FAULT:
        raise _Unread(f"{_called(one)} {word[1:]}.")
    return word


def _called(one: Condition) -> str:
    return one.column if isinstance(one.column, str) else f"column {one.column}"
