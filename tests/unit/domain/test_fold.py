"""The join: each fact once, in any order, through any number of crashes."""

import zlib

import msgspec
import pytest

from core.fold import take_group
from core.partitioning import partition_for
from core.records import Record
from domain.events import StockEvent, identity
from domain.rows import Row, row_key, split_key
from tests.support.inputs.builders import (
    RECORDED_MS,
    SKU,
    Owner,
    a_dispatch,
    a_partition,
    a_receipt,
    a_return,
    a_sale,
    an_adjustment,
    at,
    with_data,
    written,
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

    (value,) = written(take_group(owner.state)).values()

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
    assert after.sums.take().keys == []


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
    assert list(elsewhere.sums) == []


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
