"""What is compacted is one sum for each row: later answers stay, earlier ones are refused."""

from random import Random

import pytest

from dev.oracle.rows import Row
from ledger.history import ListWish
from ledger.questions.prefixes import BeforeHistory, Prefix
from ledger.questions.timeline import Wish, leaf
from ledger.schema import event_table
from ledger.upkeep.compacting import compact
from tests.integration.ledger.asking.test_history import as_row, filled
from tests.ledgers.comparing import lines
from tests.ledgers.kept import Kept, in_batches
from tests.ledgers.logs import LOCATIONS, SKUS, WINDOW, a_log, judged


def middle(kept: Kept) -> int:
    """A time in the middle of the log, in µs."""
    times = sorted(int(str(row["log_at"])) for row in lines(kept.reads))
    return times[len(times) // 2]


def test_what_is_after_the_cut_is_answered_as_before_and_nothing_earlier(kept: Kept) -> None:
    _, oracle = filled(kept)
    cut, count = middle(kept), len(lines(kept.reads))
    done = compact(kept.engine, cut, WINDOW)
    assert done.lines > 50
    assert len(lines(kept.reads, event_table)) == count - done.lines
    assert compact(kept.engine, cut, WINDOW).lines == 0  # once is enough

    random, told = Random(8), 0
    with kept.history.look() as ledger:
        for _ in range(200):
            sku, location = random.choice(SKUS), random.choice(LOCATIONS)
            part = ledger.partition_of(sku)
            offsets = {t: random.randrange(end) for t, end in ledger.now(part).items()}
            position = {(kept.topic(topic), part): off for topic, off in offsets.items()}
            froms = {t: ledger.places(part)[t, part].history_from for t in offsets}
            if any(offset + 1 < froms[t] for t, offset in offsets.items()):
                with pytest.raises(BeforeHistory):
                    ledger.at(part, offsets)
                continue
            told += 1
            prefix = Prefix(ledger.at(part, offsets))
            expected = oracle.row((sku, location), position)
            assert as_row(ledger.row(sku, location, prefix)) == expected
            rows = {each.location: as_row(each) for each in ledger.rows_of(sku, prefix)}
            assert rows.get(location, Row()) == expected
        with pytest.raises(BeforeHistory):
            ledger.until(0, cut - 2_000_000)
        page = ledger.page(ListWish(limit=1_000), ledger.all_now(), None)
    assert told > 20
    assert {(at.sku, at.location): as_row(at) for at in page.rows} == oracle.rows()


def test_a_timeline_begins_with_what_is_left_of_earlier_facts(kept: Kept) -> None:
    _, oracle = filled(kept)
    compact(kept.engine, middle(kept), WINDOW)
    with kept.history.look() as ledger:
        for sku in SKUS:
            prefix = Prefix(ledger.now(ledger.partition_of(sku)))
            for by_occurred in (False, True):
                wish = Wish(sku, LOCATIONS[0], prefix, by_occurred, limit=1_000)
                found = leaf(ledger, wish)
                balance = found.opening
                for fact in found.facts:
                    balance += fact.change
                    assert fact.balance == balance
                assert balance == oracle.row((sku, LOCATIONS[0])).on_hand


def test_a_compacted_ledger_goes_on_as_any_other(kept: Kept) -> None:
    records = a_log(seed=21, count=500)
    for number, batch in enumerate(in_batches(records, 100)):
        kept.restart()  # the window comes back from the lines that are left
        kept.feed(batch)
        if number in (2, 3):
            compact(kept.engine, middle(kept), WINDOW)
    oracle = judged(records)

    with kept.history.look() as ledger:
        found = {(sku, loc): Row(*(getattr(row, n) for n in Row._fields))
                 for sku, loc, row in ledger.stock()}  # fmt: skip
        assert found == oracle.rows()
        for key, row in oracle.rows().items():
            prefix = Prefix(ledger.now(ledger.partition_of(key[0])))
            assert as_row(ledger.row(*key, prefix)) == row
