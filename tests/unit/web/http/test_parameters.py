"""Paths and parameters as they were sent: nothing is folded, guessed or ignored."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from domain.names import fault_of
from web.cluster.admission import ANYTHING, Asked
from web.history.asking import PAST
from web.http.parameters import BadRequest, parameters, target_of
from web.reads.parameters import LIST, LOOKUP, READ
from web.reads.questions import asked_of, filters_of, key_of
from web.versions.asked import OF_THE_PAST

ids = st.text(st.characters(max_codepoint=0x2FFF), min_size=1, max_size=128).filter(
    lambda text: fault_of(text) is None
)


@given(sku=ids, location=ids)
def test_every_allowed_id_survives_the_path(sku: str, location: str) -> None:
    path = f"/v1/inventory/{quote(sku, safe='')}/{quote(location, safe='')}"

    assert key_of(path) == (sku, location)


@pytest.mark.parametrize(
    ("sent", "path", "query"),
    [
        ("/v1/inventory/a%2Fb/c", "/v1/inventory/a%2Fb/c", ""),
        ("/v1/inventory/a/../b", "/v1/inventory/a/../b", ""),
        ("/v1/inventory?limit=1#x", "/v1/inventory", "limit=1"),
        ("/v1/inventory/a/b?x=1?y", "/v1/inventory/a/b", "x=1?y"),
        ("http://here:1/v1/inventory/a/b?x=1", "/v1/inventory/a/b", "x=1"),
        ("/v1/inventory?%zz=1&%76ersion=2", "/v1/inventory", "%zz=1&%76ersion=2"),
        ("/v1/inventory?%76ersion=%ff", "/v1/inventory", "%76ersion=%ff"),
    ],
)
def test_the_target_is_taken_as_it_was_sent(sent: str, path: str, query: str) -> None:
    assert target_of(make_mocked_request("GET", sent)) == (path, query)


@pytest.mark.parametrize(
    ("sent", "query"),
    [
        ("%76ersion=%32", "version=2"),
        (
            "min%5Fposition=sales-0%404%2Ccontrol%407&wait_ms=%31",
            "min_position=sales-0@4,control@7&wait_ms=1",
        ),
        (
            "location=a+b%26c%3D%23%25&sku_prefix=%C3%A9",
            "location=a%20b%26c%3D%23%25&sku_prefix=%C3%A9",
        ),
        ("sku_prefix=as_of%3D1&&x=%2B", "sku_prefix=as_of%3D1&&x=%2B"),
    ],
)
def test_a_query_has_one_spelling_for_all_who_look_into_it(sent: str, query: str) -> None:
    assert target_of(make_mocked_request("GET", f"/v1/inventory?{sent}"))[1] == query


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4), st.data())
def test_another_spelling_of_a_query_says_the_same(
    values: dict[str, str], data: st.DataObject
) -> None:
    def spelt(text: str) -> str:
        return "".join(
            f"%{byte:02X}" if data.draw(st.booleans()) else quote(bytes([byte]), "")
            for byte in text.encode()
        )

    sent = "&".join(f"{spelt(name)}={spelt(value)}" for name, value in values.items())
    once = target_of(make_mocked_request("GET", f"/v1/inventory?{sent}"))[1]

    assert dict(parse_qsl(once, keep_blank_values=True)) == values
    assert target_of(make_mocked_request("GET", f"/v1/inventory?{once}"))[1] == once


@pytest.mark.parametrize("path", ["/v1/inventory", "/v1/inventory/a/b/c", "/v1/x/a", "/"])
def test_other_paths_are_no_key(path: str) -> None:
    assert key_of(path) is None


@pytest.mark.parametrize(
    ("sku", "told"),
    [("e\u0301", "NFC"), ("a\u200bb", "U+200B"), ("a\u0378", "U+0378"), ("a\u00a0b", "U+00A0")],
)
def test_a_name_that_no_fact_can_have_is_a_mistake_and_not_unknown(sku: str, told: str) -> None:
    # 404 would say that nobody sold it; what is asked for is another spelling of it.
    for query in (f"location={quote(sku)}", f"sku_prefix={quote(sku)}"):
        with pytest.raises(BadRequest, match=re.escape(told)):
            parameters(query, LIST)
    with pytest.raises(BadRequest, match=re.escape(told)):
        key_of(f"/v1/inventory/{quote(sku)}/s")


def asked(query: str) -> Asked:
    return asked_of(parameters(query, READ), {})


def test_who_says_nothing_takes_anything() -> None:
    assert asked("") == ANYTHING
    assert asked_of({}, {"Onhand-Hop": "1"}).hop


def test_parameters_of_a_read() -> None:
    found = asked("min_position=sales-3%407%2Chistory-1@2&wait_ms=250&max_lag_events=0")

    assert found.min_position == {("sales", 3): 7, ("history", 1): 2}
    assert (found.wait_s, found.max_lag_events, found.hop) == (0.25, 0, False)


def test_parameters_of_a_list() -> None:
    query = "location=a+b%2Bc&sku_prefix=&on_hand_below=-5&limit=1000&partial=true"

    values = parameters(query, LIST)

    filters = filters_of(values)
    assert filters.location == "a b+c"
    assert (filters.sku_prefix, filters.on_hand_below) == ("", -5)
    assert (values["limit"], values["partial"], values.get("cursor")) == (1000, True, None)


def test_a_lookup_may_be_partial() -> None:
    assert parameters("partial=true", LOOKUP) == {"partial": True}
    assert parameters("", LOOKUP) == {}


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("wait_ms=-1", ["wait_ms"]),
        ("wait_ms=", ["wait_ms"]),
        ("wait_ms=1e3", ["wait_ms"]),
        ("wait_ms=\u0661", ["wait_ms"]),
        ("max_lag_events=99999999999999999999", ["max_lag_events"]),
        ("limit=5", ["limit"]),
        ("min_position=foo", ["min_position"]),
        ("min_position=sales-3@7,foo", ["min_position"]),
        ("wait_ms=x&max_lag_events=y&color=z", ["color", "wait_ms", "max_lag_events"]),
        ("wait_ms=1;max_lag_events=2", ["wait_ms"]),
        ("%zz=1", ["query", "%zz"]),
        ("wait_ms=%ff", ["query"]),
        ("wait_ms=1\udcff", ["query"]),
        ("&".join(["a=1"] * 60), ["query"]),
    ],
)
def test_each_bad_parameter_is_named(query: str, wrong: list[str]) -> None:
    with pytest.raises(BadRequest) as caught:
        parameters(query, READ)

    assert [fault.parameter for fault in caught.value.faults] == wrong


@pytest.mark.parametrize(
    "query",
    [
        "location=" + "x" * 129,
        "location=%20x",
        "sku_prefix=%00",
        "sku_prefix=" + "x" * 129,
        "on_hand_above=1.0",
        "limit=01000000000000000000000",
        "partial=True",
        "partial=1",
    ],
)
def test_filters_that_no_row_could_pass_are_mistakes(query: str) -> None:
    with pytest.raises(BadRequest):
        parameters(query, LIST)


def test_what_is_known_where_a_moment_is_named_is_told_too() -> None:
    with pytest.raises(BadRequest, match=r"known are min_position, .*, as_of, at_position, clock"):
        parameters("as_off=2026-11-23T10:00:00Z", READ, OF_THE_PAST)
    with pytest.raises(BadRequest, match="clock: goes with a moment: name it by as_of"):
        parameters("clock=occurred", READ, OF_THE_PAST)


def test_what_is_said_to_be_known_of_the_past_is_what_a_ledger_reads() -> None:
    assert set(OF_THE_PAST) == PAST.keys() - READ.keys()
