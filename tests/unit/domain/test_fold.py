"""The join: each fact once, in any order, through any number of crashes."""

import zlib
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.events import StockEvent, identity
from domain.partitioning import partition_for
from domain.records import Record
from domain.stock import Row, row_key, split_key, take_group
from tests.builders import (
    LOCATION,
    RECORDED_MS,
    SKU,
    Owner,
    a_dispatch,
    a_partition,
    a_receipt,
    a_return,
    a_sale,
    an_adjustment,
    as_json,
    at,
    with_data,
)

# ---- one event


def test_a_sale_sent_twice_by_a_retrying_till_is_counted_once() -> None:
    sale = a_sale(id="41", source="till-17", quantity=3)

    after = a_partition(received=10).fold([at(7, sale), at(8, sale)])

    assert after.row(sale).on_hand == 7
    assert after.duplicates == 1


def test_a_sale_may_come_before_its_shipment() -> None:
    owner = a_partition().fold([at(0, a_sale(quantity=3))], "sales")
    assert owner.row(a_sale()).on_hand == -3

    owner.fold([at(0, a_receipt(quantity=10))], "shipments")
    assert owner.row(a_sale()).on_hand == 7


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (a_receipt(quantity=2), Row(received=12, dispatched=1, sold=3, returned=1, adjusted=-1)),
        (a_dispatch(quantity=2), Row(received=10, dispatched=3, sold=3, returned=1, adjusted=-1)),
        (a_sale(quantity=2), Row(received=10, dispatched=1, sold=5, returned=1, adjusted=-1)),
        (a_return(quantity=2), Row(received=10, dispatched=1, sold=3, returned=3, adjusted=-1)),
        (an_adjustment(quantity=2), Row(received=10, dispatched=1, sold=3, returned=1, adjusted=1)),
        (
            an_adjustment(quantity=-2),
            Row(received=10, dispatched=1, sold=3, returned=1, adjusted=-3),
        ),
    ],
)
def test_each_type_moves_its_own_column(event: StockEvent, expected: Row) -> None:
    owner = a_partition(received=10, dispatched=1, sold=3, returned=1, adjusted=-1)

    row = owner.fold([at(0, event)], event.role).row(event)

    assert row.on_hand == expected.on_hand
    assert msgspec.structs.replace(row, events=0, checksum=0, updated_at=0) == expected


def test_events_and_checksum_find_a_lost_or_doubled_event() -> None:
    events = [a_sale(id=str(n)) for n in range(5)]
    row = a_partition().fold([at(n, event) for n, event in enumerate(events)]).row(events[0])

    assert row.events == 5
    assert row.checksum == sum(zlib.crc32(identity(event)) for event in events)


def test_the_checksum_wraps_at_64_bits() -> None:
    owner = a_partition(checksum=2**64 - 1)

    row = owner.fold([at(0, a_sale())]).row(a_sale())

    assert row.checksum == zlib.crc32(identity(a_sale())) - 1
    assert msgspec.json.decode(msgspec.json.encode(row), type=Row) == row


def test_a_row_keeps_the_greatest_recorded_time_and_no_other_clock() -> None:
    later = at(0, a_sale(id="1"), recorded_ms=RECORDED_MS + 500)
    earlier = at(1, a_sale(id="2"), recorded_ms=RECORDED_MS)

    assert a_partition().fold([later, earlier]).row(a_sale()).updated_at == RECORDED_MS + 500


def test_a_row_is_readable_json_without_its_zeros() -> None:
    owner = a_partition().fold([at(0, a_receipt(quantity=10))], "shipments")

    (value,) = take_group(owner.state).rows.values()

    assert (
        value == b'{"received":10,"events":1,"checksum":3070120713,"updated_at":%d}' % RECORDED_MS
    )


def test_all_rows_of_a_sku_are_neighbours_under_its_key() -> None:
    assert row_key("SKU-1", "store-2") == b"SKU-1\x00store-2"
    assert split_key(row_key("é", "a b")) == ("é", "a b")
    assert row_key("A", "z") < row_key("A ", "a")


# ---- duplicates


def test_the_same_id_for_another_fact_is_a_conflict_and_not_lost_in_silence() -> None:
    first, other = a_sale(id="41", quantity=3), a_sale(id="41", quantity=4)

    after = a_partition().fold([at(0, first), at(1, other), at(2, first)])

    assert after.refusals == ["id_conflict"]
    assert after.duplicates == 1
    assert after.row(first).sold == 3


