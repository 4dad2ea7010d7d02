"""Who gets in, who is refused and why; and that nothing a stranger sends can raise."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from core.refusals import Refused
from domain import events
from domain.events import (
    MAX_DEPTH,
    Goods,
    SaleCompleted,
    SaleReturned,
    StockAdjusted,
    StockEvent,
    contents,
)
from domain.rows import row_key
from domain.rules.held import CURRENT
from tests.support.inputs.builders import (
    LOCATION,
    SKU,
    a_receipt,
    a_return,
    a_sale,
    an_adjustment,
    as_json,
    with_data,
)
from tests.unit.domain.names_to_try import BAD, GOOD

SALE = "inventory.sale.completed.v1"
ADJUSTED = "inventory.stock.adjusted.v1"


def verdict(value: bytes | None) -> str:
    event = CURRENT.decode(value)
    return event.reason if isinstance(event, Refused) else "accepted"


# ---- the envelope


def decoded(value: bytes) -> StockEvent:
    event = CURRENT.decode(value)
    assert not isinstance(event, Refused), event
    return event


def test_a_sound_event_is_read_in_full() -> None:
    moment = datetime(2026, 11, 23, 10, 0, 0, 123_000, tzinfo=UTC)

    assert decoded(as_json(id="4711-1")) == SaleCompleted(
        specversion="1.0", id="4711-1", source="till-17", time=moment, data=Goods(SKU, LOCATION, 2)
    )


def test_a_record_without_value_is_refused_as_such() -> None:
    assert verdict(None) == "null_value"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"{",
        b"\xff",
        b"\x00",
        b"till",
        b"NaN",
        b"\xef\xbb\xbf" + as_json(),
        as_json() + b"x",
        as_json() + b"\x00",
        as_json() + b"\n" + as_json(),
        as_json() + as_json(),
        as_json(unknown="x").replace(b'"x"', b'"\xff"'),
        as_json(unknown="x").replace(b'"x"', b"Infinity"),
        as_json(unknown="x").replace(b'"x"', b"[" * 100_000),
        as_json(unknown="x").replace(b'"x"', b"[" * 100_000 + b"]" * 100_000),
        as_json(unknown="x").replace(b'"x"', b'"a\nb"'),
        as_json().decode().encode("utf-16"),
        b'"' + b'\\"' * 100_000 + b"{[" * MAX_DEPTH,
    ],
)
def test_what_is_not_json_in_utf8_is_refused_as_such(value: bytes) -> None:
    assert verdict(value) == "not_json"


def test_nesting_is_bounded_by_a_number_and_not_by_the_caller_s_stack() -> None:
    def nested(levels: int) -> bytes:
        return as_json(unknown=0).replace(
            b'"unknown": 0', b'"unknown": ' + b"[" * levels + b"]" * levels
        )

    assert verdict(nested(MAX_DEPTH - 1)) == "accepted"
    assert verdict(nested(MAX_DEPTH)) == "not_json"


def test_brackets_in_a_text_are_not_nesting() -> None:
    assert verdict(with_data(reference='\\"[{' * 1000)) == "accepted"


MISSHAPEN: list[dict[str, Any]] = [
    *({"specversion": wrong} for wrong in (..., None, 1.0, "1", "0.3", "")),
    *({name: wrong} for name in ("id", "source") for wrong in (..., None, "", 7, "x" * 1025)),
    *({name: wrong} for name in ("id", "source") for wrong in ("\ud800", "a\0b", True)),
    *({"type": wrong} for wrong in (..., None, 7, True)),
    *({name: [name]} for name in ("specversion", "id", "source", "type")),
    {"data": ...},
]


@pytest.mark.parametrize(
    "value",
    [
        *(b"[]", b"null", b'"sale"', b"7", b"[" + as_json() + b"]"),
        *(as_json(**wrong) for wrong in MISSHAPEN),
    ],
)
def test_a_missing_or_wrong_envelope_is_refused_as_such(value: bytes) -> None:
    assert verdict(value) == "bad_envelope"


@pytest.mark.parametrize("field", ["id", "source"])
@pytest.mark.parametrize("text", ["x" * 1024, "😀" * 1024, " ", "a\u200bb", "https://till/17?a#b"])
def test_an_id_is_any_text_of_1024_characters(field: str, text: str) -> None:
    assert getattr(decoded(as_json(**{field: text})), field) == text


@pytest.mark.parametrize("kind", ["", "inventory.sale.completed.v2", "x" * 9999, "\ud800", "\x00"])
def test_a_type_of_another_version_is_unknown_and_not_wrong(kind: str) -> None:
    assert verdict(as_json(type=kind)) == "unknown_type"


def test_the_first_failing_check_in_the_documented_order_names_the_refusal() -> None:
    wrong: dict[str, Any] = {"id": 7, "type": "x", "time": "x", "data": {}}
    seen = [verdict(as_json(**wrong))]
    for heal in ({"id": "1"}, {"type": "inventory.sale.completed.v1"}, {"time": None}):
        wrong |= heal
        seen.append(verdict(as_json(**wrong)))

    assert seen == ["bad_envelope", "unknown_type", "bad_time", "bad_data"]


def test_unknown_fields_are_ignored_whatever_they_hold() -> None:
    value = as_json(traceparent="\ud800", subject={"a": [1, 2.5, None]}, big=1)

    assert verdict(value.replace(b'"big": 1', b'"big": 1' + b"0" * 5000)) == "accepted"


@pytest.mark.parametrize("name", ["\ud800", "a\udfff", "", "\x00", "__class__", "x" * 9999])
def test_nor_does_it_matter_how_unknown_fields_are_called(name: str) -> None:
    odd: dict[str, Any] = {name: {name: 1}}

    assert verdict(as_json(**odd)) == "accepted"
    # A whole float is read by the exact reader, not by the fast one.
    assert verdict(with_data(SALE, quantity=2.0, **odd)) == "accepted"


def test_of_a_field_named_twice_the_last_one_counts() -> None:
    twice = as_json().replace(b'"quantity": 2', b'"quantity": 0, "quantity": 3')
    sale_then_return = as_json().replace(b'"time"', b'"type": "inventory.sale.returned.v1", "time"')

    assert decoded(twice).data.quantity == 3
    assert isinstance(decoded(sale_then_return), SaleReturned)


# ---- time


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-23T10:00:00Z",
        "2026-11-23t10:00:00z",
        "2026-11-23 10:00:00Z",
        "2026-11-23T10:00:00.123456789012Z",
        "2026-11-23T10:00:00+05:30",
        "2026-11-23T10:00:00-00:00",
        "2016-12-31T23:59:60Z",
        "2016-12-31T22:59:60.5-01:00",
        "0001-01-01T00:00:00+23:59",
        None,
        ...,
    ],
)
def test_a_time_of_rfc_3339_with_an_offset_is_taken_and_so_is_none(time: Any) -> None:
    assert verdict(as_json(time=time)) == "accepted"


@pytest.mark.parametrize(
    "time",
    [
        "",
        "now",
        7,
        True,
        {},
        "2026-11-23",
        "2026-11-23T10:00:00",
        "2026-11-23T10:00Z",
        "2026-11-23T10:00:00+01",
        "2026-11-23T10:00:00+0100",
        "2026-11-23T10:00:00+0000",
        "2026-11-23T10:00:00.5-0000",
        "2026-11-23T10:00:00,5Z",
        "2026-11-23T10:00:00.Z",
        "2026-11-23T10:00:00Z ",
        "2026-11-23T10:00:00Z\n",
        "2026-02-30T10:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T10:00:61Z",
        "2026-11-23T10:00:60Z",
        "2016-12-31T23:59:60-01:00",
        "0001-01-01T00:59:60+01:00",
        "0000-01-01T00:00:00Z",
        "2026-11-23T10:00:00+24:00",
        "２０２６-11-23T10:00:00Z",
        "2026-W47-1T10:00:00Z",
        "\ud800",
    ],
)
def test_any_other_time_is_refused(time: Any) -> None:
    assert verdict(as_json(time=time)) == "bad_time"


@pytest.mark.parametrize("digit", range(4))
def test_an_offset_without_colon_is_refused_also_in_disguise(digit: int) -> None:
    offset = [*"0000"]
    offset[digit] = "\\u0030"
    value = as_json(time="2026-11-23T10:00:00+X").replace(b"+X", b"+" + "".join(offset).encode())

    assert verdict(value) == "bad_time"
    assert verdict(value.replace(b"+", b"\\u002d")) == "bad_time"


# ---- data


@pytest.mark.parametrize("quantity", [1, 2.0, 1e9, 1_000_000_000])
def test_a_whole_number_is_a_quantity_however_it_is_written(quantity: float) -> None:
    assert decoded(with_data(quantity=quantity)).data.quantity == int(quantity)


@pytest.mark.parametrize("digits", [b"2e0", b"20e-1", b"2.0", b"0.2E1", b"2.00000000000000000001"])
def test_a_float_counts_by_its_value_as_an_ieee_double(digits: bytes) -> None:
    assert decoded(with_data(quantity="Q").replace(b'"Q"', digits)).data.quantity == 2


@pytest.mark.parametrize(
    "quantity",
    [0, -1, -0.0, 2.5, 1e9 + 1, 10**9 + 1, 10**19, 10**40, 1e300, True, "2", None, [2], ...],
)
def test_any_other_quantity_is_refused(quantity: Any) -> None:
    assert verdict(with_data(quantity=quantity)) == "bad_data"


@pytest.mark.parametrize("digits", [b"1e400", b"9" * 5000, b"-1e400", b"1" + b"0" * 400 + b".5"])
def test_a_number_beyond_all_bounds_is_only_a_wrong_quantity(digits: bytes) -> None:
    assert verdict(with_data(quantity="Q").replace(b'"Q"', digits)) == "bad_data"


@pytest.mark.parametrize("quantity", [-(10**9), -1, 0, -0.0, 1, 10**9, -2.0])
def test_an_adjustment_goes_both_ways(quantity: float) -> None:
    event = decoded(with_data(ADJUSTED, quantity=quantity))

    assert isinstance(event, StockAdjusted)
    assert event.data.quantity == quantity


@pytest.mark.parametrize(
    "wrong",
    [{"quantity": ...}, {"quantity": -(10**9) - 1}, {"quantity": False}]
    + [{"reason": reason} for reason in ("", None, 7, "\ud800", "a\0", ...)],
)
def test_an_adjustment_without_quantity_or_reason_is_refused(
    wrong: dict[str, Any],
) -> None:
    assert verdict(with_data(ADJUSTED, **wrong)) == "bad_data"


@pytest.mark.parametrize("field", ["sku", "location"])
@pytest.mark.parametrize("name", [*GOOD, "x" * 128, "é" * 128, "😀" * 128])
def test_a_name_of_128_characters_of_any_script_is_taken(field: str, name: str) -> None:
    assert getattr(decoded(with_data(**{field: name})).data, field) == name


@pytest.mark.parametrize("field", ["sku", "location"])
@pytest.mark.parametrize(
    "name", [*BAD, "", "x" * 129, "😀" * 129, "\ud800", "a\udfffb", None, 7, ["a"], ...]
)
def test_a_name_that_no_path_or_log_can_hold_is_refused(field: str, name: Any) -> None:
    assert verdict(with_data(**{field: name})) == "bad_data"


@pytest.mark.parametrize("field", ["reason", "reference", "actor"])
def test_optional_words_are_texts_or_absent(field: str) -> None:
    sound: list[Any] = ["x", "", None, ..., "\u0001", "\u200b", "😀" * 999]
    wrong: list[Any] = [7, [], {}, True, "\ud800", "\u0000", "a\u0000b"]

    assert {verdict(with_data(**{field: word})) for word in sound} == {"accepted"}
    assert {verdict(with_data(**{field: word})) for word in wrong} == {"bad_data"}


@pytest.mark.parametrize("data", [None, [], "x", 7])
def test_data_that_is_no_object_is_bad_data(data: Any) -> None:
    assert verdict(as_json(data=data)) == "bad_data"


# ---- what makes two events the same


def content_of(event: StockEvent) -> int:
    return contents([event], [row_key(event.data.sku, event.data.location)])[0]


def test_another_type_or_quantity_is_always_another_content() -> None:
    same_place = [make(quantity=n) for make in (a_sale, a_return) for n in (1, 2, 2**29 + 1, 10**9)]

    assert len({content_of(event) for event in same_place}) == len(same_place)


def test_another_place_or_word_is_another_content() -> None:
    one = a_receipt()
    others = [
        one,
        a_receipt(sku="SKU-000043"),
        a_receipt(location="store-008"),
        a_receipt(reason="a"),
        a_receipt(reference="a"),
        a_receipt(reason="a", reference="b"),
        a_receipt(reason='a","b'),
    ]

    assert len({content_of(event) for event in others}) == len(others)


def test_an_empty_word_is_none_and_the_actor_is_not_content() -> None:
    # A till's retry after a change of cashier is the same sale.
    same = [
        a_receipt(),
        a_receipt(reason="", reference="", actor=""),
        a_receipt(actor="a"),
        a_receipt(actor="b", reference=""),
    ]

    assert len({content_of(event) for event in same}) == 1
    assert len({events.content(event) for event in same}) == 1
    assert events.content(a_receipt(reason="a")) != events.content(a_receipt(reference="a"))


def test_the_content_of_an_event_is_the_same_in_every_process() -> None:
    assert content_of(a_sale(quantity=3)) == 2807188260
    assert content_of(an_adjustment(quantity=-3, reference="R1")) == 205498701


def test_the_time_and_unknown_fields_are_not_content() -> None:
    first = decoded(as_json(time="2026-11-23T10:00:00Z"))
    again = decoded(as_json(time="2026-11-24T10:00:00Z", attempt=2))

    assert content_of(first) == content_of(again)


def test_every_type_has_its_topic() -> None:
    roles = Counter(event.role for event in CURRENT.events.values())

    assert roles == {"shipments": 2, "sales": 2, "adjustments": 1}


def test_what_the_service_writes_it_reads_as_it_was() -> None:
    for value in (as_json(), with_data(ADJUSTED)):
        text = json.loads(value)
        assert verdict(json.dumps(text, ensure_ascii=False, indent=2).encode()) == "accepted"
