"""What lies in a container is what went in less what came out, in whatever order that was told."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importers.documents.containers import ContentsUnknown, Packing, containers_in, goods_inside
from importers.documents.port import ForeignName, PackedGoods

PEN, INK = "09521234123453", "00614141123452"
A, B, C = "095212341234567891", "195212341234567898", "295212341234567895"


def thing(serial: str, gtin: str = PEN) -> str:
    return f"/01/{gtin}/21/{serial}"


def goods(count: str, gtin: str = INK, unit: str | None = None) -> PackedGoods:
    return PackedGoods(ForeignName("gtin", gtin), unit, Decimal(count))


def into(container: str, at: int, *inside: str | PackedGoods, is_in: bool = True) -> Packing:
    things = tuple(one for one in inside if isinstance(one, str))
    counted = tuple(one for one in inside if isinstance(one, PackedGoods))
    return Packing(container, at, is_in, things, counted)


def out_of(container: str, at: int, *inside: str | PackedGoods) -> Packing:
    return into(container, at, *inside, is_in=False)


def inside(
    container: str,
    at: int,
    *said: Packing,
    beside: Collection[str] = (),
    seen: set[str] | None = None,
) -> dict[str, str]:
    """By GTIN and unit, as text."""
    by: dict[str, list[Packing]] = {}
    for one in said:
        by.setdefault(one.container, []).append(one)
    found = goods_inside(container, at, by, beside, set() if seen is None else seen)
    return {item.code + (unit or ""): f"{count}" for (item, unit), count in found.items()}


def test_what_went_in_less_what_came_out_by_then_is_inside() -> None:
    said = [
        into(A, 10, thing("1"), thing("2"), goods("5")),
        into(A, 20, goods("2.5", unit="KGM"), goods("1")),
        out_of(A, 30, thing("1"), goods("6")),
    ]

    assert inside(A, 10, *said) == {PEN: "2", INK: "5"}
    assert inside(A, 25, *said) == {PEN: "2", INK: "6", f"{INK}KGM": "2.5"}
    assert inside(A, 31, *said) == {PEN: "1", f"{INK}KGM": "2.5"}


def test_at_one_moment_things_go_in_then_it_moves_then_they_come_out() -> None:
    said = [out_of(A, 10), into(A, 10, thing("1"))]

    assert inside(A, 10, *said) == {PEN: "1"}
    with pytest.raises(ContentsUnknown, match="came out before"):
        inside(A, 11, *said)


def test_all_that_was_in_it_comes_out_and_it_is_packed_anew() -> None:
    said = [into(A, 10, thing("1"), goods("5")), out_of(A, 20), into(A, 30, goods("2"))]

    assert inside(A, 40, *said) == {INK: "2"}


def test_a_thing_that_was_put_in_twice_is_one() -> None:
    assert inside(A, 20, into(A, 10, thing("1")), into(A, 11, thing("1"))) == {PEN: "1"}


def test_containers_in_it_are_opened_each_once_at_the_same_moment() -> None:
    said = [
        into(A, 10, f"/00/{B}", f"/00/{C}", thing("1")),
        into(B, 9, goods("3")), into(C, 9, thing("2"), f"/00/{B}"),
        into(B, 50, goods("90")),
    ]  # fmt: skip

    assert inside(A, 20, *said) == {PEN: "2", INK: "3"}
    assert containers_in(said) == {B, C}


def test_containers_that_hold_each_other_come_to_an_end() -> None:
    said = [into(A, 10, f"/00/{B}", thing("1")), into(B, 10, f"/00/{A}", thing("2"))]

    assert inside(A, 20, *said) == {PEN: "2"}


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ([], "Nothing says what is in"),
        ([into(A, 30, thing("1"))], "Nothing says what is in"),
        ([into(A, 1, f"/00/{B}")], f"Nothing says what is in the container {B}"),
        ([into(A, 1, thing("1")), out_of(A, 2, thing("2"))], "More came out of"),
        ([into(A, 1, goods("2")), out_of(A, 2, goods("3"))], "More came out of"),
        # Before it was packed here: it had been packed somewhere else.
        ([out_of(A, 1, thing("1")), into(A, 2, thing("2"))], "More came out of"),
        ([into(A, 1, thing("1")), out_of(A, 2, thing("1"))], "came out before"),
    ],
)
def test_what_nobody_said_is_not_guessed(said: list[Packing], says: str) -> None:
    with pytest.raises(ContentsUnknown, match=says) as told:
        inside(A, 20, *said)

    assert "load the events that packed it" in str(told.value)


@pytest.mark.parametrize(
    ("packed", "beside"),
    [
        (thing("1"), [f"/01/{PEN}"]),
        (goods("5"), [f"/01/{INK}"]),
        (goods("5"), [thing("7", INK)]),
    ],
)
def test_goods_in_it_that_may_be_those_beside_it_are_not_guessed(
    packed: str | PackedGoods, beside: list[str]
) -> None:
    with pytest.raises(ContentsUnknown, match="nothing says whether that is the same"):
        inside(A, 20, into(A, 10, packed), beside=beside)


def test_what_is_named_beside_it_by_its_own_number_counts_there() -> None:
    said = [into(A, 10, thing("1"), thing("2"), f"/00/{B}"), into(B, 9, thing("3"))]
    beside = {thing("2"), f"/00/{B}", f"/00/{A}"}
    seen: set[str] = set()

    assert inside(A, 20, *said, beside=beside, seen=seen) == {PEN: "1"}
    assert inside(B, 20, *said, beside=beside, seen=seen) == {PEN: "1"}
    # Each thing once for all containers of a line of goods.
    assert inside(A, 20, *said, beside=beside, seen=seen) == {}


def test_what_is_refused_has_counted_nothing() -> None:
    seen: set[str] = set()

    with pytest.raises(ContentsUnknown):
        inside(A, 20, into(A, 10, thing("1"), f"/00/{B}"), seen=seen)

    assert not seen


_SERIALS = st.sampled_from("123456")
_STEPS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.booleans(),
        st.sets(_SERIALS, max_size=3),
        st.sampled_from([0, 0, 1, 2, 5]),
    ),
    max_size=7,
)


@given(_STEPS, st.integers(0, 6))
def test_the_order_in_which_it_is_told_says_nothing(
    steps: list[tuple[int, bool, set[str], int]], at: int
) -> None:
    said = [
        into(A, time, *map(thing, sorted(serials)), *[goods(str(count))] * bool(count), is_in=is_in)
        for time, is_in, serials, count in steps
        if serials or count or not is_in
    ]

    def told(order: list[Packing]) -> dict[str, str] | str:
        try:
            return inside(A, at, *order)
        except ContentsUnknown as why:
            return str(why).split("(")[0]

    expected = told(said)
    for order in (said[::-1], sorted(said, key=str), said[1:] + said[:1]):
        assert told(order) == expected


@given(
    st.lists(
        st.tuples(_SERIALS, st.integers(1, 9)),
        min_size=1,
        max_size=6,
        unique_by=lambda one: one[0],
    )
)
def test_all_that_goes_in_comes_out_through_any_chain_of_containers(
    packed: list[tuple[str, int]],
) -> None:
    chain = [f"{n:018}" for n in range(len(packed) + 1)]
    said = [
        into(outer, 1, f"/00/{inner}", thing(serial), goods(str(count)))
        for outer, inner, (serial, count) in zip(chain, chain[1:], packed, strict=False)
    ]
    said.append(into(chain[-1], 1, goods("1")))

    found = inside(chain[0], 2, *said)

    assert found == {PEN: str(len(packed)), INK: str(1 + sum(count for _, count in packed))}
    for order in list(permutations(said))[:6]:
        assert inside(chain[0], 2, *order) == found