def test_an_id_may_be_used_again_by_another_source_and_on_another_topic() -> None:
    owner = a_partition().fold([at(0, a_sale(source="till-1")), at(1, a_sale(source="till-2"))])
    owner.fold([at(0, a_receipt(source="till-1"))], "shipments")

    assert owner.duplicates == 0
    assert owner.row(a_sale()).events == 3


def test_a_nul_does_not_make_two_identities_one() -> None:
    one, other = a_sale(source="a\x00b", id="c"), a_sale(source="a", id="b\x00c")

    assert a_partition().fold([at(0, one), at(1, other)]).duplicates == 0


def test_a_refused_record_is_not_remembered_as_seen() -> None:
    lost = at(0, msgspec.json.encode(a_sale(id="41")), key=None)

    after = a_partition().fold([lost, at(1, a_sale(id="41"))])

    assert after.refusals == ["missing_key"]
    assert after.row(a_sale()).events == 1


# ---- addresses


def keyed(event: StockEvent | bytes, key: bytes | None) -> Record:
    value = event if isinstance(event, bytes) else msgspec.json.encode(event)
    return at(0, value, key=key)


@pytest.mark.parametrize(
    ("record", "topic", "reason"),
    [
        (keyed(a_sale(), None), "sales", "missing_key"),
        (keyed(a_sale(), b""), "sales", "missing_key"),
        (keyed(a_sale(), b"SKU-000043"), "sales", "key_mismatch"),
        (keyed(a_sale(), b"\xff"), "sales", "key_mismatch"),
        (keyed(a_sale(), b'"SKU-000042"'), "sales", "key_mismatch"),
        (keyed(a_sale(), SKU.encode()), "shipments", "misrouted"),
        (keyed(a_receipt(), SKU.encode()), "sales", "misrouted"),
        (keyed(an_adjustment(), SKU.encode()), "sales", "misrouted"),
        (keyed(with_data(sku=" "), b" "), "sales", "bad_data"),
        (keyed(with_data(location=".."), SKU.encode()), "sales", "bad_data"),
        (keyed(b"{", SKU.encode()), "sales", "not_json"),
        (at(0, None), "sales", "null_value"),
    ],
)
def test_a_record_at_the_wrong_address_is_refused(record: Record, topic: str, reason: str) -> None:
    after = a_partition().fold([record], topic)

    assert after.refusals == [reason]
    assert after.state.dirty == {}


@pytest.mark.parametrize("warm", [False, True])
def test_a_row_in_memory_vouches_for_no_key_and_no_topic(warm: bool) -> None:
    owner = a_partition()
    if warm:
        owner.fold([at(0, a_sale(id="0"))])

    after = owner.fold([at(1, msgspec.json.encode(a_sale()), key=b"x"), at(2, a_receipt())])

    assert after.refusals == ["key_mismatch", "misrouted"]


def test_a_key_on_a_partition_that_is_not_its_own_is_misrouted() -> None:
    home = partition_for(SKU.encode(), 12)
    here = Owner(partition=home, partitions=12).fold([at(0, a_sale())])
    elsewhere = Owner(partition=(home + 1) % 12, partitions=12).fold([at(0, a_sale())])

    assert here.refusals == []
    assert elsewhere.refusals == ["misrouted"]
    assert elsewhere.state.rows == {}


def test_what_is_refused_for_its_address_is_otherwise_sound() -> None:
    # Only then may a replay send it again to the right one.
    broken = with_data(sku="..", quantity=0)

    assert a_partition().fold([at(0, broken, key=None)], "shipments").refusals == ["bad_data"]


def test_a_dead_letter_is_the_record_exactly_as_it_came() -> None:
    headers = [("traceparent", b"00-1"), ("empty", None)]
    record = (7, RECORDED_MS, b"\xff\x00", b"{\xff", headers)

    (letter,) = a_partition().fold([record]).state.dead_letters

    assert (letter.topic, letter.partition) == ("sales", 0)
    assert (letter.offset, letter.timestamp_ms) == (7, RECORDED_MS)
    assert (letter.key, letter.value, letter.headers) == (b"\xff\x00", b"{\xff", headers)
    assert letter.reason == "not_json"


