"""Snapshots of long rows save adding up, and change no answer."""

from random import Random
from typing import Any

import pytest
from sqlalchemy import event

import ledger.upkeep.snapshots as made
from dev.oracle.rows import Row
from dev.postgres import Postgres
from ledger.engine import open_writer
from ledger.questions.prefixes import Prefix
from ledger.questions.timeline import Wish, leaf
from ledger.schema import snapshot_table
from ledger.upkeep.compacting import compact
from ledger.upkeep.snapshots import long_rows, take_snapshots
from tests.integration.ledger.asking.test_history import as_row, filled
from tests.integration.ledger.test_compacting import middle
from tests.ledgers.comparing import lines
from tests.ledgers.kept import Kept
from tests.ledgers.logs import LOCATIONS, SKUS, WINDOW

EVERY = 4


@pytest.fixture
def snapped(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setattr(made, "STRIDE", EVERY)
    return kept


def test_rows_with_snapshots_are_what_they_are_without(snapped: Kept) -> None:
    _, oracle = filled(snapped)
    with snapped.engine.begin() as connection:
        keys = long_rows(connection)
        assert keys
        assert take_snapshots(connection, keys) > len(keys)
        assert long_rows(connection) == []
        assert take_snapshots(connection, keys) == 0  # nothing is made twice

    random = Random(4)
    with snapped.history.look() as ledger:
        for _ in range(150):
            sku, location = random.choice(SKUS), random.choice(LOCATIONS)
            part = ledger.partition_of(sku)
            offsets = {t: random.randrange(end) for t, end in ledger.now(part).items()}
            prefix = Prefix(ledger.at(part, offsets))
            at = ledger.row(sku, location, prefix)
            position = {(snapped.topic(topic), part): off for topic, off in offsets.items()}
            expected = oracle.row((sku, location), position)

            assert as_row(at) == expected, (sku, location, offsets)
            rows = {each.location: as_row(each) for each in ledger.rows_of(sku, prefix)}
            assert rows.get(location, Row()) == expected


def test_rows_by_occurred_time_are_what_they_are_without_snapshots(snapped: Kept) -> None:
    filled(snapped)
    random, questions = Random(5), []
    with snapped.history.look() as ledger:
        happened = sorted(int(str(line["occurred_at"] or 0)) for line in lines(snapped.reads))
        for _ in range(150):
            sku, location = random.choice(SKUS), random.choice(LOCATIONS)
            ends = ledger.now(ledger.partition_of(sku))
            cut = {
                topic: random.choice((end, random.randrange(end))) for topic, end in ends.items()
            }
            questions.append((sku, location, Prefix(cut, random.choice(happened))))
        without = [as_row(ledger.row(*question)) for question in questions]
    with snapped.engine.begin() as connection:
        take_snapshots(connection, long_rows(connection))
    usable = [
        snapshot
        for snapshot in lines(snapped.reads, snapshot_table)
        for sku, location, prefix in questions
        if (snapshot["sku"], snapshot["location"]) == (sku, location)
        and int(str(snapshot["occurred_until"])) <= (prefix.occurred or 0)
    ]
    assert len(usable) > 20

    with snapped.history.look() as ledger:
        assert [as_row(ledger.row(*question)) for question in questions] == without


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest first", "newest first"])
def test_balances_of_a_long_row_add_up_from_any_page(snapped: Kept, newest_first: bool) -> None:
    filled(snapped)
    with snapped.engine.begin() as connection:
        take_snapshots(connection, long_rows(connection))
    with snapped.history.look() as ledger:
        part = ledger.partition_of(SKUS[0])
        wish = Wish(SKUS[0], LOCATIONS[0], Prefix(ledger.now(part)), limit=1_000)
        every = leaf(ledger, wish).facts
        if newest_first:
            every.reverse()
        assert len(every) > 3 * EVERY
        paged, wish = [], wish._replace(limit=3, newest_first=newest_first)
        while True:
            page = leaf(ledger, wish)
            paged += page.facts
            if page.next is None:
                break
            wish = wish._replace(after=page.next)

    assert paged == every


def test_two_that_make_the_same_snapshots_make_them_once(snapped: Kept) -> None:
    filled(snapped)
    with snapped.engine.begin() as connection:
        keys = long_rows(connection)
        take_snapshots(connection, keys)
    before = lines(snapped.reads, snapshot_table)
    with snapped.engine.begin() as connection:
        take_snapshots(connection, keys)

    assert lines(snapped.reads, snapshot_table) == before


def test_a_snapshot_is_not_made_of_lines_that_went_while_it_was_made(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite has one writer: nothing comes in between there."""
    monkeypatch.setattr(made, "STRIDE", EVERY)
    kept = Kept(postgres.new_database())
    _, oracle = filled(kept)
    other, before = open_writer(kept.url, "another"), middle(kept)
    gone = 0

    def come_between(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        nonlocal gone
        if "FROM event" in statement:
            gone += compact(other, before, WINDOW).lines

    with kept.engine.begin() as connection:
        keys = long_rows(connection)
        event.listen(connection, "before_cursor_execute", come_between)
        take_snapshots(connection, keys)
    assert gone
    with kept.history.look() as ledger:
        for sku, location in keys:
            prefix = Prefix(ledger.now(ledger.partition_of(sku)))
            assert as_row(ledger.row(sku, location, prefix)) == oracle.row((sku, location))
    other.dispose()
    kept.close()
