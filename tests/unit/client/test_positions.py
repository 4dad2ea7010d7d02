"""What a session has seen, and the text that carries it."""

import zlib
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.positions import format_position, parse_position, read_position, with_epoch
from onhand_client.positions import Positions, covers, imported

PLACES = st.tuples(st.from_regex(r"[a-z][a-z0-9._-]{0,9}", fullmatch=True), st.integers(0, 20))
OFFSETS = st.dictionaries(PLACES, st.integers(0, 2**40), max_size=20)


@given(OFFSETS, OFFSETS, st.integers(0, 9), st.integers(0, 9))
def test_of_each_topic_and_partition_the_highest_is_kept(
    one: dict[tuple[str, int], int], other: dict[tuple[str, int], int], e1: int, e2: int
) -> None:
    seen = Positions(with_epoch(format_position(one), e1))
    seen.see(with_epoch(format_position(other), e2))

    highest = {p: max(one.get(p, -1), other.get(p, -1)) for p in one.keys() | other.keys()}
    assert read_position(seen.token()) == highest
    assert seen.token().endswith(f"control@{max(e1, e2)}") or not max(e1, e2)
    for partition in {p for _, p in highest}:
        mine = {place: at for place, at in highest.items() if place[1] == partition}
        assert parse_position(seen.floor(partition)) == mine


@given(OFFSETS, st.integers(0, 9))
def test_what_is_exported_is_what_is_imported_and_fits_a_cookie(
    offsets: dict[tuple[str, int], int], epoch: int
) -> None:
    seen = Positions(with_epoch(format_position(offsets), epoch))

    text = seen.export()

    assert all(letter.isalnum() or letter in ".-_" for letter in text)
    assert Positions(imported(text)).token() == seen.token()


def test_twelve_partitions_of_three_topics_fit_a_cookie_of_4_kib() -> None:
    topics = ("shipments", "sales", "adjustments")
    offsets = {(t, p): 10**12 + 7919 * p for t in topics for p in range(12)}

    assert len(Positions(format_position(offsets)).export()) < 1024


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "1.",
        "1.!!!!",
        "1.AAAA",
        "2.eJwDAAAAAAE",
        "1." + urlsafe_b64encode(zlib.compress(b"0" * 2_000_000)).decode(),
        "1.é",
    ],
)
def test_what_is_no_export_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no exported session"):
        imported(text)


def test_the_position_of_an_answer_begins_a_session_as_well() -> None:
    assert Positions(imported("sales-3@7,control@2")).floor(3) == "sales-3@7,control@2"


def test_what_a_cookie_says_cannot_add_to_an_address() -> None:
    seen = Positions("sales-3@7,x&version=2-3@7,a b-3@7,ü-3@1,control@9&x,sales-4@5?x=1")

    assert seen.token() == "sales-3@7"


@pytest.mark.parametrize(
    ("answer", "floor", "is_covered"),
    [
        ("sales-3@7", "", True),
        ("sales-3@7", "sales-3@7", True),
        ("sales-3@8,shipments-3@1", "sales-3@7", True),
        ("sales-3@6", "sales-3@7", False),
        ("shipments-3@1", "sales-3@7", True),  # it names no sales: perhaps it knows none
        ("sales-3@9,control@1", "sales-3@7,control@2", False),
        ("sales-3@9,control@2", "sales-3@7,control@2", True),
        ("sales-3@9", "sales-3@7,control@2", True),
    ],
)
def test_an_answer_is_old_if_anything_in_it_is(answer: str, floor: str, is_covered: bool) -> None:
    assert covers(answer, floor) is is_covered


def test_a_floor_of_very_many_partitions_fits_a_request_line() -> None:
    offsets = {(t, p): 10**9 for t in ("shipments", "sales") for p in range(1000)}
    seen = Positions(format_position(offsets))

    assert 3000 < len(seen.floor_of_all()) <= 6000
    assert len(seen.token()) > 40_000
    assert parse_position(seen.floor_of_all([7])) == {("sales", 7): 10**9, ("shipments", 7): 10**9}


def test_an_own_write_is_awaited_until_an_answer_holds_it() -> None:
    seen = Positions()
    seen.wrote("sales-3@7")
    assert seen.awaits(3)
    assert seen.awaits(None)
    assert not seen.awaits(4)

    seen.answered("sales-3@9")

    assert not seen.awaits(3)
    assert seen.floor(3) == "sales-3@9"
