"""Tables read by a map: each trap of a CSV file, and what a row becomes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importers.documents.port import (
    BrokenDocument,
    Document,
    DocumentPart,
    ForeignName,
    LevelLine,
    MovedLine,
    Movement,
    OtherLine,
)
from importers.documents.sheets.csvs import csv_format
from importers.documents.sheets.maps import read_sheet_map
from tests.support.inputs.sheets import SALES, moved, refused


def parts_of(data: bytes | str, by: str = SALES) -> list[DocumentPart]:
    raw = data.encode() if isinstance(data, str) else data
    return list(csv_format(read_sheet_map(by), "sales.csv").read(io.BytesIO(raw)))


def lines_of(data: bytes | str, by: str = SALES) -> list[DocumentPart]:
    first, *lines = parts_of(data, by)
    assert isinstance(first, Document)
    return lines


def line_of(row: str, by: str = SALES, header: str = "sku,qty") -> DocumentPart:
    (line,) = lines_of(f"{header}\n{row}\n", by)
    return line


def test_a_row_becomes_a_line_that_names_its_place_in_the_file() -> None:
    document, line = parts_of("sku,qty\nA-1,2\n")

    assert document == Document(identity="file:sales.csv", where="line 1")
    assert line == MovedLine(
        where="line 2",
        number="2",
        movement=Movement.SOLD,
        item=ForeignName("sku", "A-1"),
        place=ForeignName("location", "shop-7"),
        quantity=Decimal(2),
    )


def test_two_equal_rows_are_two_lines() -> None:
    first, second = map(moved, lines_of("sku,qty\nA-1,2\nA-1,2\n"))

    assert first.number != second.number
    assert (first.item, first.quantity) == (second.item, second.quantity)


@pytest.mark.parametrize(
    ("encoding", "named"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("cp1252", "cp1252"), ("utf-16", "utf-16")],
)
def test_an_encoding_that_is_declared_is_read_with_or_without_a_byte_order_mark(
    encoding: str, named: str
) -> None:
    by = f'encoding = "{named}"\n' + SALES.replace('sku = "sku"', 'sku = "größe"')

    (line,) = lines_of("größe,qty\nÄ-1,2\n".encode(encoding), by)

    assert moved(line).item.code == "Ä-1"


@pytest.mark.parametrize(
    ("data", "by", "told"),
    [
        ("sku,qty\nÄ,1\n".encode("cp1252"), SALES, "In line 1 or behind it stand bytes that are"),
        ("sku,qty\nA,1\n".encode("utf-16-le"), SALES, "Line 1 holds a zero byte, as UTF-16"),
        (b'sku,qty\nA,1\n"B,2\n', SALES, "Line 3 begins a row that cannot be read"),
        (b'sku,qty\n"A"x,1\n', SALES, "Line 2 begins a row that cannot be read"),
        (b"", SALES, "The file has no rows"),
        (b"\n\n", SALES, "The file has no rows"),
        (
            b"SKU,qty\nA,1\n",
            SALES,
            "no column 'sku', which the map names: there are SKU, qty. If the",
        ),
        (b"skus,qty\nA,1\n", SALES, "no column 'sku', which the map names: did you mean 'skus'?"),
        (b"sku;qty\nA;1\n", SALES, "its first row is one column, so set delimiter in the map."),
        (b"sku,qty,qty\nA,1,2\n", SALES, "The heading 'qty' stands over 2 columns"),
        (b"x" * 2**20, SALES, "Line 1 has a million characters"),
        (b'sku,qty\n"' + b"x\n" * 70_000 + b'",1\n', SALES, "field larger than field limit"),
        (b"a,b\n", SALES.replace('"qty"', "3"), "The map names column 3, and the file has 2"),
    ],
)
def test_a_file_that_is_not_what_the_map_says_is_broken_as_a_whole(
    data: bytes, by: str, told: str
) -> None:
    with pytest.raises(BrokenDocument) as why:
        parts_of(data, by)

    assert told in str(why.value)


def test_line_breaks_inside_of_quotes_do_not_end_a_row_and_numbers_stay_those_of_the_file() -> None:
    lines = lines_of('sku,qty,note\nA,1,"a\nb\r\nc"\nB,2,x\n')

    assert [moved(line).where for line in lines] == ["line 2", "line 5"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_end_of_a_line_is_one(end: str) -> None:
    assert len(lines_of(end.join(["sku,qty", "A,1", "B,2", ""]))) == 2


def test_a_row_with_a_column_too_many_is_refused_not_shifted() -> None:
    assert "The row has 3 of 2 columns: put a text" in refused(line_of("A,B,2"))
    assert "The row has 1 of 2 columns: export it again" in refused(line_of("A"))


@pytest.mark.parametrize(
    ("row", "rule"),
    [(",", "The row is empty."), ("  , ", "The row is empty."), (",,,", "The row is empty."),
     ("sku,qty", "The row is the heading again."), ("A,0", "A quantity of 0 moves nothing.")],
)  # fmt: skip
def test_a_row_that_says_nothing_is_not_for_stock_and_says_by_which_rule(
    row: str, rule: str
) -> None:
    line = line_of(row)

    assert isinstance(line, OtherLine)
    assert line.rule == rule


@pytest.mark.parametrize(
    ("cell", "decimal", "thousands", "meant"),
    [
        ("1", ".", "", "1"), (" +2 ", ".", "", "2"), ("1.250", ".", "", "1.250"),
        ("1,25", ",", "", "1.25"), ("1.250", ",", ".", "1250"), ("1.250,5", ",", ".", "1250.5"),
        ("1 250", ",", " ", "1250"), ("12'345'678", ".", "'", "12345678"), 
        ("1250", ",", ".", "1250"), ("1\u00a0250,5", ",", " ", "1250.5"),
        ("1\u202f250", ",", " ", "1250"),
    ],
)  # fmt: skip
def test_a_quantity_is_read_by_the_signs_that_are_declared(
    cell: str, decimal: str, thousands: str, meant: str
) -> None:
    by = f'delimiter = ";"\ndecimal = "{decimal}"\nthousands = "{thousands}"\n{SALES}'

    assert moved(line_of(f"A;{cell}", by, "sku;qty")).quantity == Decimal(meant)


@pytest.mark.parametrize(
    "cell", ["", "x", "1,5", "1,000", "5-", "(5)", "1e3", "0x1", "NaN", "Infinity", "١", "1_0",
             "9999999999999", "1.2345678", "--1", "1.", ".5"],
)  # fmt: skip
def test_what_is_no_number_by_these_signs_is_refused_and_never_guessed(cell: str) -> None:
    by = f'delimiter = ";"\n{SALES}'

    told = refused(line_of(f"A;{cell}", by, "sku;qty"))

    assert told.startswith("qty, the quantity, is ")


def test_a_quantity_below_0_is_a_return_only_if_the_map_says_so() -> None:
    assert "is below 0, and the map does not say what that means" in refused(line_of("A,-2"))

    line = moved(line_of("A,-2", f'{SALES}[negative]\nsold = "returned"\n'))
    assert (line.movement, line.quantity) == (Movement.RETURNED, Decimal(2))


@pytest.mark.parametrize(
    ("kind", "quantity"), [("sold", 2), ("dispatched", 2), ("returned", -2), ("received", -2)]
)
def test_what_becomes_an_adjustment_has_the_sign_of_what_it_does_to_the_stock(
    kind: str, quantity: int
) -> None:
    by = SALES.replace('"sold"', f'"{kind}"\nreason = "correction"')

    line = moved(line_of("A,-2", f'{by}[negative]\n{kind} = "adjusted"\n'))

    assert (line.movement, line.quantity) == (Movement.ADJUSTED, Decimal(quantity))


def test_a_quantity_below_0_may_be_ignored_by_the_map() -> None:
    line = line_of("A,-2", f'{SALES}[negative]\nsold = "ignored"\n')

    assert isinstance(line, OtherLine)
    assert line.rule == "Its quantity is below 0, which [negative] of the map ignores."


def test_an_adjustment_keeps_its_sign_and_needs_a_reason() -> None:
    by = SALES.replace('"sold"', '"adjusted"')
    assert "An adjusted row needs a reason" in refused(line_of("A,-2", by))

    line = moved(line_of("A,-2", by.replace("[columns]", 'reason = "damage"\n[columns]')))
    assert (line.movement, line.quantity, line.reason) == (Movement.ADJUSTED, Decimal(-2), "damage")


def test_a_count_is_a_level_also_of_nothing_and_never_below() -> None:
    by = SALES.replace('"sold"', '"counted"')

    line = line_of("A,0", by)
    assert isinstance(line, LevelLine)
    assert line.quantity == 0
    assert "which no count is" in refused(line_of("A,-1", by))


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("4.00638E+12", "a spreadsheet made of a number; its digits are lost"),
        ("4006381333931.0", "a spreadsheet made of a number"),
        ("6381333931", "no GTIN, which has 8, 12, 13 or 14 digits"),
        ("4006381333932", "its check digit does not fit"),
        ("", "is empty: fill it in, or leave such rows out by [only] or [not_for_stock]"),
        ("４００６３８１３３３９３１", "no GTIN"),
    ],
)
def test_a_gtin_that_a_spreadsheet_has_spoilt_is_refused(cell: str, told: str) -> None:
    by = SALES.replace("sku =", "gtin =")

    assert told in refused(line_of(f"{cell},1", by))


@pytest.mark.parametrize("cell", ["012345678905", "0012345678905", "00012345678905"])
def test_a_gtin_of_any_length_is_one_item(cell: str) -> None:
    line = moved(line_of(f"{cell},1", SALES.replace("sku =", "gtin =")))

    assert line.item == ForeignName("gtin", "00012345678905")


def test_words_of_a_kind_are_said_by_the_map_and_an_unknown_one_is_refused() -> None:
    by = """
        [constants]
        location = "shop-7"
        [columns]
        kind = "what"
        sku = "sku"
        quantity = "qty"
        [words.kind]
        V = "sold"
        P = "ignored"
    """
    header = "what,sku,qty"

    assert moved(line_of("V,A,1", by, header)).movement is Movement.SOLD
    assert isinstance(line_of("P,A,1", by, header), OtherLine)
    told = refused(line_of("Q,A,1", by, header))
    assert told == (
        "what, the kind, is 'Q', a word that [words.kind] of the map does not have: add it."
    )


def test_only_and_not_for_stock_leave_rows_out_by_a_word() -> None:
    by = f'{SALES}[only]\nstate = ["paid"]\n[not_for_stock]\nsku = ["POST"]\n'
    header = "sku,qty,state"

    assert moved(line_of("A,1,paid", by, header))
    left = [line_of(row, by, header) for row in ("A,1,open", "POST,1,paid")]
    assert [line.rule for line in left if isinstance(line, OtherLine)] == [
        "[only] of the map leaves out state 'open'.",
        "[not_for_stock] of the map names sku 'POST'.",
    ]


def test_a_file_without_a_heading_has_columns_by_number() -> None:
    by = SALES.replace('"sku"', "2").replace('"qty"', "1")

    lines = lines_of("junk\n3,A\n4,B\n", f"header = false\nskip = 1\n{by}")

    assert [(moved(one).item.code, moved(one).where) for one in lines] == [
        ("A", "line 2"),
        ("B", "line 3"),
    ]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=20), st.sampled_from(",;\t|"), st.data())
def test_whatever_is_in_cells_each_row_is_one_line_with_a_number_of_its_own(
    rows: Iterable[tuple[str, str, str]], delimiter: str, data: st.DataObject
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow(["sku", "qty", "note"])
    writer.writerows(rows)

    lines = lines_of(text.getvalue(), f'delimiter = "{delimiter}"\n{SALES}'.replace("\t", "\\t"))

    assert len(lines) == len(list(rows))
    numbers = [line.number for line in lines if not isinstance(line, Document)]
    assert len({*numbers}) == len(numbers)
    for line, (sku, quantity, _) in zip(lines, rows, strict=True):
        if isinstance(line, MovedLine):
            assert line.item.code == sku.strip()
            assert line.quantity == Decimal(quantity.strip())


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_are_a_broken_document(data: bytes) -> None:
    with suppress(BrokenDocument):
        parts_of(b"sku,qty\n" + data)


@pytest.mark.parametrize(
    ("day", "clock", "said"),
    [
        ("23.11.2026", " 10:05 ", "2026-11-23T09:05:00Z"),
        ("", "", None),
        ("23.11.2026", "", "at, the time, is '23.11.2026', not of the form"),
        ("", "10:05", "at, the time, is '10:05', not of the form"),
        ("46349", "10:05", "at, the time, is '46349 10:05', not of the form"),
    ],
)
def test_a_clock_in_a_column_of_its_own_is_read_behind_the_day(
    day: str, clock: str, said: str | None
) -> None:
    by = 'time_form = "%d.%m.%Y %H:%M"\nzone = "Europe/Berlin"\n'
    by += SALES + 'time = "at"\nclock = "o\'clock"\n'
    line = line_of(f"A,1,{day},{clock}", by, "sku,qty,at,o'clock")

    if isinstance(line, MovedLine):
        assert line.time == said
    else:
        assert said is not None
        assert said in refused(line)


@pytest.mark.parametrize("form", ["excel", "%d.%m.%Y"])
@pytest.mark.parametrize("cell", ["46349", "46349,41667", "46349.5"])
def test_a_number_that_a_spreadsheet_keeps_for_a_date_is_named_so(form: str, cell: str) -> None:
    by = f'time_form = "{form}"\n{SALES}time = "at"\n'

    told = refused(line_of(f'A,1,"{cell}"', by, "sku,qty,at"))
    assert "the number that a spreadsheet keeps for a date: give the column the format" in told
