"""Why a row is wrong: the very facts that are missing, twice, or counted otherwise."""

import zlib
from collections.abc import Sequence
from random import Random

import pytest
from msgspec.structs import replace

from audit.comparing import RowDifference, Unread
from audit.explaining import Explanation, Watch, WatchedFact, explain_row, told
from audit.recount import Recount, Recounted, as_row
from domain.rows import Row, row_key
from domain.rules.two import TWO
from ledger.lines import APPLIED

KEY = row_key("SKU-1", "store-1")
AT = {"shipments": 1_000, "sales": 1_000}


def facts(count: int, seed: int = 1) -> list[WatchedFact]:
    """Received and sold in turn; quantities of all sizes."""
    random = Random(seed)
    found = []
    for number in range(count):
        kind = number % 2 * 2
        topic = "sales" if kind else "shipments"
        ident = f"id-{number}"
        counted = Recounted(
            topic, number // 2, APPLIED, KEY, 1_000 + number, kind,
            random.choice((1, 1, 2, 10**9)), zlib.crc32(f"till\0{ident}".encode()), 0, number,
        )  # fmt: skip
        found.append(WatchedFact(counted, "till", ident))
    return found


def row(*some: Sequence[WatchedFact]) -> Row:
    numbers = [0] * 8
    for fact in (fact for each in some for fact in each):
        at = fact.counted
        numbers[at.field] += at.amount
        numbers[5] += 1
        numbers[6] += at.crc
        numbers[7] = max(numbers[7], at.time_ms)
    return as_row(numbers)


def why(all_: Sequence[WatchedFact], found: Row) -> Explanation:
    return explain_row(RowDifference(KEY, row(all_), found), all_, AT)


def causes(explanation: Explanation) -> list[tuple[str, list[str]]]:
    return [(cause.what, [fact.id for fact in cause.facts]) for cause in explanation.causes]


@pytest.mark.parametrize("seed", range(5))
def test_one_fact_that_is_missing_or_twice_is_named(seed: int) -> None:
    all_ = facts(200, seed)
    one = Random(seed).choice(all_)
    rest = [fact for fact in all_ if fact is not one]

    assert causes(why(all_, row(rest))) == [("missing", [one.id])]
    assert causes(why(all_, row(all_, [one]))) == [("twice", [one.id])]
    assert not why(all_, row(rest)).rest


@pytest.mark.parametrize("seed", range(5))
def test_two_facts_are_named_also_one_missing_and_one_twice(seed: int) -> None:
    all_ = facts(300, seed)
    one, other = Random(seed).sample(all_, 2)
    rest = [fact for fact in all_ if fact not in (one, other)]

    (missing,) = causes(why(all_, row(rest)))
    assert (missing[0], set(missing[1])) == ("missing", {one.id, other.id})
    (twice,) = causes(why(all_, row(all_, [one, other])))
    assert (twice[0], set(twice[1])) == ("twice", {one.id, other.id})
    swapped = why(all_, row([fact for fact in all_ if fact is not one], [other]))
    assert causes(swapped) == [("twice", [other.id]), ("missing", [one.id])]


def test_a_batch_that_was_lost_or_came_twice_is_named_as_a_run() -> None:
    all_ = facts(400)
    sales = [fact for fact in all_ if fact.counted.topic == "sales"]
    batch = sales[40:90]

    lost = causes(why(all_, row([fact for fact in all_ if fact not in batch])))
    assert lost == [("missing", [fact.id for fact in batch])]
    assert causes(why(all_, row(all_, batch))) == [("twice", [fact.id for fact in batch])]


def test_an_old_row_is_missing_all_that_came_since() -> None:
    all_ = facts(60)

    (old,) = causes(why(all_, row(all_[:41])))

    assert old == ("missing", [fact.id for fact in all_[41:]])


def test_another_quantity_is_told_by_its_kind_and_named_where_only_one_fact_is_of_it() -> None:
    all_ = facts(3)  # two shipments, one sale
    found = row(all_)

    changed = why(all_, replace(found, sold=found.sold + 5))
    assert causes(changed) == [("changed", ["id-1"])]
    assert "sold is +5" in changed.rest[0]
    unsure = why(all_, replace(found, received=found.received - 1))
    assert causes(unsure) == []
    assert "received is -1 from what 2 facts" in unsure.rest[0]


def test_what_is_no_fact_of_the_row_is_not_blamed_on_one() -> None:
    all_ = facts(50)
    found = row(all_)

    strange = why(all_, replace(found, events=found.events + 1, checksum=found.checksum + 77))

    assert causes(strange) == []
    assert "no one or two of its facts" in strange.rest[0]
    garbage = explain_row(RowDifference(KEY, found, Unread("b'{' (bad)")), all_, AT)
    assert garbage.rest == ["What is stored is no row: b'{' (bad)."]


def test_a_row_that_is_not_there_is_missing_all_its_facts_and_says_a_few() -> None:
    all_ = facts(30)

    gone = explain_row(RowDifference(KEY, row(all_), None), all_, AT)

    assert causes(gone) == [("missing", [fact.id for fact in all_])]
    sentences = list(told(gone.causes[0]))
    assert len(sentences) == 6
    assert "25" not in sentences[0]
    assert "24 more" not in sentences[-1]
    assert "25 more, up to id-29 of till" in sentences[-1]


def test_watched_rows_keep_who_said_each_of_their_facts() -> None:
    watch = Watch([KEY], TWO)
    recount = Recount({"sales": "sales"}, 0, 1, 10, TWO, watch.see)
    value = (
        b'{"specversion":"1.0","id":"a\\u0041","source":"till 17",'
        b'"type":"inventory.sale.completed.v1",'
        b'"data":{"sku":"SKU-1","location":"store-1","quantity":2}}'
    )
    for offset in (4, 6):
        recount.add("sales", [(offset, 1_000, b"SKU-1", value, ())])

    found = [(fact.source, fact.id, fact.counted.outcome) for fact in watch.facts[KEY]]
    assert found == [("till 17", "aA", 0), ("till 17", "aA", 1)]
