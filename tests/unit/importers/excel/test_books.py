"""Excel's own files: formulas, errors, merged and hidden cells, sheets, and all kinds of texts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importers.documents.port import BrokenDocument, Document, MovedLine, OtherLine, RefusedLine
from tests.support.inputs.sheets import SALES, moved, refused
from tests.unit.importers.excel.workbooks import (
    HEAD,
    NOON,
    SHEET,
    TIMES,
    Then,
    a_book,
    line_of,
    lines_of,
    with_part,
)


def a_formula(formula: str, value: Any) -> Then:
    return lambda book, sheet: sheet.write_formula(1, 1, formula, None, value)


def test_a_formula_is_the_value_that_excel_calculated() -> None:
    assert moved(line_of(("A",), then=a_formula("=1+2", 3))).quantity == 3
    swapped = SALES.replace('"qty"', '"?"').replace('"sku"', '"qty"').replace('"?"', '"sku"')
    assert moved(line_of((4,), swapped, then=a_formula('="A"&"1"', "A1"))).item.code == "A1"


def test_the_value_of_a_formula_that_nobody_calculated_is_not_believed() -> None:
    told = "is a formula that the program which wrote the file did not calculate"

    # Without Excel a program cannot know the value: some write 0 and ask for a calculation,
    assert told in refused(line_of(("A",), then=a_formula("=1+2", 0), is_calculated=False))
    # and others write nothing.
    data = a_book([HEAD, ("A",)], a_formula("=1+2", 3))
    for empty in ("", "<v/>", "<v></v>"):
        assert told in refused(lines_of(with_part(data, SHEET, "<v>3</v>", empty))[0])


def test_a_formula_in_a_column_that_the_map_does_not_name_does_not_matter() -> None:
    then: Then = lambda book, sheet: sheet.write_formula(1, 2, "=B2*2")  # noqa: E731
    data = a_book([(*HEAD, "price"), ("A", 1)], then, is_calculated=False)

    assert moved(lines_of(data)[0])


@pytest.mark.parametrize(
    ("formula", "is_sum"),
    [("=SUM(B2:B9)", True), ("=SUBTOTAL(109,[qty])", True), ("=SUM(C2:F2)", False),
     ("=SUM($B$2:$B$9)", True), ("=C2*2", False), ("=SUM(C2,D2)", False)],
)  # fmt: skip
def test_a_sum_of_other_rows_is_no_sale(formula: str, is_sum: bool) -> None:
    line = line_of(("Total",), then=a_formula(formula, 12))

    if is_sum:
        assert "is a sum of other rows, which count by themselves" in refused(line)
    else:
        assert moved(line).quantity == 12


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#DIV/0!"])
def test_an_error_is_refused_where_its_column_is_used(error: str) -> None:
    told = refused(line_of(("A",), then=a_formula("=X", error)))

    assert told == f"qty, the quantity, is the error {error}: correct the cell."


def test_an_error_in_a_column_of_a_rule_is_refused_not_left_out() -> None:
    by = f'{SALES}[only]\nstate = ["paid"]\n'
    then: Then = lambda book, sheet: sheet.write_formula(1, 2, "=X", None, "#N/A")  # noqa: E731

    assert refused(line_of(("A", 1), by, (*HEAD, "state"), then)).startswith("state is the error")


# ---- rows, sheets, texts


def test_merged_cells_are_refused_for_all_rows_that_they_are_over() -> None:
    rows = [(*HEAD, "note"), ("A", 1), ("B", None), ("C", 3)]
    lines = lines_of(a_book(rows, lambda book, sheet: sheet.merge_range("B2:B3", 1)))

    assert [line.where for line in lines if isinstance(line, RefusedLine)] == ["line 2", "line 3"]
    assert "qty, the quantity, is one of the merged cells B2:B3" in refused(lines[0])
    assert moved(lines[2]).quantity == 3


def test_merged_cells_beside_what_the_map_names_do_not_matter() -> None:
    rows = [(*HEAD, "note", "more"), ("A", 1), ("B", 2)]

    lines = lines_of(a_book(rows, lambda book, sheet: sheet.merge_range("C2:D3", "x")))

    assert [moved(line).quantity for line in lines] == [1, 2]


def test_a_merged_time_is_not_taken_for_none() -> None:
    rows = [(*HEAD, "day"), ("A", 1), ("B", 2)]

    def then(book: Any, sheet: Any) -> None:
        day = book.add_format({"num_format": "dd.mm.yyyy"})
        sheet.merge_range("C2:C3", "", day)
        sheet.write_number("C2", NOON, day)

    lines = lines_of(a_book(rows, then), TIMES)

    assert all("is one of the merged cells C2:C3" in refused(line) for line in lines)


def hide_the_second(book: Any, sheet: Any) -> None:
    sheet.set_row(2, None, None, {"hidden": True})


def test_a_hidden_row_is_refused_until_the_map_says_what_becomes_of_it() -> None:
    data = a_book([HEAD, ("A", 1), ("B", 2), ("C", 3)], hide_the_second)

    first, second, third = lines_of(data)
    assert "The row is hidden, by a filter or by hand" in refused(second)
    assert [moved(one).quantity for one in (first, third)] == [1, 3]
    assert [moved(one).quantity for one in lines_of(data, f'hidden = "read"\n{SALES}')] == [1, 2, 3]
    _, second, _ = lines_of(data, f'hidden = "left out"\n{SALES}')
    assert isinstance(second, OtherLine)


def test_of_several_sheets_the_map_names_one() -> None:
    data = a_book([HEAD, ("A", 1)], sheets=("Sales", "Prices"))

    with pytest.raises(BrokenDocument, match="It has 2 sheets, 'Sales', 'Prices': say which"):
        lines_of(data)
    assert moved(lines_of(data, f'sheet = "Sales"\n{SALES}')[0])
    with pytest.raises(BrokenDocument, match="There is no sheet 'sales': there are 'Sales', 'Pr"):
        lines_of(data, f'sheet = "sales"\n{SALES}')
    with pytest.raises(BrokenDocument, match="The sheet 'Prices' has no rows"):
        lines_of(data, f'sheet = "Prices"\n{SALES}')


def test_a_sheet_that_nobody_sees_is_read_only_by_its_name() -> None:
    data = a_book([HEAD, ("A", 1)], lambda book, sheet: book.worksheets()[1].hide(),
                  sheets=("Sales", "Lists"))  # fmt: skip

    assert moved(lines_of(data)[0])


def test_rows_above_the_headings_are_left_out_and_notes_beside_them_do_not_shift() -> None:
    data = a_book([("Report of November",), (), HEAD, ("A", 1, None, "a note"), ("B", 2)])

    lines = lines_of(data, f"skip = 2\n{SALES}")

    assert [moved(line).where for line in lines] == ["line 4", "line 5"]


def test_columns_may_be_named_by_their_number() -> None:
    by = "header = false\n" + SALES.replace('"sku"', "3").replace('"qty"', "1")

    lines = lines_of(a_book([(2, None, "A"), (3,)]), by)

    assert moved(lines[0]).item.code == "A"
    assert "sku, is empty" in refused(lines[1])


def test_a_text_of_several_kinds_of_letters_is_one_text() -> None:
    def then(book: Any, sheet: Any) -> None:
        sheet.write_rich_string(1, 0, "A", book.add_format({"bold": True}), "-1")

    assert moved(line_of((None, 1), then=then)).item.code == "A-1"


def test_how_a_text_is_read_aloud_is_no_part_of_it() -> None:
    data = a_book([HEAD, ("A", 1)])

    changed = with_part(data, "xl/sharedStrings.xml", "<t>A</t>",
                        '<t>東京</t><rPh sb="0" eb="2"><t>トウキョウ</t></rPh>')  # fmt: skip

    assert moved(lines_of(changed)[0]).item.code == "東京"


def test_texts_inside_of_cells_are_read_as_those_in_the_list() -> None:
    data = a_book([HEAD, ("A", 1)])
    cell = '<c r="A2" t="s"><v>2</v></c>'

    changed = with_part(data, SHEET, cell, '<c t="inlineStr"><is><t>A_x002D_1</t></is></c>')

    assert moved(lines_of(changed)[0]).item.code == "A-1"


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.integers(-5, 10**11)), max_size=9))
def test_whatever_is_in_cells_each_row_is_one_line_with_a_number_of_its_own(
    rows: list[tuple[str, int]],
) -> None:
    lines = lines_of(a_book([HEAD, *rows]), f'{SALES}[negative]\nsold = "returned"\n')

    assert len(lines) == len(rows)
    for number, (line, (sku, quantity)) in enumerate(zip(lines, rows, strict=True), 2):
        assert not isinstance(line, Document)
        assert line.number == str(number)
        if isinstance(line, MovedLine):
            assert line.item.code == sku.strip()
            assert line.quantity == abs(quantity)
