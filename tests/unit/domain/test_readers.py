"""Two readers of one rule, the fast and the exact one, and nothing that can make them raise."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain import events
from domain.events import Refused, are_good_names, check_names, decode, decode_batch
from domain.rows import row_key
from tests.builders import LETTERS, as_json, with_data

ADJUSTED = "inventory.stock.adjusted.v1"
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
        kind = draw(st.sampled_from(sorted(events.EVENTS)))
        value = with_data(kind, **draw(st.dictionaries(words, CORNERS, max_size=2)))
    if draw(st.integers(0, 3)) == 0:
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, len(value)))
        value = value[:start] + draw(st.binary(max_size=3)) + value[end:]
    return value


VALUES = st.none() | st.binary(max_size=30) | nearly_events()


@settings(max_examples=100)
@given(VALUES)
def test_no_value_raises_and_the_fast_reader_agrees_with_the_exact_one(value: bytes | None) -> None:
    fast, exact = decode_batch([value])[0], events._exact(value)

    assert fast == exact
    if isinstance(exact, Refused):  # it becomes a header and a line in a log
        assert exact.detail.isascii()
        assert exact.detail.isprintable()
        assert len(exact.detail) < 400


@settings(max_examples=40)
@given(st.lists(VALUES, max_size=6))
@example([as_json()[:40], as_json()[40:], as_json() + as_json()])
@example([b"", as_json() + b"\n" + as_json()])
@example([None, as_json(), None])
def test_a_batch_is_read_as_its_records_one_by_one(values: list[bytes | None]) -> None:
    assert [
        event
        if isinstance(event, Refused)
        else check_names(event.data.sku, event.data.location) or event
        for event in decode_batch(values)
    ] == [decode(value) for value in values]


NAMES = st.text(st.sampled_from("ab-.~ \x00\n\x7fé"), min_size=1, max_size=5)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=3))
def test_names_are_good_together_only_if_each_is_good(names: list[tuple[str, str]]) -> None:
    each_is_good = [check_names(*each) for each in names] == [None] * len(names)
    assert are_good_names([row_key(*each) for each in names]) == each_is_good


def test_the_usual_names_are_good_at_once() -> None:
    assert are_good_names([row_key("SKU-000042", "store-007"), row_key("123", "...")])
    assert not are_good_names([row_key("SKU-000042", "store-007"), row_key("..", "store-007")])
