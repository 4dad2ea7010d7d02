"""The map of a table: what is wrong with it is told at once; and the draft of one."""

from __future__ import annotations

import io
import tomllib

import pytest

from importers.documents.port import BrokenDocument, MovedLine
from importers.documents.sheets.csvs import csv_format
from importers.documents.sheets.drafting import draft_map
from importers.documents.sheets.maps import read_sheet_map
from importers.mapfile import MapError

GOOD = """
time_form = "%Y-%m-%d"
[constants]
kind = "sold"
[columns]
gtin = "EAN"
location = "Store"
quantity = "Qty"
time = "Day"
"""


def told_of(text: str) -> list[str]:
    with pytest.raises(MapError) as wrong:
        read_sheet_map(text)
    return wrong.value.problems


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("time_form", "time_from"), "Line 2: time_from is not known: did you mean time_form?"),
        (('"sold"', '"sale"'), "Line 4: [constants] kind is 'sale': use one of received, "),
        (('gtin = "EAN"', ""), "The map does not say what the item (sku, gtin, item) of a row is"),
        (('"Qty"', "0"), "Line 8: [columns] quantity is no column: write its heading in quotes"),
        (('"EAN"', '"EAN"\nsku = "No"'), "[columns] gtin is given beside sku: a row has one item"),
        (("%Y-%m-%d", "%Y-%m"), "Line 2: time_form has no %d: a time needs its whole day"),
        (("%Y-%m-%d", "%Y-%m-%d %Q"), "time_form has %Q: known are %Y"),
        (("%Y-%m-%d", "%Y-%m-%d %I"), "has an hour of twelve (%I) without %p"),
        (("%Y-%m-%d", "%Y-%m-%d %S"), "has a part of the time of day, but not its hour"),
        (('time_form = "%Y-%m-%d"', ""), "The map does not say how a time is written: set time_fo"),
        (('\ntime = "Day"', ""), "Line 2: time_form is of a time, and [columns] has none"),
        (("[columns]", 'quantity = 1\n[columns]'), "quantity is in [constants] too: remove one"),
        (("[constants]", 'zone = "Mars/Base"\n[constants]'), "zone is wrong: 'Mars/Base'"),
        (("[constants]", 'delimiter = ";;"\n[constants]'), "delimiter is ';;': use one character"),
        (("[constants]", 'encoding = "hex"\n[constants]'), "encoding is 'hex': use one such as"),
        (("[constants]", 'decimal = ";"\n[constants]'), "decimal is ';': use one of '.', ','"),
        (("[constants]", 'thousands = "."\n[constants]'), "thousands is '.', as decimal is"),
        (("[constants]", "header = false\n[constants]"), "gtin is a heading, and header is false"),
        (("[constants]", "skip = -1\n[constants]"), "skip is how many lines to leave out"),
        (("[columns]", "[negative]\ncounted = \"sold\"\n[columns]"), "[negative] counted is not"),
        (("[columns]", "[negative]\nsold = \"counted\"\n[columns]"), "no count is below 0"),
        (("[columns]", "[words.quantity]\na = \"1\"\n[columns]"), "[words] quantity has no words"),
        (("[columns]", "[only]\nState = 1\n[columns]"), "[only] State is a list of texts"),
        (('"Store"', '"?"'), "Line 7: [columns] location is a question of the draft: answer it."),
        (("[columns]", "[columns"), "The map is not TOML"),
        (('time = "Day"', 'clock = "At"'), "clock says a time of day, and no column the day"),
        (('"Day"', '"Day"\nclock = "At"'), "clock is read behind time, and time_form has no hour"),
        (('"sold"', '"sold"\nclock = "10:00"'), "clock cannot be the same for all"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_map_is_told_with_its_line_and_the_remedy(
    change: tuple[str, str], told: str
) -> None:
    assert GOOD.count(change[0]) >= 1
    problems = told_of(GOOD.replace(*change))

    assert any(told in problem for problem in problems), problems
    assert all(problem.endswith((".", "?")) for problem in problems)


def test_a_byte_order_mark_is_no_part_of_a_map() -> None:
    assert read_sheet_map(f"\ufeff{GOOD}").columns == read_sheet_map(GOOD).columns


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(told_of(GOOD.replace('"sold"', '"sale"').replace('"Qty"', "0"))) == 2


DRAFTED = """EAN;Filiale;Menge;Datum;Vorgang;Bon;Preis
4006381333931;007;2;23.11.2026;Verkauf;4711;1,99
4006381333931;007;-1,5;24.11.2026;Verkauf;4712;1,99
"""


def test_a_draft_fills_in_what_the_file_shows_and_asks_what_it_does_not() -> None:
    draft = draft_map(b"\xef\xbb\xbf" + DRAFTED.encode(), "sales.csv")

    found = tomllib.loads(draft)
    assert found["delimiter"] == ";"
    assert found["decimal"] == ","
    assert found["time_form"] == "%d.%m.%Y"
    assert found["columns"] == {
        "gtin": "EAN", "location": "Filiale", "quantity": "Menge", "time": "Datum",
        "kind": "Vorgang", "reference": "Bon",
    }  # fmt: skip
    assert found["zone"] == found["negative"]["sold"] == found["words"]["kind"]["Verkauf"] == "?"
    assert '# Not used: "Preis".' in draft


def test_a_draft_is_refused_until_its_questions_are_answered_and_then_reads_its_file() -> None:
    draft = draft_map(DRAFTED.encode(), "sales.csv")
    assert all("is a question of the draft: answer it." in told for told in told_of(draft))

    answered = draft.replace('zone = "?"', 'zone = "Europe/Berlin"')
    answered = answered.replace('"Verkauf" = "?"', '"Verkauf" = "sold"')
    by = read_sheet_map(answered.replace('sold = "?"', 'sold = "returned"'))
    lines = list(csv_format(by, "sales.csv").read(io.BytesIO(DRAFTED.encode())))[1:]
    assert [line.time for line in lines if isinstance(line, MovedLine)] == [
        "2026-11-22T23:00:00Z",
        "2026-11-23T23:00:00Z",
    ]


@pytest.mark.parametrize(
    ("day", "form"),
    [("03/04/2026", "?"), ("13/04/2026", "%d/%m/%Y"), ("04/13/2026", "%m/%d/%Y"),
     ("2026-04-03T10:00:00Z", "rfc3339"), ("20260403", "%Y%m%d"), ("3rd of April", "?"),
     ("4/13/2026 8:26 PM", "%m/%d/%Y %I:%M %p")],
)  # fmt: skip
def test_a_draft_never_guesses_which_number_is_the_month(day: str, form: str) -> None:
    draft = draft_map(f"sku,qty,date\nA,1,{day}\n".encode(), "x.csv")

    assert tomllib.loads(draft)["time_form"] == form


@pytest.mark.parametrize(
    ("cells", "decimal", "thousands"),
    [("1;2", ".", None), ("1.5;2", ".", None), ("1,25;2", ",", None), ("1.000;2", "?", None),
     ("1,000;2", "?", None), ("1.000,5;2", ",", "."), ("1,000.5;2", ".", ","),
     ("1.000;2,5", "?", None)],
)  # fmt: skip
def test_a_draft_never_guesses_whether_a_sign_is_of_thousands(
    cells: str, decimal: str, thousands: str | None
) -> None:
    rows = "".join(f"A;{cell}\n" for cell in cells.split(";"))

    found = tomllib.loads(draft_map(f"sku;qty\n{rows}".encode(), "x.csv"))

    assert (found["decimal"], found.get("thousands")) == (decimal, thousands)


@pytest.mark.parametrize(
    ("data", "encoding", "heading"),
    [("größe,qty\nA,1\n".encode("cp1252"), "cp1252", "größe"),
     ("größe,qty\nA,1\n".encode("utf-16"), "utf-16", "größe"),
     (b'a "b",qty\nA,1\n', "utf-8", 'a "b"')],
)  # fmt: skip
def test_a_draft_names_the_encoding_and_is_toml_whatever_the_headings_are(
    data: bytes, encoding: str, heading: str
) -> None:
    draft = draft_map(data, 'a"\\b.csv')

    assert tomllib.loads(draft)["encoding"] == encoding
    assert heading in draft.replace("\\", "")


@pytest.mark.parametrize("data", [b"", b"one line\n", b"a,b\n", b"\0" * 100])
def test_what_is_no_table_gets_no_draft(data: bytes) -> None:
    with pytest.raises(BrokenDocument, match="It is no table"):
        draft_map(data, "x.csv")


def test_a_draft_finds_a_day_and_a_clock_in_two_columns_and_the_map_reads_both() -> None:
    text = "EAN;Filiale;Menge;Datum;Uhrzeit\n4006381333931;7;1;23.11.2026;10:05\n"
    draft = draft_map(text.encode(), "x.csv")
    assert tomllib.loads(draft)["time_form"] == "%d.%m.%Y %H:%M"
    assert tomllib.loads(draft)["columns"]["clock"] == "Uhrzeit"

    answered = draft.replace('zone = "?"', 'zone = "Europe/Berlin"').replace('"?"', '"sold"')
    (_, line) = csv_format(read_sheet_map(answered), "x.csv").read(io.BytesIO(text.encode()))
    assert isinstance(line, MovedLine)
    assert line.time == "2026-11-23T09:05:00Z"


@pytest.mark.parametrize(
    "text",
    ["sku,qty,date,time\nA,1,2026-11-23 10:05,10:05\n", "sku,qty,date,time\nA,1,2026-11-23,now\n",
     "sku,qty,date,time\nA,1,2026-11-23,\n", "sku,qty,time\nA,1,10:05\n"],
)  # fmt: skip
def test_a_draft_takes_no_column_for_a_clock_that_is_none_or_stands_beside_a_whole_time(
    text: str,
) -> None:
    assert "clock" not in tomllib.loads(draft_map(text.encode(), "x.csv"))["columns"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("EAN,Qty,Date\n4006381333931,1,46349.5\n", "is a spreadsheet's number of a date"),
        ("EAN,Qty\n4006381333931,1\n", "# No column looks like a time"),
        ("4006381333931,7,2\n4006381333931,7,1\n", "If it is no heading: header = false"),
        ("sku,qty\n4006381333931,1\n", "most are GTINs: as gtin they are one with"),
    ],
)
def test_a_draft_says_what_else_there_is_to_do(text: str, told: str) -> None:
    assert told in draft_map(text.encode(), "x.csv")


