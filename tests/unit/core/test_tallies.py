"""The plain kinds of table: a sum for each key, and records that are only passed on."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.fold import Fold, fold, take_group
from core.projection import Emitted
from core.records import Address, Record, too_large
from core.tallies import (
    Amounting,
    Amounts,
    KeySums,
    RefusedRecord,
    Relay,
    amount_of,
    as_bytes,
    as_number,
    record_key,
)

HERE = Address("lines", "lines", 0, 1)


class Pieces(Relay):
    name = "pieces"

    def read(self, record: Record, value: bytes) -> Amounts:
        if value == b"bad":
            raise RefusedRecord("bad", "It is bad.")
        return Amounts(value.split(), 1)

    def passed(self, key: bytes, amount: int, partitions: int) -> Emitted:
        return Emitted("out", 0, key, as_bytes(amount))


class EachPiece(Pieces):
    sums_up = False


class Sums(KeySums):
    name = "totals"

    def read(self, record: Record, value: bytes) -> Amounts:
        return Amounts([record_key(record)], amount_of(value))

    def told(self, key: bytes, total: int, partition: int) -> Emitted | None:
        return Emitted("out", partition, key, as_bytes(total)) if total else None


def folded(projection: Amounting, slices: list[list[Record]]) -> Fold:
    state = Fold(projection, 0, 1, ["lines"], 0, empty=True)
    for records in slices:
        if records:
            columns = projection.columns(HERE, records)
            fold(state, HERE, columns, lambda keys: [None] * len(keys), list)
    return state


def records_of(*values: bytes | None, key: bytes | None = b"k") -> list[Record]:
    return [(n, 1_000 + n, key, value, ()) for n, value in enumerate(values)]


@given(
    st.lists(st.sampled_from([b"a b a", b"", b"c", b"bad", None]), max_size=12),
    st.lists(st.integers(0, 12), max_size=4),
    st.sampled_from([Pieces(), EachPiece()]),
)
def test_what_is_passed_on_adds_up_wherever_the_log_was_cut(
    values: list[bytes | None], cuts: list[int], projection: Relay
) -> None:
    records = records_of(*values)
    at = sorted({0, *(min(cut, len(records)) for cut in cuts), len(records)})
    slices = [records[a:b] for a, b in pairwise(at)]
    # Each slice comes twice: the second time it is below the position.
    state = folded(projection, [each for one in slices for each in (one, one)])

    group = take_group(state)
    found: Counter[bytes] = Counter()
    for each in group.emitted:
        found[each.key or b""] += as_number(each.value or b"")
    assert found == Counter(w for v in values if v not in (None, b"bad") for w in v.split())
    assert list(take_group(state).emitted) == []  # none goes out twice
    refused = [n for n, value in enumerate(values) if value in (None, b"bad")]
    assert [letter.offset for letter in group.dead_letters] == refused


def test_one_record_for_each_key_of_a_group_or_one_for_each_event() -> None:
    records = records_of(b"a b a")

    summed = list(take_group(folded(Pieces(), [records])).emitted)
    each = list(take_group(folded(EachPiece(), [records])).emitted)

    assert [(e.key, as_number(e.value or b"")) for e in summed] == [(b"a", 2), (b"b", 1)]
    assert [(e.key, as_number(e.value or b"")) for e in each] == [(b"a", 1), (b"b", 1), (b"a", 1)]


def test_a_row_is_the_sum_of_its_amounts_and_is_told_once_a_group() -> None:
    state = folded(Sums(), [records_of(as_bytes(5), as_bytes(-2))])

    group = take_group(state)

    assert list(group.rows.encoded(10)) == [{b"k": as_bytes(3)}]
    assert [each.value for each in group.emitted] == [as_bytes(3)]
    assert list(take_group(state).emitted) == []


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (None, b"k", "null_value"),
        (too_large(9, "ab"), b"k", "too_large"),
        (b"seven", b"k", "bad_amount"),
        (as_bytes(1), None, "missing_key"),
    ],
)
def test_what_cannot_be_counted_is_a_dead_letter_with_a_sentence(
    value: bytes | None, key: bytes | None, reason: str
) -> None:
    group = take_group(folded(Sums(), [records_of(value, key=key)]))

    [letter] = group.dead_letters
    assert letter.reason == reason
    assert letter.detail.endswith(".")
    assert letter.detail.isascii()


class Named(Sums):
    name = "named"
    identity = True

    def read(self, record: Record, value: bytes) -> Amounts:
        known_by, _, amount = value.partition(b"=")
        return Amounts([b"k"], int(amount), known_by)


def test_with_ids_what_is_sent_twice_counts_once_and_another_value_is_a_dead_letter() -> None:
    named = Named()
    records = records_of(b"a=1", b"b=2", b"a=1", b"a=5")
    state = Fold(named, 0, 1, ["lines"], 100, empty=True)
    columns = named.columns(HERE, records)
    fold(state, HERE, columns, lambda keys: [None] * len(keys), lambda: records)

    group = take_group(state)

    assert list(group.rows.encoded(10)) == [{b"k": as_bytes(3)}]
    assert group.counts["lines"] == (2, 1, 1)
    assert [(one.offset, one.reason) for one in group.dead_letters] == [(3, "id_conflict")]


def test_a_record_with_an_id_has_one_key() -> None:
    class Wrong(Named):
        def read(self, record: Record, value: bytes) -> Amounts:
            return Amounts([b"k", b"l"], 1, b"id")

    with pytest.raises(ValueError, match="has one key, not 2"):
        Wrong().columns(HERE, records_of(b"a=1"))
