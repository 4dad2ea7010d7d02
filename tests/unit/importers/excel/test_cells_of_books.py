"""Excel's own files: each trap of a cell, a row and a sheet, and what becomes of it."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importers.documents.excel.forms import form_of, moment_of_serial
from importers.documents.port import (
    ForeignName,
    LevelLine,
    MovedLine,
    Movement,
)
from importers.documents.sheets.csvs import csv_format
from importers.documents.sheets.maps import read_sheet_map
from tests.support.inputs.sheets import SALES, moved, refused
from tests.unit.importers.excel.workbooks import (
    HEAD,
    NOON,
    SHEET,
    TIMES,
    Cell,
    a_book,
    line_of,
    lines_of,
    with_part,
)

GTINS = SALES.replace("sku =", "gtin =")


def test_a_row_becomes_a_line_with_the_number_that_excel_shows() -> None:
    (line,) = lines_of(a_book([HEAD, (), ("A-1", 2)]))

    assert line == MovedLine(
        where="line 3",
        number="3",
        movement=Movement.SOLD,
        item=ForeignName("sku", "A-1"),
        place=ForeignName("location", "shop-7"),
        quantity=Decimal(2),
    )


def test_two_equal_rows_are_two_lines() -> None:
    first, second = map(moved, lines_of(a_book([HEAD, ("A", 2), ("A", 2)])))

    assert first.number != second.number
    assert first.quantity == second.quantity


def test_a_workbook_and_the_csv_file_of_its_rows_say_the_same_by_one_map() -> None:
    rows = [("A-1", "2"), ("A-1", "2"), ("", ""), ("B", "-1"), ("B", "x"), ("sku", "qty")]
    by = f'{SALES}[negative]\nsold = "returned"\n'
    csv = "".join(f"{sku},{quantity}\n" for sku, quantity in (HEAD, *rows)).encode()
    read = csv_format(read_sheet_map(by), "sales.xlsx").read

    said = [
        line for line in list(read(io.BytesIO(csv)))[1:] if getattr(line, "where", "") != "line 4"
    ]

    assert lines_of(a_book([HEAD, *rows]), by) == said


# ---- numbers where a name stands


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        (4006381333931, "04006381333931"),
        (4.006381333931e12, "04006381333931"),
        ("4006381333931", "04006381333931"),
        (12345678905, None),
        ("012345678905", "00012345678905"),
        ((12345678905, "0000000000000"), "00012345678905"),
    ],
)
def test_a_gtin_that_is_a_number_has_its_digits_and_only_those_zeros_that_are_shown(
    cell: Cell, code: str | None
) -> None:
    line = line_of((cell, 1), GTINS)

    if code is None:
        assert "no GTIN, which has 8, 12, 13 or 14 digits (a spreadsheet cuts" in refused(line)
    else:
        assert moved(line).item == ForeignName("gtin", code)


def test_digits_of_a_number_are_read_however_it_is_written() -> None:
    data = a_book([HEAD, (4006381333931, 1)])

    for written in ("4.006381333931E+12", "4.006381333931e12", "4006381333931.0"):
        changed = with_part(data, SHEET, "<v>4006381333931</v>", f"<v>{written}</v>")
        assert moved(lines_of(changed, GTINS)[0]).item.code == "04006381333931"


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (4006380000000, "comes back from one that was shown in short (4.00638E+12)"),
        ("4.00638E+12", "a spreadsheet made of a number; its digits are lost"),
        (123456789012345678, "a number of 18 digits, of which Excel keeps 15"),
        (1.5, "is the number 1.5, of which zeros may be lost"),
        (-5, "is the number -5"),
        ((46349, "d-mmm"), "Excel makes one of texts such as 1-2 and 1.5"),
        ((7, '"S-"000'), "shown with signs that its format adds"),
        ((123456789, "000-00-0000"), "shown with signs that its format adds"),
        (True, "is TRUE, and neither a text nor a number"),
    ],
)
def test_a_name_of_which_a_number_may_have_lost_something_is_refused(cell: Cell, told: str) -> None:
    line = line_of((cell, 1))
    if cell == "4.00638E+12":
        line = line_of((cell, 1), GTINS)

    assert told in refused(line)


@pytest.mark.parametrize(
    ("cell", "code"),
    [("007", "007"), (7, "7"), ((7, "000"), "007"), ((7, "0"), "7"), ((7, "@"), "7")],
)
def test_a_place_is_what_is_to_be_seen(cell: Cell, code: str) -> None:
    by = SALES.replace('location = "shop-7"\n', "").replace("sku =", 'location = "shop"\nsku =')

    assert moved(line_of(("A", 1, cell), by, (*HEAD, "shop"))).place.code == code


# ---- quantities


@pytest.mark.parametrize(
    ("cell", "meant"),
    [(2, "2"), (1.1, "1.1"), (0.1 + 0.2, "0.3"), (1.125, "1.125"), ("1,25", "1.25"),
     ((1234.5, "#,##0.00"), "1234.5"), (1e3, "1000")],
)  # fmt: skip
def test_a_quantity_is_a_number_or_a_text_by_the_signs_of_the_map(cell: Cell, meant: str) -> None:
    line = moved(line_of(("A", cell), f'decimal = ","\nthousands = "."\n{SALES}'))

    assert line.quantity == Decimal(meant)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ((46508, "d.m"), "qty, the quantity, is a date: Excel makes one of texts such as"),
        ("1,5", "no number as it is written"),
        (False, "qty, the quantity, is FALSE"),
        (None, "qty, the quantity, is empty: fill it in, or"),
        (1e300, "a number far too large or small"),
        (1 / 3, "no number as it is written"),
    ],
)
def test_a_quantity_that_is_none_is_refused(cell: Cell, told: str) -> None:
    assert told in refused(line_of(("A", cell)))


def test_a_negative_number_and_a_count_are_what_they_are_in_a_csv_file() -> None:
    assert "is below 0, and the map does not say" in refused(line_of(("A", -1)))
    line = line_of(("A", 0), SALES.replace('"sold"', '"counted"'))
    assert isinstance(line, LevelLine)


# ---- days


@pytest.mark.parametrize("form", ["dd.mm.yyyy hh:mm", "yyyy-mm-dd", "[$-409]m/d/yy h:mm AM/PM;@"])
def test_a_day_is_read_from_its_number_whatever_is_shown_of_it(form: str) -> None:
    line = moved(line_of(("A", 1, (NOON, form)), TIMES, (*HEAD, "day")))

    assert line.time == "2026-11-23T11:00:00Z"


def test_the_same_number_is_another_day_where_days_are_counted_from_1904() -> None:
    cell = (NOON, "dd.mm.yyyy")

    line = moved(line_of(("A", 1, cell), TIMES, (*HEAD, "day"), date_1904=True))

    assert line.time == "2030-11-24T11:00:00Z"


@pytest.mark.parametrize(
    ("serial", "is_1904", "moment"),
    [("1", False, "1900-01-01T00:00:00"), ("59", False, "1900-02-28T00:00:00"),
     ("61", False, "1900-03-01T00:00:00"), ("1.5", True, "1904-01-02T12:00:00"),
     ("46349.416666666664", False, "2026-11-23T10:00:00"),
     ("46349.999999999", False, "2026-11-24T00:00:00"),
     ("2958465", False, "9999-12-31T00:00:00")],
)  # fmt: skip
def test_days_are_counted_as_excel_does(serial: str, is_1904: bool, moment: str) -> None:
    assert moment_of_serial(serial, is_1904=is_1904) == moment


@given(st.integers(86_400, 2_950_000 * 86_400), st.booleans())
def test_every_second_comes_back_from_its_number(second: int, is_1904: bool) -> None:
    first = datetime(1904, 1, 1, tzinfo=UTC) if is_1904 else datetime(1899, 12, 30, tzinfo=UTC)
    second += 0 if is_1904 else 60 * 86_400
    moment = (first + timedelta(seconds=second)).replace(tzinfo=None)

    assert moment_of_serial(repr(second / 86_400), is_1904=is_1904) == moment.isoformat()


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ((60, "dd.mm.yyyy"), "29 February 1900, a day that only Excel has"),
        ((0.5, "hh:mm"), "is a time of day without its day"),
        ((-1, "dd.mm.yyyy"), "of a year that Excel does not have"),
        ((3e6, "dd.mm.yyyy"), "of a year that Excel does not have"),
        (NOON, "is the number 46349.5, and not shown as a date"),
        ((NOON, "[h]:mm"), "is the number 46349.5, and not shown as a date"),
        ("13/04/2026", "is '13/04/2026', a text and no date of Excel's"),
    ],
)
def test_a_day_that_is_none_or_a_text_among_days_is_refused(cell: Cell, told: str) -> None:
    assert told in refused(line_of(("A", 1, cell), TIMES, (*HEAD, "day")))


def test_a_day_among_texts_is_refused_for_it_may_be_another_one() -> None:
    by = TIMES.replace('"excel"', '"%d/%m/%Y"')

    told = refused(line_of(("A", 1, (46125, "dd/mm/yyyy")), by, (*HEAD, "day")))
    assert "is a date of Excel, and time_form in the map is for texts" in told
    assert moved(line_of(("A", 1, "13/04/2026"), by, (*HEAD, "day"))).time


def test_an_empty_cell_of_a_time_is_no_time() -> None:
    assert moved(line_of(("A", 1, None), TIMES, (*HEAD, "day"))).time is None


def test_a_day_written_as_text_by_the_standard_is_a_day() -> None:
    data = a_book([(*HEAD, "day"), ("A", 1, (NOON, "dd.mm.yyyy"))])
    cell = '<c r="C2" s="1"><v>46349.5</v></c>'

    for day, time in (("2026-11-23", "2026-11-22T23:00:00Z"),
                      ("2026-11-23T12:00:00", "2026-11-23T11:00:00Z")):  # fmt: skip
        changed = with_part(data, SHEET, cell, f'<c r="C2" t="d"><v>{day}</v></c>')
        assert moved(lines_of(changed, TIMES)[0]).time == time
    changed = with_part(data, SHEET, cell, '<c r="C2" t="d"><v>2026-11-23T12:00:00Z</v></c>')
    assert "with a zone or unlike Excel's" in refused(lines_of(changed, TIMES)[0])


@pytest.mark.parametrize(
    ("number", "code", "is_date", "digits"),
    [(0, None, False, 0), (14, None, True, 0), (22, None, True, 0), (46, None, False, 0),
     (164, "General", False, 0), (164, "dd/mm/yyyy;@", True, 0), (164, '0.0 "days"', False, 0),
     (164, "[Red]0", False, 1), (164, "[h]:mm:ss", False, 0), (164, "000000", False, 6),
     (164, r"0\d", False, 1), (164, "_-* #,##0_-;-* #,##0_-", False, 0), (164, "yyyy", True, 0)],
)  # fmt: skip
def test_a_format_shows_a_day_or_zeros_or_neither(
    number: int, code: str | None, is_date: bool, digits: int
) -> None:
    form = form_of(number, code)

    assert (form.is_date, form.digits) == (is_date, digits)
