"""The oracle of the end-to-end tests and the service read events by different code, alike."""

import json
import math
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from core import partitioning
from core.records import Headers
from core.refusals import Refused
from dev.oracle.reading import TYPES, Refuse, read
from dev.oracle.stock import murmur2, partition_of
from domain.events import content
from domain.rules.held import CURRENT
from tests.support.cluster.feed import a_shop, records_of
from tests.support.inputs.builders import in_binary_mode, with_data_base64

LETTERS = 'ab .\t\x00é\u2028\ud800"'
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([10**9, 10**9 + 1, -(10**9), 2.0, 2.5, -1.0, 1e30, "2", 10**40]),
    st.sampled_from(["", " ", ".", "..", " a", "a ", "a\u0085b", "a\nb", "é" * 128, "x" * 129]),
    st.sampled_from(
        ["e\u0301", "a\u200cb", "a\u200c", "a\u00a0b", "a\u0378", "a\0", "x" * 1025, 0]
    ),
    st.sampled_from(["2026-11-23T10:00:00Z", "2026-11-23", "2026-13-01T00:00:00Z", "now"]),
    st.sampled_from(["2026-11-23T10:00:00", "2026-11-23T10:00:00.5+01:00", "1.0"]),
    st.sampled_from([*TYPES, "inventory.sale.completed.v2"]),
    st.text(LETTERS, max_size=4),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(LETTERS, max_size=2), st.integers(), max_size=2),
)
ENVELOPE = ("specversion", "id", "source", "type", "time", "data", "unknown")
DATA = ("sku", "location", "quantity", "reason", "reference", "actor", "unknown")


@st.composite
def almost_events(draw: st.DrawFn) -> bytes:
    """A good event with up to two fields changed or gone, or cut off somewhere."""
    data = {"sku": "SKU-1", "location": "store-1", "quantity": 2, "reason": "found"}
    event: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "till", "data": data}
    event |= {"type": draw(st.sampled_from(sorted(TYPES))), "time": "2026-11-23T10:00:00Z"}
    for _ in range(draw(st.integers(0, 2))):
        inside = draw(st.booleans()) and event.get("data") is data
        place, field = (
            (data, st.sampled_from(DATA)) if inside else (event, st.sampled_from(ENVELOPE))
        )
        name = draw(field)
        if draw(st.booleans()):
            place[name] = draw(ODD)
        else:
            place.pop(name, None)
    value = json.dumps(event, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return value[: draw(st.integers(0, len(value)))] if draw(st.integers(0, 9)) == 0 else value


@st.composite
def records(draw: st.DrawFn) -> tuple[bytes, Headers]:
    """Such an event in one of the modes, its headers right or wrong."""
    value = draw(almost_events())
    mode = draw(st.sampled_from(["plain", "structured", "binary", "base64"]))
    headers: list[tuple[str, bytes | None]] = []
    if mode == "binary":
        value, headers = in_binary_mode(value)
    elif mode == "structured":
        headers = [("content-type", b"application/cloudevents+json; charset=utf-8")]
    elif mode == "base64":
        value = with_data_base64(value)
    if draw(st.integers(0, 4)) == 0:
        names = ["content-type", "ce_specversion", "ce_id", "ce_time", "ce_data", "trace"]
        headers.insert(
            0 if draw(st.booleans()) else len(headers),
            (draw(st.sampled_from(names)), draw(HEADERS)),
        )
    return value, headers


HEADERS = st.sampled_from(
    [
        *(
            b"application/json",
            b"Text/X+JSON ;a",
            b"text/plain",
            b"application/cloudevents",
            b"x/+json",
        ),
        *(b"application/cloudevents-batch+json", b"1.0", b"", b"\xff", b"a\0", b"now", None),
    ]
)


def verdict_of_the_oracle(value: bytes | None, headers: Headers = ()) -> object:
    try:
        fact = read(value, role_of(value, headers), headers)
    except Refuse as why:
        return str(why)
    return fact.source, fact.id, fact.sku, fact.location, fact.quantity


def role_of(value: bytes | None, headers: Headers) -> str:
    """Where the value's type belongs, so that its address is never in question."""
    event = CURRENT.decode(value, headers)
    return "sales" if isinstance(event, Refused) else event.role


def verdict_of_the_service(value: bytes | None, headers: Headers = ()) -> object:
    event = CURRENT.decode(value, headers)
    if isinstance(event, Refused):
        return str(event.reason)
    return event.source, event.id, event.data.sku, event.data.location, event.data.quantity


@settings(max_examples=4 * settings().max_examples)
@given(records())
@example((b"", ()))
@example((b"null", ()))
@example((b"[]", ()))
@example((b"\xff", ()))
@example((b'{"specversion":"1.0"} {}', ()))
@example((f'{{"specversion":{math.nan}}}'.encode(), ()))
def test_both_accept_and_refuse_the_same_for_the_same_reason(record: tuple[bytes, Headers]) -> None:
    assert verdict_of_the_oracle(*record) == verdict_of_the_service(*record)


@given(records(), records())
def test_both_call_the_same_two_records_repetitions(
    one: tuple[bytes, Headers], other: tuple[bytes, Headers]
) -> None:
    events = [CURRENT.decode(*one), CURRENT.decode(*other)]
    if any(isinstance(event, Refused) for event in events):
        return
    facts = [read(*record[:1], role_of(*record), record[1]) for record in (one, other)]

    same = content(events[0]) == content(events[1])  # type: ignore[arg-type]
    assert (facts[0].content == facts[1].content) == same


def test_both_read_a_shop_alike_to_the_last_record() -> None:
    for sent in records_of(a_shop(partitions=12), 1_000):
        assert verdict_of_the_oracle(sent.value) == verdict_of_the_service(sent.value)


@given(st.binary(max_size=40), st.integers(1, 100))
def test_both_place_a_key_alike(key: bytes, count: int) -> None:
    assert murmur2(key) % 2**32 == partitioning.murmur2(key) % 2**32
    if key.isascii():
        sku = key.decode()
        assert partition_of(sku, count) == partitioning.partition_for(key, count)


def test_murmur2_is_the_one_of_the_java_client() -> None:
    # From Kafka's own UtilsTest.testMurmur2.
    assert murmur2(b"21") == -973932308 % 2**32
    assert murmur2(b"foobar") == -790332482 % 2**32
    assert murmur2(b"a-little-bit-long-string") == -985981536 % 2**32
