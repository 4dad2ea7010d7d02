"""After its count a row holds what was counted, whatever comes in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from importers.documents.levels import StockCount, Unbooked, counted_off, in_conflict

ROWS = st.sampled_from([("A", "x"), ("A", "y"), ("B", "x")])
MOMENTS = st.integers(0, 9)


class Move(NamedTuple):
    row: tuple[str, str]
    at_us: int | None
    change: int


MOVES = st.lists(st.builds(Move, ROWS, st.none() | MOMENTS, st.integers(-50, 50)), max_size=30)


@st.composite
def some_counts(draw: st.DrawFn) -> list[StockCount]:
    """At most one for each row and moment."""
    places = draw(st.lists(st.tuples(ROWS, MOMENTS), unique=True, max_size=12))
    return [
        StockCount(f"c{n}", *row, at_us, draw(st.integers(0, 99)))
        for n, (row, at_us) in enumerate(places)
    ]


def on_hand(moves: Sequence[Move], row: tuple[str, str], at_us: int) -> int:
    """By when things happened; what has no moment happens after all counts."""
    return sum(
        move.change
        for move in moves
        if move.row == row and move.at_us is not None and move.at_us <= at_us
    )


@given(some_counts(), MOVES, MOVES)
def test_at_the_moment_of_each_count_the_row_holds_what_was_counted(
    counts: list[StockCount], in_log: list[Move], beside: list[Move]
) -> None:
    unbooked = Unbooked(counts)
    for move in beside:
        unbooked.add(*move.row, move.at_us, move.change)

    books = {one.id: on_hand(in_log, one.row, one.at_us) for one in counts}
    offs = counted_off(counts, books, unbooked)

    made = [Move(one.row, one.at_us, offs[one.id].change) for one in counts]
    for one in counts:
        assert on_hand([*in_log, *beside, *made], one.row, one.at_us) == one.counted
        assert offs[one.id].book + offs[one.id].change == one.counted


@given(some_counts().flatmap(lambda counts: st.tuples(st.just(counts), st.permutations(counts))))
def test_the_order_in_which_counts_stand_says_nothing(
    orders: tuple[list[StockCount], list[StockCount]],
) -> None:
    one, other = orders
    books = {count.id: 7 for count in one}

    assert counted_off(one, books, Unbooked(one)) == counted_off(other, books, Unbooked(other))


def test_a_count_that_finds_what_the_book_says_changes_nothing_and_is_told() -> None:
    count = StockCount("c", "A", "x", 5, 7)

    off = counted_off([count], {"c": 7}, Unbooked([count]))["c"]

    assert (off.book, off.counted, off.change) == (7, 7, 0)


def test_two_counts_of_one_row_and_moment_hold_only_where_they_agree() -> None:
    same = [StockCount("1", "A", "x", 5, 7), StockCount("2", "A", "x", 5, 7)]
    other = [StockCount("3", "B", "x", 5, 7), StockCount("4", "B", "x", 5, 8)]
    later = StockCount("5", "B", "x", 6, 9)

    assert in_conflict([*same, *other, later]) == {"3", "4"}
    offs = counted_off(same, {"1": 4, "2": 4}, Unbooked(same))
    assert [offs[id_].change for id_ in "12"] == [3, 0]


def test_what_is_taken_in_costs_memory_for_the_counts_alone() -> None:
    unbooked = Unbooked([StockCount("c", "A", "x", 5, 7)])
    for n in range(1000):
        unbooked.add(f"SKU-{n}", "x", 1, 1)
        unbooked.add("A", "x", n, 1)

    assert unbooked.until(StockCount("c", "A", "x", 5, 7)) == 6
    assert unbooked.skus == {"A"}
