"""What a bridge writes for foreign records: checked by the rules, one record whole or not."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.translating import FACT_HEADERS, Translated, Translator
from core.partitioning import partition_for
from core.records import Record
from core.refusals import Refused
from domain.rules.held import CURRENT
from importers.frames.maps import read_map

MAP = """
each = "value"
[constants]
type = "inventory.sale.completed.v1"
[paths]
sku = "each.sku"
location = "each.shop"
quantity = "each.n"
reference = "each.ref"
"""
TRANSLATOR = Translator("orders", read_map(MAP, "orders", CURRENT.events), 12)


def a_record(offset: int, *lines: Any) -> Record:
    return offset, 1_795_000_000_000, b"k", json.dumps(lines).encode(), [("h", b"1")]


def a_line(sku: str = "A", n: Any = 1, **more: Any) -> dict[str, Any]:
    return {"sku": sku, "shop": "s", "n": n, **more}


def translated(*records: Record) -> Translated:
    return TRANSLATOR.translate(3, records)


def test_a_fact_goes_to_its_skus_partition_under_its_key() -> None:
    found = translated(a_record(7, a_line("SKU-000042")))

    (fact,) = found.facts
    assert (fact.role, fact.key, fact.partition) == ("sales", b"SKU-000042", 8)
    event = CURRENT.decode(fact.value, FACT_HEADERS)
    assert not isinstance(event, Refused)
    assert event.id == "orders-3@7#1"
    assert (found.read, found.left, found.letters) == (1, 0, [])


def test_a_record_of_which_one_line_is_wrong_gives_no_fact() -> None:
    good = a_record(1, a_line("B"))
    bad = a_record(2, a_line("A"), a_line("A", n=0), a_line("C"))

    found = translated(bad, good)

    assert [fact.key for fact in found.facts] == [b"B"]
    (letter,) = found.letters
    assert (letter.topic, letter.partition, letter.offset) == ("orders", 3, 2)
    assert (letter.key, letter.value, letter.headers) == (bad[2], bad[3], bad[4])
    assert letter.reason == "bad_data"
    assert letter.detail == "data.quantity is not a whole number from 1 to 1000000000."


def test_names_are_judged_as_the_table_judges_them() -> None:
    (letter,) = translated(a_record(1, a_line("a\u200bb"))).letters

    assert letter.reason == "bad_data"
    assert "U+200B" in letter.detail


def test_a_fact_that_would_fit_no_batch_is_refused() -> None:
    (letter,) = translated(a_record(1, a_line(ref="x" * 2**20))).letters

    assert letter.reason == "not_mapped"
    assert letter.detail == "The fact has more than 983,040 bytes."


def test_what_the_map_leaves_out_is_counted_and_nothing_else() -> None:
    found = translated(a_record(1), (2, 0, None, None, ()))

    assert (found.read, found.left, found.facts, found.letters) == (2, 2, [], [])


@given(
    st.lists(
        st.lists(st.sampled_from([a_line(), a_line(n=-1), {}, 7, a_line("é")]), max_size=3),
        max_size=6,
    ),
    st.integers(0, 6),
)
def test_how_records_are_cut_into_batches_changes_nothing(lines: list[list[Any]], cut: int) -> None:
    records = [a_record(n, *some) for n, some in enumerate(lines)]

    whole = translated(*records)
    parts = [translated(*records[:cut]), translated(*records[cut:])]

    assert whole.facts == [fact for part in parts for fact in part.facts]
    assert whole.letters == [letter for part in parts for letter in part.letters]
    assert whole.left == sum(part.left for part in parts)
    for fact in whole.facts:
        assert fact.partition == partition_for(fact.key, 12)
        assert not isinstance(CURRENT.decode(fact.value, FACT_HEADERS), Refused)
