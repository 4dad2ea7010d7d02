"""Every answer about the past is the fold of a prefix of the log, as the oracle makes it."""

import json
from datetime import datetime
from random import Random

import pytest

from dev.oracle.reading import TYPES
from dev.oracle.rows import NOTHING, Row
from dev.oracle.stock import Oracle, Record, partition_of
from ledger.history import At
from ledger.lines import OUTCOMES, TOPICS, micros
from ledger.questions.prefixes import NotThatFar, Prefix
from ledger.questions.timeline import Wish, leaf
from ledger.reaches import complete
from tests.ledgers.kept import Kept, in_batches
from tests.ledgers.logs import LOCATIONS, PARTITIONS, SKUS, START_MS, a_log, judged

SEED, RECORDS, QUESTIONS = 11, 600, 150


def as_row(at: At) -> Row:
    """As the oracle says it."""
    if at.row is None:
        return NOTHING
    return Row(*(getattr(at.row, name) for name in Row._fields))


def filled(kept: Kept) -> tuple[list[Record], Oracle]:
    records = a_log(SEED, RECORDS)
    for batch in in_batches(records, 100):
        kept.feed(batch)
    return records, judged(records)


def prefix_until(records: list[Record], part: int, time_ms: int) -> dict[tuple[str, int], int]:
    """Last offset before the first record whose log_at is later, by hand."""
    last, greatest = {}, dict.fromkeys(TOPICS, 0)
    for record in (r for r in records if r.partition == part):
        greatest[record.topic] = max(greatest[record.topic], record.timestamp_ms)
        if greatest[record.topic] <= time_ms:
            last[record.topic, part] = record.offset
    return last


def applied(records: list[Record], oracle: Oracle) -> list[tuple[Record, dict[str, object]]]:
    """Records that count, with what they say."""
    return [
        (record, json.loads(record.value or b""))
        for record in records
        if record.place not in oracle.refused and record.place not in oracle.repeated
    ]


def test_a_row_at_any_recorded_time_is_the_fold_of_the_log_until_then(kept: Kept) -> None:
    records, oracle = filled(kept)
    random, latest = (
        Random(1),
        min(
            max(
                (r.timestamp_ms for r in records if (r.topic, r.partition) == (topic, part)),
                default=0,
            )
            for topic in TOPICS
            for part in range(PARTITIONS)
        ),
    )
    with kept.history.look() as ledger:
        for _ in range(QUESTIONS):
            sku, location = random.choice(SKUS), random.choice(LOCATIONS)
            time_ms = random.randrange(START_MS - 1_000, latest)
            part = ledger.partition_of(sku)
            at = ledger.row(sku, location, Prefix(ledger.until(part, time_ms * 1000)))
            expected = prefix_until(records, part, time_ms)

            assert as_row(at) == oracle.row((sku, location), expected), (sku, location, time_ms)
            assert at.position == ",".join(f"{t}-{p}@{o}" for (t, p), o in sorted(expected.items()))


def test_a_row_at_any_position_is_the_fold_of_the_log_up_to_it(kept: Kept) -> None:
    _, oracle = filled(kept)
    random = Random(2)
    with kept.history.look() as ledger:
        for _ in range(QUESTIONS):
            sku, location = random.choice(SKUS), random.choice(LOCATIONS)
            part = ledger.partition_of(sku)
            ends = ledger.now(part)
            offsets = {t: random.randrange(end) for t, end in ends.items() if random.random() < 0.8}
            at = ledger.row(sku, location, Prefix(ledger.at(part, offsets)))
            position = {(TOPICS[topic], part): offset for topic, offset in offsets.items()}

            assert as_row(at) == oracle.row((sku, location), position), (sku, location, offsets)


