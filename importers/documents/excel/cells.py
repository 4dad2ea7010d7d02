"""What a cell holds made into the text that a map reads, or into why it cannot be.

A number that Excel kept is no text: zeros before it, zeros behind its point and digits beyond the
15th are lost, and texts such as 1-2 or 1.5 became days. Where a name, a quantity or a moment could
so be another one than somebody typed, the cell is refused.
"""

from __future__ import annotations

import decimal
import re
from decimal import Decimal
from enum import Enum
from typing import Final

from importers.documents.excel.forms import moment_of_serial
from importers.documents.excel.grid import HeldCell
from importers.documents.excel.workbook import Workbook
from importers.documents.sheets.cells import FAULT, MOMENT
from importers.mapfile import quoted

_NUMBER = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d{1,9})?)?", re.ASCII)
#: As many digits as Excel keeps of a number.
_KEPT: Final = decimal.Context(prec=15, rounding=decimal.ROUND_HALF_EVEN)
_MOST_DIGITS: Final = 20
#: A long number that was shown in short, 4.00638E+12, comes back from a CSV file like this.
_SHOWN_DIGITS, _SHORTENED_FROM = 6, 12
_SUM = re.compile(r"\b(?:SUBTOTAL|AGGREGATE)\(|\bSUM\(")
_RANGE = re.compile(r"\$?[A-Z]{1,3}\$?([0-9]{1,7}):\$?[A-Z]{1,3}\$?([0-9]{1,7})")
_AS_TEXT: Final = "set the column to text, and enter it again"


class ColumnRole(Enum):
    """What a column is for, by the map."""

    NAME = 1
    QUANTITY = 2
    TIME = 3
    WORD = 4
    #: Nothing; and in a draft.
    SHOWN = 5


class Conversion:
    """Makes texts of cells.

    Args:
        book: whose cells.
        decimal: the sign for it in quantities, by the map.
    """

    def __init__(self, book: Workbook, decimal: str) -> None:
        self._book, self._decimal = book, decimal

    def text(self, cell: HeldCell, role: ColumnRole, row: int) -> str:
        """The text of a cell of a row; of one that cannot be read, the fault that says why."""
        try:
            return self._text(cell, role, row)
        except ValueError as why:
            return f"{FAULT}{why}" if role is not ColumnRole.SHOWN else cell.value

    def _text(self, cell: HeldCell, role: ColumnRole, row: int) -> str:
        kind, value = cell.kind, cell.value
        if cell.formula is not None:
            self._check_formula(cell, role, row)
        if kind == "s":
            return value
        if kind == "e":
            raise ValueError(f"is the error {value[:20]}: correct the cell")
        if kind == "b":
            word = "TRUE" if value == "1" else "FALSE"
            if role in (ColumnRole.WORD, ColumnRole.SHOWN):
                return word
            raise ValueError(f"is {word}, and neither a text nor a number: correct the cell")
        form = self._book.form(cell.style)
        if kind == "d" or form.is_date:
            return self._moment(cell, role)
        number = exact(value)
        if role is ColumnRole.QUANTITY:
            return plain_text(number).replace(".", self._decimal)
        if role is ColumnRole.TIME:
            raise ValueError(
                f"is the number {value[:30]}, and not shown as a date: format the cell as one if "
                "it is"
            )
        if role is ColumnRole.NAME:
            _check_name(number)
        if not form.is_plain and role is ColumnRole.NAME:
            raise ValueError(
                f"is the number {plain_text(number)[:30]}, shown with signs that its format adds: "
                "set the column to text, and enter what is to be seen"
            )
        return plain_text(number).zfill(form.digits)

    def _moment(self, cell: HeldCell, role: ColumnRole) -> str:
        if cell.kind == "d":
            if not _DAY.fullmatch(cell.value):
                raise ValueError(f"is the date {quoted(cell.value)}, with a zone or unlike Excel's")
            moment = cell.value if "T" in cell.value else f"{cell.value}T00:00:00"
        else:
            exact(cell.value)
            if role not in (ColumnRole.TIME, ColumnRole.SHOWN):
                raise ValueError(
                    "is a date: Excel makes one of texts such as 1-2 and 1.5, and what was typed "
                    f"is lost: {_AS_TEXT}"
                )
            moment = moment_of_serial(cell.value, is_1904=self._book.is_1904)
        if role not in (ColumnRole.TIME, ColumnRole.SHOWN):
            raise ValueError(f"is a date, {moment}: {_AS_TEXT}")
        return f"{MOMENT}{moment}"

    def _check_formula(self, cell: HeldCell, role: ColumnRole, row: int) -> None:
        if cell.kind == "?" or not self._book.is_calculated:
            raise ValueError(
                "is a formula that the program which wrote the file did not calculate: open it in "
                "Excel, and save it"
            )
        if role is ColumnRole.QUANTITY and adds_up_rows(cell.formula or "", row):
            raise ValueError(
                "is a sum of other rows, which count by themselves: leave the row out by "
                "[not_for_stock] in the map, or take it out of the sheet"
            )


def exact(value: str) -> Decimal:
    """The number of a cell, to the 15 digits that Excel keeps.

    Raises:
        ValueError: it is none; the text has no full stop.
    """
    if not _NUMBER.fullmatch(value):
        raise ValueError(f"is {quoted(value)}, no number as Excel writes one: save the file again")
    number = _KEPT.create_decimal(value)
    if number and not -_MOST_DIGITS <= number.adjusted() <= _MOST_DIGITS:
        raise ValueError("is a number far too large or small: correct it")
    return number


def plain_text(number: Decimal) -> str:
    """As people write it; zeros behind the point were never there."""
    if number == number.to_integral_value():
        return str(int(number))
    return f"{number.normalize():f}"


def adds_up_rows(formula: str, row: int) -> bool:
    """Whether a formula is a sum over rows other than its own."""
    found = _SUM.search(formula[:1000].upper())
    if found is None:
        return False
    ranges = _RANGE.findall(formula[:1000].upper())
    is_of_its_row = ranges and all({first, last} == {str(row)} for first, last in ranges)
    return found[0] != "SUM(" or (bool(ranges) and not is_of_its_row)


def _check_name(number: Decimal) -> None:
    """Refuse a number of which digits are lost, if it was a name."""
    if number != number.to_integral_value() or number < 0:
        raise ValueError(
            f"is the number {plain_text(number)[:30]}, of which zeros may be lost: {_AS_TEXT}"
        )
    digits = plain_text(number)
    if len(digits) > 15:
        raise ValueError(
            f"is a number of {len(digits)} digits, of which Excel keeps 15: {_AS_TEXT}"
        )
    if len(digits) >= _SHORTENED_FROM and len(digits.rstrip("0")) <= _SHOWN_DIGITS:
        raise ValueError(
            f"is the number {digits}, as it comes back from one that was shown in short "
            f"({number:.5E}); its other digits are lost: {_AS_TEXT}"
        )