def test_a_draft_leaves_out_what_stands_above_the_heading_and_the_map_reads_the_rest() -> None:
    above = 'Sales;;;\n"of 1\n2";;;\n\n;;;\n'
    data = f"{above}sku;qty;kind;shop\nA;1;sold;7\nB;2;sold;7\n".encode()

    draft = draft_map(data, "a.csv")
    answered = draft.replace('"sold" = "?"', '"sold" = "sold"')

    assert "skip = 5" in draft
    found = list(csv_format(read_sheet_map(answered), "a").read(io.BytesIO(data)))
    assert [part.item.code for part in found if isinstance(part, MovedLine)] == ["A", "B"]


def test_a_draft_skips_nothing_where_the_heading_comes_first_or_behind_empty_lines() -> None:
    for above in ("", "\n\n"):
        assert "skip" not in draft_map(f"{above}sku,qty\nA,1\n".encode(), "a.csv")


def test_a_draft_has_no_question_of_the_zone_where_times_say_it() -> None:
    draft = draft_map(b"sku,qty,Created at\nA,1,2026-11-23 10:00:00 +0100\n", "x.csv")

    assert tomllib.loads(draft)["time_form"] == "%Y-%m-%d %H:%M:%S %z"
    assert "zone =" not in draft
    assert "No column looks like a time" not in draft
    assert "header = false" not in draft
    assert "GTIN" not in draft
