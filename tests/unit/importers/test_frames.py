"""Foreign records, by frame: what they say, and why they say nothing. Never an exception."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.records import Headers, Record, too_large
from domain.rules.held import CURRENT
from importers.frames.making import Left, Outcome, Unmade, facts_of
from importers.frames.maps import ForeignMap, read_map

SALE = "inventory.sale.completed.v1"
RETURN = "inventory.sale.returned.v1"
TIME = "2026-11-23T10:00:00Z"
LINE = {"sku": "A-1", "shop": "s-1", "n": 2}


def a_map(top: str = "", under: str = "", **paths: str) -> ForeignMap:
    places = {"sku": "value.sku", "location": "value.shop", "quantity": "value.n"} | paths
    lines = "\n".join(f"{field} = '{path}'" for field, path in places.items())
    kind = "" if "type" in places else f'type = "{SALE}"'
    return read_map(
        f"{top}\n[constants]\n{kind}\n[paths]\n{lines}\n{under}", "orders", CURRENT.events
    )


def a_record(
    value: Any, key: bytes | None = None, headers: Headers = (), offset: int = 41
) -> Record:
    raw = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    return offset, 1_795_000_000_000, key, raw, headers


def made(by: ForeignMap, value: Any, key: bytes | None = None, headers: Headers = ()) -> Outcome:
    return facts_of(a_record(value, key, headers), "orders", 3, by)


def fact(by: ForeignMap, value: Any, key: bytes | None = None, headers: Headers = ()) -> Any:
    found = made(by, value, key, headers)
    assert isinstance(found, list), found
    (event,) = found
    return event


def refused(by: ForeignMap, value: Any, key: bytes | None = None, headers: Headers = ()) -> str:
    found = made(by, value, key, headers)
    assert isinstance(found, Unmade), found
    assert found.reason == "not_mapped"
    return found.detail


def test_without_more_words_a_fact_is_named_by_where_its_record_stood() -> None:
    assert fact(a_map(), LINE) == {
        "specversion": "1.0",
        "id": "orders-3@41",
        "source": "bridge/orders",
        "type": SALE,
        "data": {"sku": "A-1", "location": "s-1", "quantity": 2},
    }


FRAMES: list[tuple[str, bytes, Headers]] = [
    ("json", b"%s", ()),
    ("connect", b'{"schema":{"type":"struct"},"payload":%s}', ()),
    ("outbox", b"%s", ()),
    ("outbox", b'{"schema":null,"payload":%s}', ()),
    ("confluent", b"\x00\x00\x00\x00\x07%s", ()),
    ("confluent", b"\x01" + b"g" * 16 + b"%s", ()),
    ("confluent", b"%s", [("__value_schema_id", b"\x01" + b"g" * 16)]),
    ("confluent", b"%s", [("__value_schema_id", None), ("__value_schema_id", b"\x00\0\0\0\x07")]),
]


@pytest.mark.parametrize(("frame", "form", "headers"), FRAMES)
def test_a_value_says_the_same_in_each_frame(frame: str, form: bytes, headers: Headers) -> None:
    value = form.replace(b"%s", json.dumps(LINE).encode())

    assert fact(a_map(f'frame = "{frame}"'), value, headers=headers)["data"]["sku"] == "A-1"


def test_with_the_schema_in_a_header_no_byte_of_the_value_is_cut_off() -> None:
    headers = [("__value_schema_id", b"\x01" + b"g" * 16)]
    told = refused(a_map('frame = "confluent"'), b"\x00\x00\x00\x00\x07{}", headers=headers)

    assert told.startswith("The value behind its schema's number is not JSON")


@pytest.mark.parametrize(
    ("frame", "value", "told"),
    [
        ("json", b"\x00\x00\x00\x00\x07{}", "The value is not JSON"),
        ("json", b"\xff", "The value is not JSON"),
        ("connect", b"{}", "The value has no schema and payload: with schemas.enable=false"),
        ("confluent", b"{}", "The value begins with no schema's number, and no header has one"),
        ("confluent", b"\x00\x00", "The value begins with no schema's number"),
        ("confluent", b"", "The value begins with no schema's number"),
    ],
)
def test_a_value_in_another_frame_is_refused_with_what_it_may_be(
    frame: str, value: bytes, told: str
) -> None:
    assert refused(a_map(f'frame = "{frame}"'), value).startswith(told)


CHANGE = {"before": None, "after": LINE, "op": "c", "ts_ms": 1_795_000_000_123}
DEBEZIUM = a_map(
    'frame = "debezium"\ntime_format = "ms"',
    '[only]\n"value.op" = ["c", "r"]',
    sku="value.after.sku",
    location="value.after.shop",
    quantity="value.after.n",
    time="value.ts_ms",
)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_change_event_counts_by_its_operation(wrapped: bool) -> None:
    def value(**changed: Any) -> Any:
        event = {**CHANGE, **changed}
        return {"schema": {}, "payload": event} if wrapped else event

    assert fact(DEBEZIUM, value())["time"] == "2026-11-18T11:06:40.123Z"
    assert fact(DEBEZIUM, value(op="r"))["data"]["quantity"] == 2
    assert made(DEBEZIUM, value(op="d", after=None)) == Left("not wanted by [only]")
    assert refused(DEBEZIUM, value(after=None)) == "value.after.sku, the sku, is not there."


def test_what_is_no_change_event_is_refused() -> None:
    assert refused(DEBEZIUM, LINE).startswith("The value has no op, so it is no change event")


def test_a_tombstone_is_left_out_or_kept_for_a_person() -> None:
    assert made(DEBEZIUM, None) == Left("a tombstone")
    assert made(a_map(), b"null") == Left("a tombstone")
    kept = a_map('tombstones = "refuse"')
    assert made(kept, None) == Unmade("null_value", "The record has no value.")
    assert refused(kept, b"null") == "value.sku, the sku, is not there."


def test_a_path_goes_through_a_text_of_json() -> None:
    by = a_map(sku="value.row.payload.sku", location="headers.at.shop", quantity="key.n")

    event = fact(
        by,
        {"row": {"payload": json.dumps(LINE)}},
        key=b'{"n": 5}',
        headers=[("at", b'{"shop": "s-9"}')],
    )

    assert event["data"] == {"sku": "A-1", "location": "s-9", "quantity": 5}
    assert fact(a_map('frame = "outbox"'), json.dumps(LINE))["data"]["sku"] == "A-1"


def test_a_text_on_the_way_that_is_no_json_is_told() -> None:
    told = refused(a_map(sku="value.sku.a"), LINE)

    assert told.startswith("The text on the way to value.sku.a is not JSON")


def test_id_source_and_words_come_from_where_the_map_says() -> None:
    by = a_map(
        "",
        f'[words.type]\nout = "{SALE}"\nback = "{RETURN}"\n[words.location]\n7 = "store-007"',
        id="headers.id",
        source="value.till",
        type="value.kind",
        location="value.shop",
        reason="value.why",
        reference="value.none",
    )
    value = {**LINE, "till": 17, "kind": "back", "shop": 7, "why": None}

    event = fact(by, value, headers=[("id", b"old"), ("id", b"u-1")])

    assert (event["id"], event["source"], event["type"]) == ("u-1", "17", RETURN)
    assert event["data"] == {"sku": "A-1", "location": "store-007", "quantity": 2}
    assert refused(by, {**value, "kind": "lost"}, headers=[("id", b"1")]) == (
        "value.kind, the type, is 'lost', a word that [words.type] does not have."
    )
    assert refused(by, value) == "headers.id, the id, is not there."
    assert refused(by, value, headers=[("id", b"\xff")]) == "The header id is not UTF-8."


LINES = a_map(
    'each = "value.lines"',
    '[only]\n"value.state" = "paid"\n"each.kind" = ["goods"]',
    sku="each.sku",
    quantity="each.n",
)
ORDER: dict[str, Any] = {
    "state": "paid",
    "shop": "s-1",
    "lines": [
        {"sku": "A", "n": 1, "kind": "goods"},
        {"sku": "gift card", "n": 1, "kind": "money"},
        {"sku": "A", "n": 1, "kind": "goods"},
    ],
}


def test_each_line_of_a_record_is_a_fact_of_its_own() -> None:
    found = made(LINES, ORDER)

    assert isinstance(found, list)
    assert [event["id"] for event in found] == ["orders-3@41#1", "orders-3@41#3"]
    assert {event["data"]["location"] for event in found} == {"s-1"}


def test_an_id_of_the_record_is_made_one_of_the_line() -> None:
    top = 'each = "value.lines"'
    value = {"no": 7, "shop": "s", "lines": [{"sku": "A", "n": 1, "no": "x"}]}

    whole = a_map(top, sku="each.sku", quantity="each.n", id="value.no")
    line = a_map(top, sku="each.sku", quantity="each.n", id="each.no")

    assert (fact(whole, value)["id"], fact(line, value)["id"]) == ("7#1", "x")


def test_lines_that_are_none_are_refused_and_no_lines_are_nothing() -> None:
    assert refused(LINES, {**ORDER, "lines": {}}) == "value.lines is no list."
    assert refused(LINES, {"state": "paid"}) == "value.lines is no list."
    many = {**ORDER, "lines": ORDER["lines"] * 400}
    assert refused(LINES, many) == "value.lines has more than 1,000 lines."
    assert made(LINES, {**ORDER, "lines": []}) == Left("not wanted by [only]")
    assert made(LINES, {**ORDER, "state": "open"}) == Left("not wanted by [only]")
    assert isinstance(made(LINES, {**ORDER, "lines": json.dumps(ORDER["lines"])}), list)


@pytest.mark.parametrize(
    ("found", "quantity"),
    [
        (2, 2),
        (2.0, 2.0),
        ("2", 2),
        ("2.000", 2),
        (" 2 ", 2),
        ("-3", -3),
        (2.5, 2.5),
        (10**18, 10**18),
    ],
)
def test_a_quantity_is_a_number_or_the_text_of_a_whole_one(found: Any, quantity: Any) -> None:
    assert fact(a_map(), {**LINE, "n": found})["data"]["quantity"] == quantity


@pytest.mark.parametrize("found", ["2.5", "two", "", "1e3", "٣", None, True, [], {}])
def test_what_is_no_quantity_is_refused(found: Any) -> None:
    assert refused(a_map(), {**LINE, "n": found}).startswith("value.n, the quantity, is ")


def test_a_sign_may_choose_the_type() -> None:
    by = a_map(f'negative_type = "{RETURN}"')

    assert fact(by, {**LINE, "n": "-2"})["type"] == RETURN
    assert fact(by, {**LINE, "n": -2})["data"]["quantity"] == 2
    assert fact(by, LINE)["type"] == SALE


ADJUSTED = "inventory.stock.adjusted.v1"
RECEIVED = "inventory.shipment.received.v1"


@pytest.mark.parametrize(
    ("kind", "negative", "became"),
    [
        (SALE, ADJUSTED, (ADJUSTED, 2)),
        (RECEIVED, ADJUSTED, (ADJUSTED, -2)),
        (RETURN, ADJUSTED, (ADJUSTED, -2)),
        (ADJUSTED, RETURN, (ADJUSTED, -2)),
        (ADJUSTED, SALE, (ADJUSTED, -2)),
        (SALE, SALE, (SALE, 2)),
    ],
)
def test_a_quantity_below_0_never_does_to_the_stock_what_one_above_0_does(
    kind: str, negative: str, became: tuple[str, int]
) -> None:
    by = a_map(f'negative_type = "{negative}"', type="value.type")

    event = fact(by, {**LINE, "n": -2, "type": kind})

    assert (event["type"], event["data"]["quantity"]) == became


def test_a_type_that_would_count_a_quantity_below_0_the_wrong_way_round_is_refused() -> None:
    by = a_map(f'negative_type = "{RETURN}"', type="value.type")

    assert "the wrong way round" in refused(by, {**LINE, "n": -2, "type": RECEIVED})


@pytest.mark.parametrize(
    ("form", "found", "time"),
    [
        ("rfc3339", TIME, TIME),
        ("s", 1_795_000_000, "2026-11-18T11:06:40Z"),
        ("s", "1795000000", "2026-11-18T11:06:40Z"),
        ("ms", 1_795_000_000_007, "2026-11-18T11:06:40.007Z"),
        ("us", 1_795_000_000_000_007, "2026-11-18T11:06:40.000007Z"),
        ("ns", 1_795_000_000_000_000_007, "2026-11-18T11:06:40.000000007Z"),
        ("ms", -1, "1969-12-31T23:59:59.999Z"),
        ("s", -60_000_000_000, "0068-09-03T13:20:00Z"),
        ("ms", None, None),
    ],
)
def test_a_time_is_a_text_or_so_many_units(form: str, found: Any, time: str | None) -> None:
    by = a_map(f'time_format = "{form}"', time="value.t")

    assert fact(by, {**LINE, "t": found}).get("time") == time


@pytest.mark.parametrize(
    ("form", "found", "told"),
    [
        ("rfc3339", 1_795_000_000, "value.t, the time, is no text: set time_format to s, ms, us"),
        ("ms", TIME, "value.t, the time, is no whole number of ms."),
        ("ms", 1.5, "value.t, the time, is no whole number of ms."),
        ("s", True, "value.t, the time, is no whole number of s."),
        ("s", 10**17, "value.t, the time, is of no year from 1 to 9999."),
    ],
)
def test_what_is_no_time_is_refused(form: str, found: Any, told: str) -> None:
    by = a_map(f'time_format = "{form}"', time="value.t")

    assert refused(by, {**LINE, "t": found}).startswith(told)


@pytest.mark.parametrize("found", [None, True, 1.0, [], {}])
def test_what_is_no_text_is_refused(found: Any) -> None:
    assert refused(a_map(), {**LINE, "sku": found}).startswith("value.sku, the sku, is ")


def test_a_record_too_large_to_be_read_is_kept_as_what_stands_for_it() -> None:
    record = (41, 7, None, too_large(2_000_000, "ab"), ())

    assert facts_of(record, "orders", 3, a_map()) == Unmade(
        "too_large", "The record has more than 1,048,576 bytes."
    )


def test_a_refusal_is_told_in_ascii() -> None:
    assert refused(a_map(sku="value.größe"), LINE) == r"value.gr\xf6\xdfe, the sku, is not there."


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(Decimal(1)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["sku", "shop", "n", "op", "after", "schema", "payload", "lines", "t"]),
        inner,
        max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip
MAPS = [
    *(a_map(f'frame = "{frame}"', time="value.t", id="key.id") for frame in
      ("json", "connect", "outbox", "confluent")),
    DEBEZIUM,
    LINES,
    a_map('time_format = "ns"', source="headers.h.a.0", time="value.t"),
]  # fmt: skip


@given(
    st.binary(max_size=40) | json_values.map(lambda v: json.dumps(v, default=str).encode()),
    st.none() | st.binary(max_size=20),
    st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=9)), max_size=3),
    st.sampled_from(MAPS),
    st.booleans(),
)
def test_whatever_comes_is_facts_or_a_reason(
    value: bytes, key: bytes | None, headers: Headers, by: ForeignMap, framed: bool
) -> None:
    raw = b"\x00\x00\x00\x00\x01" + value if framed else value

    found = facts_of((0, 0, key, raw, headers), "orders", 0, by)

    if isinstance(found, Unmade):
        assert found.detail.isascii()
        assert found.detail.endswith(".")
    else:
        assert isinstance(found, Left) or found
