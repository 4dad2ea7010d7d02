"""A map drafted from a workbook: what it shows is filled in, and what it does not is asked."""

from __future__ import annotations

import io
import tomllib
from typing import Any

import pytest

from importers.documents.known import draft_table
from importers.documents.port import BrokenDocument
from tests.support.inputs.sheets import moved
from tests.unit.importers.excel.workbooks import NOON, a_book, lines_of

DAY = (NOON, "dd.mm.yyyy hh:mm")
ROWS = [
    ("Sales of November",),
    (),
    ("EAN", "Filiale", "Menge", "Zeit", "Vorgang", "Preis"),
    (4006381333931, (7, "000"), 2, DAY, "Verkauf", 1.99),
    ("4006381333931", (7, "000"), 1.125, DAY, "Verkauf", 1.99),
]


def drafted(data: bytes) -> str:
    return draft_table(io.BytesIO(data), "sales.xlsx")


def test_a_draft_names_what_a_workbook_shows_and_reads_it_once_it_is_answered() -> None:
    data = a_book(ROWS)
    draft = drafted(data)

    found = tomllib.loads(draft)
    assert (found["skip"], found["time_form"], found["decimal"]) == (2, "excel", ".")
    assert found["columns"] == {
        "gtin": "EAN", "location": "Filiale", "quantity": "Menge", "time": "Zeit",
        "kind": "Vorgang",
    }  # fmt: skip
    assert not {"encoding", "delimiter", "sheet", "hidden"} & {*found}
    assert 'location = "Filiale"  # "007"' in draft
    assert 'time = "Zeit"  # "2026-11-23T12:00:00"' in draft
    answered = draft.replace('zone = "?"', 'zone = "Europe/Berlin"')
    lines = lines_of(data, answered.replace('"Verkauf" = "?"', '"Verkauf" = "sold"'))
    assert [str(moved(line).quantity) for line in lines] == ["2", "1.125"]
    assert {moved(line).time for line in lines} == {"2026-11-23T11:00:00Z"}


def test_a_draft_names_the_sheet_of_several_and_asks_what_hidden_rows_are() -> None:
    def then(book: Any, sheet: Any) -> None:
        sheet.set_row(4, None, None, {"hidden": True})

    found = tomllib.loads(drafted(a_book(ROWS, then, sheets=("Sales", "Notes"))))

    assert (found["sheet"], found["hidden"]) == ("Sales", "?")


def test_a_draft_asks_how_times_are_written_that_are_texts_beside_days() -> None:
    rows = [("sku", "qty", "date"), ("A", 1, DAY), ("B", 1, "13/11/2026")]

    assert tomllib.loads(drafted(a_book(rows)))["time_form"] == "?"


def test_a_workbook_without_a_table_gets_no_draft() -> None:
    for rows in ([], [("a", "b")], [("a",), ("b",)]):
        with pytest.raises(BrokenDocument, match="It is no table"):
            drafted(a_book(rows))
