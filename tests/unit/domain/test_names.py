"""Which names a SKU may have: a table that no interpreter changes, and one rule for all readers."""

import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dev.oracle import reading
from domain import characters
from domain.checks import are_good_names, check_names
from domain.names import fault_of, fault_of_part
from domain.rows import row_key
from tests.unit.domain.names_to_try import BAD, GOOD
from web.http.parameters import BadRequest
from web.reads.questions import key_of


def points(ranges: str) -> Iterator[int]:
    for run in ranges.split():
        first, _, last = run.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


@cache
def by_category() -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for point in range(sys.maxunicode + 1):
        found[unicodedata.category(chr(point))].add(point)
    return found


def of_category(*wanted: str) -> set[int]:
    return {p for name, some in by_category().items() if name.startswith(wanted) for p in some}


def test_the_table_is_that_of_unicode_14_where_the_interpreter_knows_no_more() -> None:
    controls, spaces, invisible, unassigned, letters = (
        set(points(ranges))
        for ranges in (
            characters.CONTROLS,
            characters.SPACES,
            characters.INVISIBLE,
            characters.UNASSIGNED,
            characters.LETTERS,
        )
    )

    assert controls == of_category("Cc")
    assert spaces == of_category("Zs", "Zl", "Zp") - {0x20}
    assert letters <= of_category("L", "M")
    assert of_category("Cn") - invisible <= unassigned
    assert {p for first, last in reading.IGNORABLE for p in range(first, last + 1)} == (
        invisible - {0x2800} | {0x200C, 0x200D}
    )
    if unicodedata.unidata_version == "14.0.0":
        assert letters == of_category("L", "M")
        assert unassigned == of_category("Cn") - invisible


@pytest.mark.parametrize("name", GOOD)
def test_a_name_that_people_can_read_and_type_is_taken(name: str) -> None:
    assert fault_of(name) is None
    assert fault_of_part(name) is None


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_looks_like_another_or_like_nothing_is_refused(name: str) -> None:
    assert fault_of(name)


def test_the_character_is_named() -> None:
    assert fault_of("a\u200bb") == "must not hold U+200B, an invisible character"
    assert fault_of("a\u00a0b") == "must not hold U+00A0, a space other than U+0020"
    assert fault_of("a\tb") == "must not hold U+0009, a control character"
    assert (
        fault_of("a\U0001fae8")
        == "must not hold U+1FAE8, a character that Unicode 14 does not know"
    )
    assert fault_of("a\u200c") == "must not hold U+200C but between two letters"
    assert fault_of("xe\u0301") == "must be in Unicode's form NFC: U+00E9 for U+0065"


def test_what_a_name_begins_with_may_end_anywhere() -> None:
    assert fault_of_part("a ") is None
    assert fault_of_part("\u0645\u200c") is None
    assert fault_of_part("") is None
    assert fault_of_part("e\u0301")
    assert fault_of_part("a\u200b")
    assert fault_of_part("x" * 129)


# What hurts: ends of ranges, marks that compose, joiners, what came after Unicode 14.
HARD = "".join(
    chr(int(end, 16))
    for table in (characters.INVISIBLE, characters.UNASSIGNED, characters.LETTERS)
    for run in table.split()[::7]
    for end in run.split("-")
)
LETTERS = st.sampled_from("ab1 .~\x00\n\x7f\\éक्\u0301\u0323\u200c\u200d\u0645\u0cf3\U0001fae8") | (
    st.sampled_from([letter for letter in HARD if not "\ud800" <= letter <= "\udfff"])
)
NAMES = st.text(LETTERS, min_size=1, max_size=9)


def is_askable(name: str) -> bool:
    try:
        return key_of(f"/v1/inventory/{quote(name, safe='')}") == (name, None)
    except BadRequest:
        return False


@settings(max_examples=4 * settings().max_examples)
@given(NAMES)
@example("a\u200d\u0301b")
def test_the_log_the_path_and_the_oracle_know_the_same_names(name: str) -> None:
    fault = fault_of(name)

    assert (check_names(name, "x") is None) == (check_names("x", name) is None) == (fault is None)
    assert is_askable(name) == (fault is None)
    assert reading._is_name(name) == (fault is None)
    assert fault is None or (fault.isascii() and fault.isprintable())


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=4))
@example([("abc", "def\nghi\x00jkl")])
@example([("abc", "def\nghi\x00jkl"), ("abc\x00def\nghi", "jkl")])
@example([("abc\x00def", "ghi")])
@example([("abc", "def\n")])
def test_names_are_good_together_only_if_each_is_good(names: list[tuple[str, str]]) -> None:
    each_is_good = [check_names(*each) for each in names] == [None] * len(names)
    assert are_good_names([row_key(*each) for each in names]) == each_is_good


def test_the_usual_names_are_good_at_once() -> None:
    assert are_good_names([row_key("SKU-000042", "store-007"), row_key("123", "...")])
    assert not are_good_names([row_key("SKU-000042", "store-007"), row_key("..", "store-007")])