def test_dead_letters_stand_in_offset_order_whatever_their_reason() -> None:
    records = [at(0, a_sale()), at(1, a_sale(quantity=2)), at(2, b"{"), at(3, a_sale(quantity=3))]

    letters = a_partition().fold(records).state.dead_letters

    assert [(letter.offset, letter.reason) for letter in letters] == [
        (1, "id_conflict"),
        (2, "not_json"),
        (3, "id_conflict"),
    ]


# ---- groups and restarts


def test_a_redelivered_record_is_skipped_and_not_even_counted() -> None:
    owner = a_partition().fold([at(0, a_sale(id="1")), at(1, a_sale(id="2"))])

    owner.fold([at(0, a_sale(id="1")), at(1, a_sale(id="2")), at(2, a_sale(id="3"))])

    assert owner.state.counts["sales"] == (3, 0, 0)
    assert owner.state.positions == {"sales": 3}


def test_every_record_is_counted_once_as_applied_repeated_or_refused() -> None:
    records = [at(0, a_sale()), at(1, a_sale()), at(2, a_sale(quantity=9)), at(3, None)]

    assert a_partition().fold(records).state.counts["sales"] == (1, 1, 2)


def test_rows_not_in_memory_are_loaded_once_and_together() -> None:
    asked: list[list[bytes]] = []

    class Watched(Owner):
        def load(self, keys: list[bytes]) -> list[Row | None]:
            asked.append(keys)
            return super().load(keys)

    owner = Watched()
    places = ["a", "b", "a"]
    owner.fold([at(n, a_sale(id=str(n), location=place)) for n, place in enumerate(places)])
    owner.fold([at(3, a_sale(id="3", location="b"))])

    assert asked == [[row_key(SKU, "a"), row_key(SKU, "b")]]


def test_a_group_holds_what_was_folded_since_the_last_one() -> None:
    owner = a_partition().fold([at(0, a_sale(id="1", location="a")), at(1, b"{")])
    first = take_group(owner.state)
    owner.fold([at(2, a_sale(id="2", location="b"))])
    second, third = take_group(owner.state), take_group(owner.state)

    assert [sorted(group.rows) for group in (first, second, third)] == [
        [row_key(SKU, "a")],
        [row_key(SKU, "b")],
        [],
    ]
    assert [len(group.dead_letters) for group in (first, second, third)] == [1, 0, 0]
    assert [len(group.segments) for group in (first, second, third)] == [1, 1, 0]
    assert [group.positions["sales"] for group in (first, second, third)] == [2, 3, 3]


def test_folding_goes_on_while_a_group_travels() -> None:
    owner = a_partition().fold([at(0, a_sale(id="1", quantity=3))])
    travelling = take_group(owner.state)

    owner.fold([at(1, a_sale(id="2", quantity=4))])

    assert travelling.positions == {"sales": 1}
    assert travelling.counts["sales"] == (1, 0, 0)
    assert owner.row(a_sale()).sold == 7


def test_only_rows_that_are_in_the_store_leave_memory() -> None:
    owner = a_partition()
    owner.state.max_rows = 4
    places = [f"store-{n}" for n in range(15)]
    records = [at(n, a_sale(id=str(n), location=place)) for n, place in enumerate(places)]
    owner.fold(records[:5])
    take_group(owner.state)
    owner.fold(records[5:])
    take_group(owner.state)  # by now the first five are stored, the others travel

    assert [name.partition("\x00")[2] for name in owner.state.rows] == places[5:]


def test_the_rows_that_were_idle_longest_leave_first() -> None:
    owner = a_partition()
    owner.state.max_rows = 4
    for n, place in enumerate(["a", "b", "a", "c", "d", "a", "e", "f"]):
        owner.fold([at(n, a_sale(id=str(n), location=place))])
        take_group(owner.state)

    assert [name.partition("\x00")[2] for name in owner.state.rows] == ["a", "e", "f"]


def test_a_fold_that_fails_leaves_the_position_where_it_was() -> None:
    def broken_store(keys: list[bytes]) -> list[Row | None]:
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


@settings(max_examples=40)
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


@settings(max_examples=40)
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


def test_location_and_sku_of_the_builders_are_what_tests_assume() -> None:
    assert split_key(row_key(SKU, LOCATION)) == (a_sale().data.sku, a_sale().data.location)
