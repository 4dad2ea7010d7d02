"""Why a row differs: declared, proved from what one side refused, or not at all."""

import zlib
from typing import Any

from app.upgrades.diff.causes import UNEXPLAINED, Cause, Causes, Counted, added
from app.upgrades.diff.comparing import Difference
from core.positions import Place
from domain.rows import Row
from domain.rules.three import THREE
from domain.rules.two import TWO

POSITION = "sales-0@40,shipments-0@9"
SOLD, DAMAGED = map(Row.__struct_fields__.index, ("sold", "damaged"))
OLD = Row(received=10, sold=3, returned=2, events=6, checksum=600, updated_at=5)


def a_void(quantity: int = 2, name: bytes = b"v", reason: str = "unknown_type") -> Counted:
    return Counted(SOLD, -quantity, zlib.crc32(name), 7, reason)


class Letters:
    """What either side alone refused."""

    def __init__(self, by_old: list[Counted], by_new: list[Counted]) -> None:
        self._by = (by_old, by_new)

    async def read(self, partition: int) -> None:
        pass

    def of(self, side: int, key: tuple[str, str], position: dict[Place, int]) -> list[Counted]:
        assert position == {("sales", 0): 40, ("shipments", 0): 9}
        return self._by[side]


async def cause_of(
    old: Row | None,
    new: Row | None,
    *,
    by_old: list[Counted] | None = None,
    by_new: list[Counted] | None = None,
    same_events: bool = False,
) -> Cause:
    letters: Any = Letters(by_old or [], by_new or [])
    found = Difference("SKU", "here", old, new, "" if same_events else POSITION)
    (cause,) = await Causes(TWO, THREE, letters).of(0, [found])
    return cause


def damaged(row: Row, quantity: int) -> Row:
    return added(row, []).__class__(
        *(row.received, row.dispatched, row.sold, row.returned - quantity, row.adjusted),
        *(row.events, row.checksum, row.updated_at, quantity),
    )


async def test_the_same_events_by_a_declared_change_are_explained_and_nothing_else() -> None:
    cause = await cause_of(OLD, damaged(OLD, 1), same_events=True)
    assert cause.names == ("damaged-returns",)

    for wrong in (Row(*(*_numbers(OLD)[:3], 99)), Row(*_numbers(damaged(OLD, 1))[:8])):
        assert (await cause_of(OLD, wrong, same_events=True)).label == UNEXPLAINED


async def test_facts_that_only_the_older_rules_refused_are_proved_by_the_checksum() -> None:
    void = a_void()
    new = added(OLD, [void])

    cause = await cause_of(OLD, new, by_old=[void])
    assert cause.names == ("accepted-now",)
    assert "1 event that the old one refused (unknown_type)" in cause.says
    assert (await cause_of(OLD, new)).label == UNEXPLAINED
    assert (await cause_of(OLD, new, by_old=[a_void(name=b"other")])).label == UNEXPLAINED
    assert (await cause_of(OLD, new, by_old=[a_void(quantity=1)])).label == UNEXPLAINED


async def test_both_causes_in_one_row_are_both_named() -> None:
    void = a_void()
    cause = await cause_of(OLD, damaged(added(OLD, [void]), 2), by_old=[void])

    assert cause.names == ("accepted-now", "damaged-returns")


async def test_a_row_that_only_one_version_has_is_held_against_no_stock() -> None:
    void = a_void()

    assert (await cause_of(None, added(Row(), [void]), by_old=[void])).names == ("accepted-now",)
    assert (await cause_of(None, added(Row(), [void]))).label == UNEXPLAINED


async def test_facts_that_only_the_newer_rules_refused_are_named_so() -> None:
    sale = Counted(SOLD, 1, zlib.crc32(b"s"), 4, "bad_data")
    old = added(OLD, [sale])

    assert (await cause_of(old, OLD, by_new=[sale])).names == ("refused-now",)


async def test_old_dead_letters_that_are_deleted_by_now_do_not_hide_a_cause() -> None:
    void, forgotten = a_void(), a_void(name=b"refused by both, long ago")
    cause = await cause_of(OLD, added(OLD, [void]), by_old=[void], by_new=[forgotten])

    assert cause.names == ("accepted-now",)


def _numbers(row: Row) -> list[int]:
    return [getattr(row, name) for name in Row.__struct_fields__]