def test_a_row_at_any_occurred_time_counts_what_happened_until_then(kept: Kept) -> None:
    records, oracle = filled(kept)
    random, counted = Random(3), applied(records, oracle)
    with kept.history.look() as ledger:
        for _ in range(QUESTIONS // 3):
            sku, location = random.choice(SKUS), random.choice(LOCATIONS)
            until = START_MS * 1000 + random.randrange(-(10**9), 3 * 10**8)
            cut = ledger.now(ledger.partition_of(sku))
            at = ledger.row(sku, location, Prefix(cut, occurred=until))
            change = 0
            for record, event in counted:
                data = event["data"]
                assert isinstance(data, dict)
                if (data["sku"], data["location"]) == (sku, location):
                    change += _change(event, data) if _occurred(record, event) <= until else 0

            assert as_row(at).on_hand == change


def _occurred(record: Record, event: dict[str, object]) -> int:
    time = event.get("time")
    return record.timestamp_ms * 1000 if time is None else micros(datetime.fromisoformat(str(time)))


def _change(event: dict[str, object], data: dict[str, int]) -> int:
    sign = -1 if TYPES[str(event["type"])][1] in ("dispatched", "sold") else 1
    return sign * data["quantity"]


def test_all_rows_of_a_sku_and_the_sums_that_are_kept_agree(kept: Kept) -> None:
    _, oracle = filled(kept)
    with kept.history.look() as ledger:
        for sku in SKUS:
            rows = ledger.rows_of(sku, Prefix(ledger.now(ledger.partition_of(sku))))
            found = {(at.sku, at.location): as_row(at) for at in rows}
            assert found == {k: row for k, row in oracle.rows().items() if k[0] == sku}
            assert [at.location for at in rows] == sorted(at.location for at in rows)
        kept_sums = {(sku, loc): Row(*(getattr(row, n) for n in Row._fields))
                     for sku, loc, row in ledger.stock()}  # fmt: skip
    assert kept_sums == oracle.rows()


def test_what_is_not_in_the_ledger_yet_is_not_answered(kept: Kept) -> None:
    records, _ = filled(kept)
    part, late = records[-1].partition, max(r.timestamp_ms for r in records) * 1000
    with kept.history.look() as ledger:
        with pytest.raises(NotThatFar):
            ledger.until(part, late)  # a record of this very time may still come
        with pytest.raises(NotThatFar):
            ledger.at(part, {0: ledger.now(part)[0]})
        ends = ledger.now(part)
    with kept.engine.begin() as connection:
        complete(connection, [(topic, part, end, late) for topic, end in ends.items()])
    with kept.history.look() as ledger:
        assert ledger.until(part, late) == ends
        with pytest.raises(NotThatFar):
            ledger.until(part, late + 1)


@pytest.mark.parametrize("by_occurred", [False, True], ids=["recorded", "occurred"])
@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest first", "newest first"])
def test_a_timeline_read_page_by_page_adds_up_to_the_row(
    kept: Kept, by_occurred: bool, newest_first: bool
) -> None:
    records, oracle = filled(kept)
    counted = applied(records, oracle)
    with kept.history.look() as ledger:
        for sku in SKUS[:3]:
            prefix = Prefix(ledger.now(ledger.partition_of(sku)))
            for location in LOCATIONS:
                wish = Wish(sku, location, prefix, by_occurred, newest_first=newest_first, limit=4)
                facts = []
                while True:
                    page = leaf(ledger, wish)
                    facts += page.facts
                    assert len(page.facts) <= 4
                    if page.next is None:
                        break
                    wish = wish._replace(after=page.next)
                if newest_first:
                    facts.reverse()
                balance = 0
                for fact in facts:
                    balance += fact.change
                    assert fact.balance == balance
                times = [fact.occurred_at if by_occurred else fact.log_at for fact in facts]

                assert balance == oracle.row((sku, location)).on_hand
                assert times == sorted(times)  # type: ignore[type-var]  # none is None
                assert {(TOPICS[f.topic], f.part, f.offset) for f in facts} == {
                    record.place
                    for record, event in counted
                    if (event["data"]["sku"], event["data"]["location"]) == (sku, location)  # type: ignore[index]
                }


def test_a_part_of_a_timeline_begins_with_the_balance_of_what_was_before(kept: Kept) -> None:
    filled(kept)
    with kept.history.look() as ledger:
        prefix = Prefix(ledger.now(ledger.partition_of(SKUS[0])))
        wish = Wish(SKUS[0], LOCATIONS[0], prefix, limit=1000)
        every = leaf(ledger, wish).facts
        middle = every[len(every) // 2].log_at
        part = leaf(ledger, wish._replace(since=middle)).facts
        rest = leaf(ledger, wish._replace(before=middle)).facts

    assert part
    assert rest + part == every


def test_a_fact_is_found_each_time_that_it_came_with_what_became_of_it(kept: Kept) -> None:
    records, oracle = filled(kept)
    times: dict[str, list[tuple[str, int, int]]] = {}
    for record in records:
        try:
            event = json.loads(record.value or b"")
            times.setdefault(event["id"], []).append(record.place)
        except (ValueError, KeyError):
            continue
    with kept.history.look() as ledger:
        assert ledger.facts("till-1", "no such id") == []
        assert ledger.facts("till-2", "1") == []
        for ident, places in list(times.items())[::3]:
            facts = ledger.facts("till-1", ident)
            found = {(TOPICS[f.topic], f.part, f.offset): f for f in facts}
            assert found.keys() == set(places)
            for place, fact in found.items():
                outcome = OUTCOMES[fact.outcome]
                assert (outcome == "refused") == (place in oracle.refused)
                assert (outcome == "repeated") == (place in oracle.repeated)
                assert (fact.refused and fact.refused[0]) == oracle.refused.get(place)


def test_a_sku_without_facts_has_no_row(kept: Kept) -> None:
    filled(kept)
    with kept.history.look() as ledger:
        part = partition_of("nobody", PARTITIONS)
        assert ledger.row("nobody", "here", Prefix(ledger.now(part))).row is None
        assert ledger.rows_of("nobody", Prefix({})) == []
