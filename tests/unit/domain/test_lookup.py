"""Position tokens: opaque to users, exact for us, patient with strangers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.positions import format_position, parse_position, read_position
from tests.support.inputs.builders import LETTERS

TOPICS = st.text("aZ09._-", min_size=1, max_size=30)
POSITIONS = st.dictionaries(
    st.tuples(TOPICS, st.integers(0, 2**31 - 1)), st.integers(0, 2**63 - 1), max_size=5
)


@given(POSITIONS)
def test_a_position_survives_its_token(offsets: dict[tuple[str, int], int]) -> None:
    assert parse_position(format_position(offsets)) == offsets


def test_equal_positions_are_equal_texts() -> None:
    token = format_position({("shipments", 3): 88, ("sales", 3): 1234})

    assert token == "sales-3@1234,shipments-3@88"


def test_a_topic_may_hold_dots_dashes_and_digits() -> None:
    assert parse_position("eu-1.sales-2-3@7") == {("eu-1.sales-2", 3): 7}


@pytest.mark.parametrize(
    "part",
    ["", "sales", "sales-3", "sales@5", "sales-x@5", "sales-3@-1", "-3@5", "a@b-3@5", "@", "-@"],
)
def test_parts_of_a_kind_not_known_are_ignored(part: str) -> None:
    assert parse_position(f"{part},shipments-1@2") == {("shipments", 1): 2}


@pytest.mark.parametrize(
    "part",
    [
        "sales-3@٣",
        "sales-3@1_0",
        "sales-3@ 1",
        "sales-3@" + "9" * 5000,
        "sales-4294967296@1",
        "sales-3@9223372036854775808",
    ],
)
def test_numbers_that_kafka_has_not_are_ignored(part: str) -> None:
    assert parse_position(f"{part},shipments-1@2") == {("shipments", 1): 2}


def test_of_a_partition_named_twice_the_highest_offset_counts() -> None:
    assert parse_position("sales-3@9,sales-3@4") == {("sales", 3): 9}


@given(st.text(LETTERS, max_size=60))
def test_no_token_raises(token: str) -> None:
    parse_position(token)


# ---- what a caller wrote


@given(POSITIONS)
def test_what_an_answer_gave_is_taken_back(offsets: dict[tuple[str, int], int]) -> None:
    assert read_position(format_position(offsets)) == offsets


@pytest.mark.parametrize(
    "part", ["", "salez-3@5", "sales-99@5", "history@17", "eu-1.sales-2-3@7", "sales-3@5, b-1@2"]
)
def test_a_well_formed_part_of_any_name_is_taken(part: str) -> None:
    read_position(part)


@pytest.mark.parametrize(
    "part",
    ["foo", "sales-3", "@", "@5", "sales-3@", "sales-3@x", "sales-3@-1", "a@b-3@5", "sales-3@5,",
     "sales-3@٣", "sales-3@9223372036854775808", "sales-3@1_0"],
)  # fmt: skip
def test_a_part_that_is_no_position_is_refused_by_name(part: str) -> None:
    with pytest.raises(ValueError, match=r"must be a position that an answer gave"):
        read_position(part)


@given(st.text(LETTERS, max_size=60))
def test_what_is_taken_is_read_as_always(token: str) -> None:
    try:
        offsets = read_position(token)
    except ValueError:
        return
    assert offsets == parse_position(token)
