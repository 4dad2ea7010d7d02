"""Two readers of one rule, the fast and the exact one, and nothing that can make them raise."""

from itertools import pairwise
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.columns import Columns
from core.records import Address, Headers
from core.refusals import Refused
from domain.columns import columns
from domain.events import check_names
from domain.rules.held import CURRENT
from tests.support.inputs.builders import (
    LETTERS,
    as_json,
    in_binary_mode,
    with_data,
    with_data_base64,
)

SALE, ADJUSTED = "inventory.sale.completed.v1", "inventory.stock.adjusted.v1"
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(LETTERS, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(LETTERS, max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
CORNERS: st.SearchStrategy[Any] = JSON | st.sampled_from(
    [
        *("", ".", " a", "\ud800", "1.0", ADJUSTED, "x" * 129, 2.0, 0, -1, 10**9 + 1, 10**30, ...),
        *("2026-11-23T10:00:00+0000", "2016-12-31T23:59:60Z", "2026-11-23T10:00:00Z"),
    ]
)


@st.composite
def nearly_events(draw: st.DrawFn) -> bytes:
    """A sound event with something changed, inside or outside, and perhaps cut or spliced."""
    other = st.text(LETTERS, max_size=2)
    fields = other | st.sampled_from(("specversion", "id", "source", "type", "time", "data"))
    words = other | st.sampled_from(("sku", "location", "quantity", "reason", "reference", "actor"))
    if draw(st.booleans()):
        value = as_json(**draw(st.dictionaries(fields, CORNERS, max_size=2)))
    else:
        kind = draw(st.sampled_from(sorted(CURRENT.events)))
        value = with_data(kind, **draw(st.dictionaries(words, CORNERS, max_size=2)))
    if draw(st.integers(0, 3)) == 0:
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, len(value)))
        value = value[:start] + draw(st.binary(max_size=3)) + value[end:]
    return value


VALUES = st.none() | st.binary(max_size=30) | nearly_events()
MEDIA = st.sampled_from(
    [
        *(b"application/cloudevents+json", b"Application/CloudEvents+JSON; charset=UTF-8"),
        *(b"application/cloudevents", b"application/cloudevents-batch+json"),
        *(
            b"application/json",
            b"text/JSON;x=y",
            b"application/vnd.shop+json",
            b"application/+json",
        ),
        *(b"", b"text/plain", b"json", b"a/b/c+json", b"\xff/json", None),
    ]
)
TIMES = (b"Z", b"+01:00", b"+0100", b'Z","', b"\\u005a", b"z")
HEADER = st.sampled_from(
    [b"1.0", b"", b"\xff", b"a\x00b", b"x" * 1025, "é".encode() * 600, ADJUSTED.encode(), None]
    + [
        b"2026-11-23T10:00:00" + end
        for end in (b"Z", b"+01:00", b"+0100", b'Z","', b"\\u005a", b"z")
    ]
)
Item = tuple[bytes | None, Headers]


@st.composite
def items(draw: st.DrawFn) -> Item:
    """A value and headers: an event in one of the modes, whole or damaged."""
    value = draw(VALUES)
    headers: list[tuple[str, bytes | None]] = []
    mode = draw(st.integers(0, 4))
    if mode >= 2 and value:  # binary, mostly a sound one
        value, headers = in_binary_mode(value)
    if mode >= 3 and headers and draw(st.booleans()):
        at = draw(st.integers(0, len(headers) - 1))
        headers[at] = headers[at][0], draw(HEADER)
    if draw(st.integers(0, 3)) == 0:
        headers.append(("content-type", draw(MEDIA)))
    if draw(st.integers(0, 5)) == 0:
        names = ["ce_id", "ce_specversion", "ce_foo", "trace", "Content-Type", "CE_ID"]
        headers.append((draw(st.sampled_from(names)), draw(HEADER)))
    if draw(st.integers(0, 5)) == 0:
        headers = draw(st.permutations(headers))
    if mode == 1 and value:
        value = with_data_base64(value)
    return value, headers


