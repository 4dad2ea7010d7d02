"""What a commit takes, and that no crash, cut or redelivery changes a row."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.fold import take_group
from domain.events import StockEvent
from domain.rows import row_key, split_key
from tests.support.inputs.builders import (
    SKU,
    Owner,
    a_partition,
    a_return,
    a_sale,
    as_json,
    at,
    with_data,
    written,
)


def test_a_redelivered_record_is_skipped_and_not_even_counted() -> None:
    owner = a_partition().fold([at(0, a_sale(id="1")), at(1, a_sale(id="2"))])

    owner.fold([at(0, a_sale(id="1")), at(1, a_sale(id="2")), at(2, a_sale(id="3"))])

    assert owner.state.counts["sales"] == (3, 0, 0)
    assert owner.state.positions == {"sales": 3}


def test_every_record_is_counted_once_as_applied_repeated_or_refused() -> None:
    records = [at(0, a_sale()), at(1, a_sale()), at(2, a_sale(quantity=9)), at(3, None)]

    assert a_partition().fold(records).state.counts["sales"] == (1, 1, 2)


class Watched(Owner):
    """Remembers what the store was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[bytes]] = []

    def load(self, keys: list[bytes]) -> list[bytes | None]:
        self.asked.append(keys)
        return super().load(keys)


def test_rows_not_in_memory_are_loaded_once_and_together() -> None:
    owner = Watched()
    places = ["a", "b", "a"]
    owner.fold([at(n, a_sale(id=str(n), location=place)) for n, place in enumerate(places)])
    owner.fold([at(3, a_sale(id="3", location="b"))])

    assert owner.asked == [[row_key(SKU, "a"), row_key(SKU, "b")]]


def test_a_table_counted_from_its_first_event_asks_only_for_rows_that_left_memory() -> None:
    owner = Watched()
    rows = owner.sums
    rows.all_in_memory, rows.max_rows = True, 1
    for n, place in enumerate(["a", "b", "c"]):
        owner.fold([at(n, a_sale(id=str(n), location=place))]).commit()
    owner.fold([at(3, a_sale(id="3", location="a"))])

    assert owner.asked == [[row_key(SKU, "a")]]
    assert owner.row(a_sale(location="a")).sold == 2 * owner.row(a_sale(location="c")).sold


def test_a_group_says_which_of_its_rows_the_store_has_not() -> None:
    owner = Watched()
    owner.fold([at(0, a_sale(id="1", location="a"))]).commit()
    owner.fold([at(1, a_sale(id="2", location="a")), at(2, a_sale(id="3", location="b"))])
    new = take_group(owner.state).new

    owner.restart().fold([at(1, a_sale(id="2", location="a"))])

    assert (new, take_group(owner.state).new) == ([row_key(SKU, "b")], [])


def test_a_group_holds_what_was_folded_since_the_last_one() -> None:
    owner = a_partition().fold([at(0, a_sale(id="1", location="a")), at(1, b"{")])
    first = take_group(owner.state)
    owner.fold([at(2, a_sale(id="2", location="b"))])
    second, third = take_group(owner.state), take_group(owner.state)

    assert [sorted(written(group)) for group in (first, second, third)] == [
        [row_key(SKU, "a")],
        [row_key(SKU, "b")],
        [],
    ]
    assert [len(group.dead_letters) for group in (first, second, third)] == [1, 0, 0]
    assert [len(group.segments) for group in (first, second, third)] == [1, 1, 0]
    assert [group.positions["sales"] for group in (first, second, third)] == [2, 3, 3]


def test_a_big_group_can_be_encoded_in_pieces() -> None:
    owner = a_partition()
    owner.fold([at(n, a_sale(id=str(n), location=f"store-{n}")) for n in range(5)])
    group = take_group(owner.state)

    pieces = list(group.rows.encoded(2))

    assert [len(piece) for piece in pieces] == [2, 2, 1]
    assert {key: row for piece in pieces for key, row in piece.items()} == written(group)


def test_folding_goes_on_while_a_group_travels() -> None:
    owner = a_partition().fold([at(0, a_sale(id="1", quantity=3))])
    travelling = take_group(owner.state)

    owner.fold([at(1, a_sale(id="2", quantity=4))])

    assert travelling.positions == {"sales": 1}
    assert travelling.counts["sales"] == (1, 0, 0)
    assert owner.row(a_sale()).sold == 7


def test_only_rows_that_are_in_the_store_leave_memory() -> None:
    owner = a_partition()
    owner.sums.max_rows = 4
    places = [f"store-{n}" for n in range(15)]
    records = [at(n, a_sale(id=str(n), location=place)) for n, place in enumerate(places)]
    owner.fold(records[:5])
    take_group(owner.state)
    owner.fold(records[5:])
    take_group(owner.state)  # by now the first five are stored, the others travel

    assert [split_key(key)[1] for key in owner.sums] == places[5:]


