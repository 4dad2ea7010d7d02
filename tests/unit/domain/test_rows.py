"""Rows in memory against the same rule on plain `Row`s, with a store behind them."""

from collections.abc import Sequence
from operator import attrgetter

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.columns import Columns
from domain.columns import EVENT
from domain.events import StockEvent
from domain.rows import Row
from domain.rules.held import CURRENT
from domain.stock import StockMemory
from tests.support.inputs.builders import a_dispatch, a_receipt, a_return, a_sale, an_adjustment

COLUMNS = ("received", "dispatched", "sold", "returned", "adjusted")


class Shelf:
    """Rows over a store that is written when the next group is taken; and the rule by hand."""

    def __init__(self, max_rows: int, all_in_memory: bool) -> None:
        self.memory = StockMemory(empty=all_in_memory)
        self.rows = self.memory.rows
        self.rows.max_rows = max_rows
        self.store: dict[bytes, Row] = {}
        self.travelling: dict[bytes, Row] = {}
        self.expected: dict[bytes, Row] = {}

    def load(self, keys: list[bytes]) -> Sequence[bytes | None]:
        rows = map(self.store.get, keys)
        return [None if row is None else msgspec.json.encode(row) for row in rows]

    def row(self, key: bytes) -> Row | None:
        numbers = self.rows.get(key)
        return None if numbers is None else Row(*numbers)

    def add(self, slice_: list[tuple[int, int, int]]) -> None:
        """Each: row, kind, quantity; its CRC is 2^32 - 1 and its time the quantity."""
        keys = [b"row-%d" % row for row, _, _ in slice_]
        events = np.zeros(len(keys), EVENT)
        events["crc"] = 2**32 - 1
        _, events["field"], events["amount"] = zip(*slice_, strict=True)
        events["time_ms"] = events["amount"]
        self.memory.add(Columns(keys, events, [], (0, 0), (0, 0), 0), self.load)
        for key, (_, kind, many) in zip(keys, slice_, strict=True):
            row, column = self.expected.get(key, Row()), COLUMNS[kind]
            self.expected[key] = msgspec.structs.replace(
                row,
                **{column: attrgetter(column)(row) + many},
                events=row.events + 1,
                checksum=(row.checksum + 2**32 - 1) % 2**64,
                updated_at=max(row.updated_at, many),
            )

    def take(self) -> None:
        """The last group has landed; the next one begins to travel."""
        self.store |= self.travelling
        pieces = self.rows.take().encoded(3)
        self.travelling = {
            key: msgspec.json.decode(row, type=Row)
            for piece in pieces
            for key, row in piece.items()
        }


SLICES = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 4), st.integers(1, 9)), min_size=1, max_size=8
)


@given(st.lists(st.one_of(SLICES, st.just("take")), max_size=20), st.integers(1, 6), st.booleans())
def test_no_order_of_adding_taking_and_forgetting_loses_anything(
    steps: list[list[tuple[int, int, int]] | str], max_rows: int, all_in_memory: bool
) -> None:
    shelf = Shelf(max_rows, all_in_memory)
    for step in steps:
        if isinstance(step, str):
            shelf.take()
        else:
            shelf.add(step)
            for key in shelf.rows:
                assert shelf.row(key) == shelf.expected[key]
    shelf.take()
    shelf.take()

    assert shelf.store == shelf.expected
    assert shelf.rows.take().keys == []


def test_there_is_room_for_more_rows_than_at_first() -> None:
    shelf = Shelf(max_rows=10_000, all_in_memory=True)
    for first in range(0, 3_000, 250):
        shelf.add([(row, row % 5, 1 + row % 9) for row in range(first, first + 250)])

    assert len(list(shelf.rows)) == 3_000
    assert {key: shelf.row(key) for key in shelf.rows} == shelf.expected


@pytest.mark.parametrize("event", CURRENT.events.values())
def test_the_columns_stand_in_the_order_of_the_kinds(event: type[StockEvent]) -> None:
    columns = {
        type(a_receipt()): "received",
        type(a_dispatch()): "dispatched",
        type(a_sale()): "sold",
        type(a_return()): "returned",
        type(an_adjustment()): "adjusted",
    }

    assert Row.__struct_fields__[event.kind] == columns[event]


def test_a_taken_group_does_not_change_with_what_is_added_later() -> None:
    shelf = Shelf(max_rows=10, all_in_memory=True)
    shelf.add([(1, 2, 3)])
    taken = shelf.rows.take()
    shelf.add([(1, 2, 4)])

    [piece] = taken.encoded(10)
    assert msgspec.json.decode(piece[b"row-1"], type=Row).sold == 3