@settings(max_examples=2 * settings().max_examples)
@given(items())
@example(in_binary_mode(as_json()))
@example(in_binary_mode(as_json(time="2026-11-23T10:00:00+05:30")))
@example(in_binary_mode(as_json(time="2026-11-23T10:00:00+0530")))
@example(in_binary_mode(as_json(time="2026-11-23T10:00:00-0530")))
@example(in_binary_mode(as_json(time='2026-11-23T10:00:00Z","2026-11-23T10:00:00Z')))
@example(in_binary_mode(with_data(sku="Süd\x00", reason="\x00")))
@example(in_binary_mode(with_data(unknown="x" * 999)))
def test_no_record_raises_and_the_fast_reader_agrees_with_the_exact_one(item: Item) -> None:
    value, headers = item
    fast, exact = CURRENT.decode_batch([value], [headers])[0], CURRENT.exact(value, headers)

    assert fast == exact
    if isinstance(exact, Refused):  # it becomes a header and a line in a log
        assert exact.detail.isascii()
        assert exact.detail.isprintable()
        assert len(exact.detail) < 400


def with_one_more(name: str, content: bytes) -> Item:
    value, headers = in_binary_mode(as_json())
    return value, [*headers, (name, content)]


def in_another_order() -> Item:
    value, headers = in_binary_mode(as_json())
    places = {"ce_id": "ce_source", "ce_source": "ce_id"}
    found = dict(headers)
    return value, [(places.get(name, name), found[places.get(name, name)]) for name, _ in headers]


@given(st.lists(items(), max_size=6))
@example([in_binary_mode(as_json()), with_one_more("ce_id", b"the last one counts")])
@example([in_binary_mode(as_json()), in_another_order()])
@example([(as_json()[:40], ()), (as_json()[40:], ()), (as_json() + as_json(), ())])
@example([(b"", ()), (as_json() + b"\n" + as_json(), ())])
@example([(None, ()), (as_json(), ()), (None, ())])
@example([in_binary_mode(as_json(time=f"2026-11-23T10:00:00Z{end}")) for end in ('","', "", '"')])
@example([in_binary_mode(as_json(id=text)) for text in ("a", "b\x00c", "d")])
@example([in_binary_mode(as_json()), (as_json(), ()), (with_data_base64(as_json()), ())])
def test_a_batch_is_read_as_its_records_one_by_one(some: list[Item]) -> None:
    values, headers = [value for value, _ in some], [theirs for _, theirs in some]

    assert [
        event
        if isinstance(event, Refused)
        else check_names(event.data.sku, event.data.location) or event
        for event in CURRENT.decode_batch(values, headers)
    ] == [CURRENT.decode(*each) for each in some]


ADDRESS = Address("eu.sales", "sales", 0, 1)
ODD_NAMES = st.sampled_from(
    ["abc", "def\nghi", "ghi\x00jkl", "a\nb\x00cd\ne\x00fg", "..", "Süd", "\\n"]
)


@given(
    st.lists(st.tuples(items(), st.none() | ODD_NAMES, ODD_NAMES), min_size=1, max_size=8),
    st.lists(st.integers(1, 7)),
)
def test_columns_of_a_slice_are_those_of_its_records_wherever_it_is_cut(
    some: list[tuple[Item, str | None, str]], cuts: list[int]
) -> None:
    log = []
    for offset, ((value, headers), sku, location) in enumerate(some):
        if sku is not None:  # a sound sale of an odd name, so that neighbours can tempt each other
            value, headers = with_data(SALE, sku=sku, location=location), ()
        log.append((offset, 1_000 + offset, (sku or "abc").encode(), value, headers))
    starts = sorted({0, *(cut for cut in cuts if cut < len(log))})
    pieces = [log[a:b] for a, b in pairwise([*starts, len(log)])]

    told = [outcome for piece in pieces for outcome in told_of(columns(ADDRESS, piece, CURRENT))]

    assert told == [
        outcome for record in log for outcome in told_of(columns(ADDRESS, [record], CURRENT))
    ]


def told_of(found: Columns) -> list[object]:
    """By offset: the row and all that is kept of an event, or the dead letter."""
    told: dict[int, object] = {letter.offset: letter for letter in found.refused}
    for key, event in zip(found.keys, found.events.tolist(), strict=True):
        told[event[0]] = key, event
    return [told[offset] for offset in sorted(told)]
