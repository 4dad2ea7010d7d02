"""The oracle of the end-to-end tests and the service read events by different code, alike."""

import json
import math
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dev.oracle import TYPES, Refuse, murmur2, partition_of, read
from domain import partitioning
from domain.events import Refused, decode
from tests.feed import a_shop, records_of

LETTERS = 'ab .\t\x00é\u2028\ud800"'
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([10**9, 10**9 + 1, -(10**9), 2.0, 2.5, -1.0, 1e30, "2", 10**40]),
    st.sampled_from(["", " ", ".", "..", " a", "a ", "a\u0085b", "a\nb", "é" * 128, "x" * 129]),
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


def verdict_of_the_oracle(value: bytes | None) -> object:
    try:
        fact = read(value, role_of(value))
    except Refuse as why:
        return str(why)
    return fact.source, fact.id, fact.sku, fact.location, fact.quantity


def role_of(value: bytes | None) -> str:
    """Where the value's type belongs, so that its address is never in question."""
    try:
        return TYPES[json.loads(value or b"")["type"]][0]
    except (ValueError, KeyError, TypeError):
        return "sales"


def verdict_of_the_service(value: bytes | None) -> object:
    event = decode(value)
    if isinstance(event, Refused):
        return str(event.reason)
    return event.source, event.id, event.data.sku, event.data.location, event.data.quantity


@given(almost_events())
@example(b"")
@example(b"null")
@example(b"[]")
@example(b"\xff")
@example(b'{"specversion":"1.0"} {}')
@example(f'{{"specversion":{math.nan}}}'.encode())
def test_both_accept_and_refuse_the_same_for_the_same_reason(value: bytes) -> None:
    assert verdict_of_the_oracle(value) == verdict_of_the_service(value)


def test_both_read_a_shop_alike_to_the_last_record() -> None:
    for sent in records_of(a_shop(partitions=12), 3_000):
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
