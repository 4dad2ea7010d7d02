"""A question is read from a request once, and what another worker is asked is the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest import mock

import pytest
from aiohttp import StreamReader
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from multidict import CIMultiDict

from core.positions import format_position
from domain.names import fault_of
from web.cluster.admission import ANYTHING, Asked
from web.http.bodies import BodyLimits
from web.http.parameters import BadRequest
from web.reads.cursors import START
from web.reads.parameters import Filters
from web.reads.questions import (
    Hop,
    KeyAsked,
    KeyQuestion,
    ListQuestion,
    LookupQuestion,
    Question,
    Questions,
)

URL, COUNT = "http://10.0.0.7:6066", 4
questions = Questions(COUNT, 1, BodyLimits())
ids = st.text(st.characters(max_codepoint=0x2FFF), min_size=1, max_size=128).filter(
    lambda text: fault_of(text) is None
)
plain_ids = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", fullmatch=True)
floors: st.SearchStrategy[Mapping[tuple[str, int], int]] = st.dictionaries(
    st.tuples(st.sampled_from(["sales", "shop.shipments"]), st.integers(0, COUNT - 1)),
    st.integers(0, 2**40),
    max_size=3,
)

#: In milliseconds that no float rounds.
waits = st.sampled_from([0, 250, 1000, 10_000])


async def read(request: bytes) -> Any:
    """As the other worker reads it."""
    head, _, body = request.partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    method, target, _ = start.split(" ")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        headers.add(*line.split(": ", 1))
    payload = StreamReader(mock.Mock(), 2**16)
    payload.feed_data(body)
    payload.feed_eof()
    return await questions.of(make_mocked_request(method, target, headers, payload=payload))


#: Of the record of versions that both workers have read.
EPOCH = 5


def asked_there(question: Question, hop: Hop, floor: Mapping[tuple[str, int], int]) -> Asked:
    """What it must be there: from this floor on, and answered there or not at all."""
    wait_s = hop.wait_s if floor else ANYTHING.wait_s
    return Asked(floor, wait_s, question.asked.max_lag_events, hop=True)


def a_hop(floor: Mapping[tuple[str, int], int], wait_ms: int) -> Hop:
    return Hop(URL, 1, EPOCH, format_position(floor), wait_ms / 1000)


@given(
    sku=ids, location=st.none() | ids, most=st.none() | st.integers(0, 99),
    tag=st.sampled_from([None, 'W/"v1-4-00000001c3a9f2e1"']), floor=floors,
    wait_ms=waits,
)  # fmt: skip
async def test_another_worker_reads_the_question_of_a_key_as_it_was(
    sku: str,
    location: str | None,
    most: int | None,
    tag: str | None,
    floor: Mapping[tuple[str, int], int],
    wait_ms: int,
) -> None:
    question = KeyQuestion(sku, location, Asked(max_lag_events=most), tag)
    hop = a_hop(floor, wait_ms)

    there = await read(question.request(hop))

    asked, in_pieces = asked_there(question, hop, floor), location is None
    assert there == replace(question, asked=asked, in_pieces=in_pieces)


@given(sku=plain_ids, location=plain_ids, floor=floors, wait_ms=waits)
async def test_a_plain_request_is_the_same_question_whoever_reads_it(
    sku: str, location: str, floor: Mapping[tuple[str, int], int], wait_ms: int
) -> None:
    request = KeyQuestion(sku, location).request(a_hop(floor, wait_ms))
    from_a_client = b"GET /v1/inventory/%b/%b HTTP/1.1\r\nHost: here\r\n\r\n" % (
        sku.encode(),
        location.encode(),
    )

    assert questions.plain(request, EPOCH) == await read(request)
    assert questions.plain(from_a_client, EPOCH) == await read(from_a_client)
    assert questions.plain(from_a_client, EPOCH) == KeyQuestion(sku, location)


async def test_a_worker_that_has_read_a_later_record_is_not_answered_at_once() -> None:
    request = KeyQuestion("a", "b").request(a_hop({}, 0))

    assert questions.plain(request, EPOCH - 1) is None
    assert questions.plain(request, EPOCH + 1) == questions.plain(request, EPOCH) is not None


async def test_another_worker_reads_the_question_of_a_list_or_lookup_as_it_was() -> None:
    hop, floor = a_hop({("sales", 2): 7}, 250), {("sales", 2): 7}
    places = [("a", "b"), START, ("é 1", "c"), None]
    filters = Filters(location="é", sku_prefix="a b", on_hand_below=-3)
    page = ListQuestion(filters, 5, places, [0, 2], True, ANYTHING, stored=True)
    keys = [KeyAsked("a/b", "c"), KeyAsked("é", "d"), KeyAsked("x" * 128, "y" * 128)]
    many = LookupQuestion(keys, True, ANYTHING)

    list_there = await read(page.request(hop, [0, 2]))
    lookup_there = await read(many.request(hop, [1, 3], keys))

    # The places of partitions that are not asked for mean nothing there.
    assert [list_there.places[p] for p in (0, 2)] == [("a", "b"), ("é 1", "c")]
    assert replace(list_there, places=places) == replace(page, asked=asked_there(page, hop, floor))
    assert lookup_there == replace(many, asked=asked_there(many, hop, floor))


@pytest.mark.parametrize(
    "name", ["", "a ", "..", "x" * 129, "é" * 129, "abc\ndef", "abc\x00def", "abc\ndef\x00ghi"]
)
async def test_a_lookup_refuses_each_name_that_no_fact_may_have(name: str) -> None:
    keys = [KeyAsked("abc", "def"), KeyAsked(name, "store-1"), KeyAsked("abc", name)]

    with pytest.raises(BadRequest) as refused:
        await read(LookupQuestion(keys, True, ANYTHING).request(a_hop({}, 0), [0], keys))

    wrong = [(fault.parameter, fault.detail) for fault in refused.value.faults]
    assert wrong == [("keys[1].sku", fault_of(name)), ("keys[2].location", fault_of(name))]


@pytest.mark.parametrize("line", ["Onhand-Hop: 1\r\nOnhand-Hop: 1", "onhand-hop: 1", "Via: x"])
async def test_a_header_that_matters_is_read_the_same_or_left_alone(line: str) -> None:
    request = f"GET /v1/inventory/a/b HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode()

    plain = questions.plain(request, EPOCH)

    assert plain is None or plain == await read(request)
