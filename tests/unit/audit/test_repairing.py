"""A row set right while events go on being added to it, and a row that must not be there."""

from collections.abc import Sequence

import pytest

from core.fold import Fold, take_group
from core.projection import NotARow, Repairable
from domain.rows import Row, decode_row, encode_row, row_key
from domain.stock import STOCK, StockMemory
from tests.support.inputs.builders import LOCATION, SKU

KEY = row_key(SKU, LOCATION)
RIGHT = Row(received=10, sold=3, events=4, checksum=2**64 - 5, updated_at=900)


class Disk(dict[bytes, bytes]):
    def load(self, keys: list[bytes]) -> Sequence[bytes | None]:
        return [self.get(key) for key in keys]

    def take(self, memory: StockMemory) -> list[bytes]:
        """As a commit does; returns what it deletes."""
        changes = memory.take()
        rows = [key for piece in changes.rows.encoded(10) for key in piece]
        assert changes.new == [key for key in rows if key not in self]
        for piece in changes.rows.encoded(10):
            self.update(piece)
        for key in changes.gone:
            del self[key]
        return list(changes.gone)


def repaired(stored: Row | None, found: Row | None, right: Row | None) -> tuple[Row | None, Disk]:
    disk, memory = Disk(), STOCK.memory(0, 1, empty=False)
    if stored is not None:
        disk[KEY] = encode_row(stored)
    memory.repair(KEY, as_bytes(found), as_bytes(right), disk.load)
    disk.take(memory)
    return (decode_row(disk[KEY]) if KEY in disk else None), disk


def as_bytes(row: Row | None) -> bytes | None:
    return None if row is None else encode_row(row)


@pytest.mark.parametrize(
    "found",
    [
        Row(received=10, sold=1, events=3, checksum=7, updated_at=800),
        Row(received=12, sold=4, events=6, checksum=2**64 - 1, updated_at=950),
        None,
        RIGHT,
    ],
)
def test_a_row_becomes_what_it_should_be(found: Row | None) -> None:
    assert repaired(found, found, RIGHT)[0] == RIGHT


def test_what_was_counted_since_stays_counted() -> None:
    found = Row(received=10, sold=1, events=3, checksum=7, updated_at=800)
    since = Row(received=10, sold=6, events=4, checksum=7 + 11, updated_at=990)

    now, _ = repaired(since, found, RIGHT)

    assert now == Row(received=10, sold=8, events=5, checksum=6, updated_at=990)


def test_a_row_that_no_event_names_is_deleted_and_may_come_back() -> None:
    ghost = Row(received=1, events=1, checksum=5, updated_at=5)
    disk, memory = Disk({KEY: encode_row(ghost)}), STOCK.memory(0, 1, empty=False)

    memory.repair(KEY, encode_row(ghost), None, disk.load)
    assert disk.take(memory) == [KEY]
    assert not disk
    memory.repair(KEY, None, encode_row(RIGHT), disk.load)
    assert disk.take(memory) == []
    assert decode_row(disk[KEY]) == RIGHT


def test_a_right_row_is_written_again_for_standbys_and_so_is_its_absence() -> None:
    disk, memory = Disk({KEY: encode_row(RIGHT)}), STOCK.memory(0, 1, empty=False)

    memory.repair(KEY, encode_row(RIGHT), encode_row(RIGHT), disk.load)
    written = dict(next(iter(memory.take().rows.encoded(10))))
    assert written == disk
    other = row_key(SKU, "nowhere")
    memory.repair(other, None, None, disk.load)
    changes = memory.take()
    assert (list(changes.gone), list(changes.rows.encoded(10))) == ([other], [])


def test_what_is_no_row_changes_nothing() -> None:
    memory = STOCK.memory(0, 1, empty=True)
    assert isinstance(memory, Repairable)

    with pytest.raises(NotARow):
        memory.repair(KEY, b"{", None, Disk().load)

    assert memory.rows.get(KEY) is None


def test_a_group_deletes_the_rows_that_are_no_more() -> None:
    fold = Fold(STOCK, 0, 1, ["sales"], 100, empty=True)
    assert isinstance(fold.memory, StockMemory)
    fold.memory.repair(KEY, None, None, Disk().load)

    group = take_group(fold)

    assert group.expired == [KEY]
    assert list(group.rows.encoded(10)) == []