def test_the_rows_that_came_first_leave_first() -> None:
    owner = a_partition()
    owner.sums.max_rows = 4
    for n, place in enumerate(["a", "b", "a", "c", "d", "e", "f"]):
        owner.fold([at(n, a_sale(id=str(n), location=place))])
        take_group(owner.state)

    assert [split_key(key)[1] for key in owner.sums] == ["d", "e", "f"]


def test_a_fold_that_fails_leaves_the_position_where_it_was() -> None:
    def broken_store(keys: list[bytes]) -> list[bytes | None]:
        raise OSError("disk")

    owner = a_partition()
    owner.load = broken_store  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk"):
        owner.fold([at(0, b"{"), at(1, a_sale())])

    assert owner.state.positions == {}
    assert owner.refusals == []


# ---- the whole, against the rule written down again

IDS = st.sampled_from(["1", "2", "3"])
SOURCES = st.sampled_from(["till-1", "till-2"])
PLACES = st.sampled_from(["store-1", "store-2"])


@st.composite
def sales_records(draw: st.DrawFn) -> StockEvent | bytes | None:
    """Few ids, so that repeats and conflicts abound; now and then rubbish."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([None, b"{", as_json(id=""), with_data(quantity=0)]))
    fields: dict[str, Any] = {
        "id": draw(IDS),
        "source": draw(SOURCES),
        "location": draw(PLACES),
        "quantity": draw(st.integers(1, 2)),
    }
    return a_sale(**fields) if draw(st.booleans()) else a_return(**fields)


def by_hand(log: list[StockEvent | bytes | None], window: int) -> tuple[Counter[str], list[int]]:
    """On hand by location, and the offsets refused."""
    seen: dict[tuple[str, str], tuple[int, StockEvent]] = {}
    on_hand: Counter[str] = Counter()
    refused: list[int] = []
    for offset, event in enumerate(log):
        if event is None or isinstance(event, bytes):
            refused.append(offset)
            continue
        last = seen.get((event.source, event.id))
        if last is not None and offset - last[0] <= window:
            if last[1] != event:
                refused.append(offset)
            continue
        seen[event.source, event.id] = offset, event
        sign = 1 if type(event).__name__ == "SaleReturned" else -1
        on_hand[event.data.location] += sign * event.data.quantity
    return on_hand, refused


@given(st.lists(sales_records(), max_size=30), st.integers(1, 12), st.data())
def test_no_cut_crash_or_redelivery_changes_a_row(
    log: list[StockEvent | bytes | None], window: int, data: st.DataObject
) -> None:
    records = [at(offset, event) for offset, event in enumerate(log)]
    whole = a_partition(window).fold(records).commit()
    owner = a_partition(window)
    while (begin := owner.state.positions.get("sales", 0)) < len(records):
        back = data.draw(st.integers(0, begin), label="redelivered from")
        end = data.draw(st.integers(begin + 1, len(records)), label="up to")
        owner.fold(records[back:end])
        match data.draw(st.sampled_from(["go on", "commit", "crash", "bury and dig up"])):
            case "commit":
                owner.commit()
            case "crash" if data.draw(st.booleans(), label="after a commit"):
                owner.commit().restart()
            case "crash" if owner.positions:
                owner.restart()
            case "bury and dig up":
                owner.commit().restart(resurrect=True)
    owner.commit()

    assert owner.rows == whole.rows
    assert owner.counts == whole.counts
    assert owner.letters == whole.letters
    on_hand, refused = by_hand(log, window)
    assert [letter.offset for letter in owner.letters] == refused
    for place in ("store-1", "store-2"):
        assert whole.row(a_sale(location=place)).on_hand == on_hand[place]


@given(st.permutations(range(12)), st.data())
def test_facts_in_any_order_and_number_of_repeats_give_the_same_row(
    order: list[int], data: st.DataObject
) -> None:
    facts: list[StockEvent] = [a_sale(id=str(n), quantity=n + 1) for n in range(6)]
    facts += [a_return(id=str(n), quantity=n) for n in range(6, 12)]
    repeats = data.draw(st.lists(st.sampled_from(order), max_size=6))
    sent = [facts[n] for n in [*order, *repeats]]

    shuffled = a_partition().fold([at(n, fact, recorded_ms=1) for n, fact in enumerate(sent)])
    straight = a_partition().fold([at(n, fact, recorded_ms=1) for n, fact in enumerate(facts)])

    assert shuffled.row(facts[0]) == straight.row(facts[0])
