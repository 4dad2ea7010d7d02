"""The fold for projections of other kinds than stock: no ids, no rows, one number a row."""

import pytest

from core.fold import Fold, fold, take_group
from core.projection import NotARow, Projection
from core.records import Address, Record
from tests.support.inside.chains import COUNTS, SPLIT, Counting, Splitting

HERE = Address("lines", "source", 0, 1)


def a_fold(projection: Projection, *, empty: bool = True) -> Fold:
    return Fold(projection, 0, 1, ["lines"], window=100, empty=empty)


def lines(*values: bytes | None, first: int = 0) -> list[Record]:
    return [(first + n, 1_000 + n, None, value, ()) for n, value in enumerate(values)]


def nothing(keys: list[bytes]) -> list[bytes | None]:
    return [None] * len(keys)


def feed(state: Fold, projection: Projection, records: list[Record]) -> None:
    fold(state, HERE, projection.columns(HERE, records), nothing, lambda: records)


def test_without_ids_what_comes_twice_counts_twice_and_a_redelivery_counts_once() -> None:
    state = a_fold(COUNTS)
    records = lines(b"word", b"word", None, b"other")
    feed(state, COUNTS, records)
    feed(state, COUNTS, records)

    group = take_group(state)
    [rows] = group.rows.encoded(10)
    assert {key: int.from_bytes(value) for key, value in rows.items()} == {b"word": 2, b"other": 1}
    assert group.counts["lines"] == (3, 0, 1)
    assert (group.positions, group.segments, group.expired) == ({"lines": 4}, [], [])
    assert [letter.reason for letter in group.dead_letters] == ["nothing"]


def test_a_memory_without_rows_emits_in_the_order_of_the_log_and_each_record_once() -> None:
    state = a_fold(SPLIT)
    assert isinstance(state.memory, Splitting)
    feed(state, SPLIT, lines(b"a b", b"a"))
    assert state.memory.waiting == 3
    first = take_group(state)
    feed(state, SPLIT, lines(b"c", first=2))

    assert [each.key for each in first.emitted] == [b"a", b"b", b"a"]
    assert list(first.rows.encoded(10)) == []
    assert [each.key for each in take_group(state).emitted] == [b"c"]
    assert state.memory.waiting == 0


def test_what_is_emitted_does_not_change_with_what_is_folded_later() -> None:
    state = a_fold(COUNTS)
    feed(state, COUNTS, lines(b"word"))
    group = take_group(state)
    feed(state, COUNTS, lines(b"word", first=1))

    assert [(each.key, each.value) for each in group.emitted] == [(b"word", (1).to_bytes(8))]


def test_a_stored_row_that_is_none_is_refused_and_one_that_is_there_is_added_to() -> None:
    columns = COUNTS.columns(HERE, lines(b"word"))
    state = a_fold(COUNTS, empty=False)
    with pytest.raises(NotARow, match="3 bytes are no count"):
        fold(state, HERE, columns, lambda keys: [b"xyz"], list)

    state = a_fold(COUNTS, empty=False)
    fold(state, HERE, columns, lambda keys: [(41).to_bytes(8)], list)
    assert isinstance(state.memory, Counting)
    assert state.memory.sums.get(b"word") == (42,)
