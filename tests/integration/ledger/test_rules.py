"""A ledger judges by the rules of its version: damaged returns and voided sales by rules 3."""

import asyncio
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import astuple

from audit.books import Lines, hold_sums
from audit.comparing import Held
from audit.recount import Recount
from dev.oracle.rows import NOTHING, Row
from dev.oracle.stock import Oracle, Record
from domain.rules.held import HELD
from domain.rules.sets import RuleSet
from ledger.audited import AuditedLedger
from ledger.history import At, ListWish
from ledger.lines import TOPICS
from ledger.questions.prefixes import Prefix
from ledger.questions.reporting import REPORTS
from ledger.questions.reports import ReportWish, columns_of, read_report
from ledger.questions.timeline import Wish, leaf
from ledger.schema import event_table, stock_table
from ledger.upkeep import building, snapshots
from ledger.upkeep.compacting import compact
from tests.ledgers.comparing import assert_agrees, came, lines
from tests.ledgers.kept import NAME, ROLES, Kept, in_batches
from tests.ledgers.logs import LOCATIONS, PARTITIONS, SKUS, WINDOW, a_log, judged

#: All types that rules 3 know: rules 2 refuse the voided sales in it.
LOG = a_log(17, 500, types_of=3)
Cuts = dict[tuple[int, int], int]


@pytest.fixture(params=HELD.values(), ids=[f"rules {number}" for number in HELD])
def kept(request: pytest.FixtureRequest, new_database: Callable[[], str]) -> Iterator[Kept]:
    ledger = Kept(new_database(), rules=request.param)
    yield ledger
    ledger.close()


@pytest.fixture
def oracle(kept: Kept) -> Oracle:
    """It agrees with the ledger, which was begun anew in the middle."""
    for batch in in_batches(LOG, 150):
        kept.feed(batch)
        kept.restart()
    return judged(LOG, rules=kept.rules.number)


def as_row(at: At) -> Row:
    return NOTHING if at.row is None else Row(*astuple(at.row))


def some_cuts(kept: Kept, random: Random) -> Cuts:
    with kept.history.look() as ledger:
        return {at: random.randrange(end + 1) for at, end in ledger.all_now().items()}


def rows_at(oracle: Oracle, cuts: Cuts) -> dict[tuple[str, str], Row]:
    position = {(TOPICS[topic], part): end - 1 for (topic, part), end in cuts.items()}
    rows = {key: oracle.row(key, position) for key in oracle.rows()}
    return {key: row for key, row in sorted(rows.items()) if row != NOTHING}


def test_every_record_has_the_verdict_of_these_rules_and_every_row_their_sums(
    kept: Kept, oracle: Oracle
) -> None:
    assert_agrees(kept.reads, oracle, LOG)
    is_three = kept.rules.number == 3
    assert any(row.damaged for row in oracle.rows().values()) is is_three
    assert ("unknown_type" in oracle.refused.values()) is not is_three


def test_rows_and_lists_at_any_position_are_the_fold_by_these_rules(
    kept: Kept, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(3)
    for stride in (None, 4):
        if stride is not None:  # now from snapshots
            monkeypatch.setattr(snapshots, "STRIDE", stride)
            with kept.engine.begin() as connection:
                assert snapshots.take_snapshots(connection, snapshots.long_rows(connection))
        for _ in range(5):
            cuts = some_cuts(kept, random)
            expected = rows_at(oracle, cuts)
            with kept.history.look() as ledger:
                page = ledger.page(ListWish(limit=1_000), cuts, None)
                found = {(at.sku, at.location): as_row(at) for at in page.rows}
                assert found == expected
                for key in found:
                    part = ledger.partition_of(key[0])
                    cut = {t: end for (t, p), end in cuts.items() if p == part}
                    assert as_row(ledger.row(*key, Prefix(cut))) == expected[key]


@pytest.mark.parametrize("by_occurred", [False, True], ids=["recorded", "occurred"])
def test_a_timeline_adds_up_to_the_row_by_these_rules(
    kept: Kept, oracle: Oracle, by_occurred: bool
) -> None:
    with kept.history.look() as ledger:
        for key, row in oracle.rows().items():
            prefix = Prefix(ledger.now(ledger.partition_of(key[0])))
            wish = Wish(*key, prefix, by_occurred, limit=9)
            balance = 0
            while True:
                page = leaf(ledger, wish)
                for fact in page.facts:
                    balance += fact.change
                    assert fact.balance == balance
                if page.next is None:
                    break
                wish = wish._replace(after=page.next)
            assert balance == row.on_hand


def test_reports_are_of_the_rows_and_facts_by_these_rules(kept: Kept, oracle: Oracle) -> None:
    cuts = some_cuts(kept, Random(6))
    rows = rows_at(oracle, cuts)
    wish = ReportWish({}, cuts, None, 0, 10_000)
    with kept.history.look() as ledger:
        totals, oversold, movers = (
            columns_of(read_report(ledger, name, wish), REPORTS[name].columns)
            for name in ("location-totals", "oversold", "movers")
        )
    for line in totals:
        mine = [row for key, row in rows.items() if key[1] == line["location"]]
        for name in ("on_hand", "sold", "returned", "damaged", "events"):
            assert line[name] == sum(getattr(row, name) for row in mine), (line, name)
    assert {(line["sku"], line["location"]): line["damaged"] for line in oversold} == {
        key: row.damaged for key, row in rows.items() if row.on_hand < 0
    }
    for line in movers:
        mine = [row for key, row in rows.items() if key[0] == line["sku"]]
        back = sum(row.returned + row.damaged for row in mine)
        assert (line["sold"], line["returned"]) == (sum(row.sold for row in mine), back)
        assert line["net_sold"] == sum(row.sold for row in mine) - back


def test_what_is_built_late_or_compacted_is_by_these_rules(kept: Kept) -> None:
    oracle = judged(LOG, rules=kept.rules.number)
    with kept.engine.begin() as connection:
        assert building.begin_building(connection, building.FAR)
    kept.feed(LOG)
    with kept.engine.begin() as connection:
        assert building.finish_building(connection)
    assert_agrees(kept.reads, oracle, LOG)
    times = sorted(int(str(line["log_at"])) for line in lines(kept.reads))

    assert compact(kept.engine, times[len(times) // 2], WINDOW).lines > 50
    with kept.history.look() as ledger:
        for key, row in oracle.rows().items():
            part = ledger.partition_of(key[0])
            assert as_row(ledger.row(*key, Prefix(ledger.now(part)))) == row


def audited(kept: Kept, rules: RuleSet) -> list[Held]:
    ledger = AuditedLedger(kept.url, f"{NAME} audit")
    try:
        return [asyncio.run(_audited(ledger, part, rules)) for part in range(PARTITIONS)]
    finally:
        ledger.close()


async def _audited(ledger: AuditedLedger, part: int, rules: RuleSet) -> Held:
    moment = ledger.moment(part)
    stops = {number: reach.next_offset for number, reach in moment.reaches.items()}
    held_lines = Lines(ledger, ROLES, part, {}, stops, rules)
    recount = Recount(ROLES, part, PARTITIONS, WINDOW, rules, held_lines.see)
    for topic in TOPICS:
        records = [came(r) for r in LOG if (r.topic, r.partition) == (topic, part)]
        recount.add(topic, records)
        await held_lines.hold()
    await held_lines.finish()
    positions = {topic: stops.get(number, 0) for number, topic in enumerate(TOPICS)}
    held = Held(where="ledger", role="ledger", partition=part, positions=positions)
    held.faults = held_lines.faults
    await hold_sums(held, moment, recount.at(positions))
    return held


def test_an_audit_by_these_rules_agrees_and_one_by_others_does_not(
    kept: Kept, oracle: Oracle
) -> None:
    assert [held.drift for held in audited(kept, kept.rules)] == [0] * PARTITIONS
    (other,) = (rules for rules in HELD.values() if rules is not kept.rules)
    assert all(held.drift for held in audited(kept, other))


def test_an_effect_or_a_sum_that_was_changed_is_named(kept: Kept, oracle: Oracle) -> None:
    returned = next(line for line in lines(kept.reads) if line["kind"] == 3)
    at = (event_table.c[name] == returned[name] for name in ("topic", "part", "off"))
    of = stock_table.c
    whose = of.sku == SKUS[0], of.location == LOCATIONS[0]
    with kept.engine.begin() as connection:
        connection.execute(event_table.update().where(*at).values(field=1))
        connection.execute(stock_table.update().where(*whose).values(damaged=of.damaged + 1))

    found = audited(kept, kept.rules)

    faults = [fault for held in found for fault in held.faults]
    assert [(set(fault.columns), fault.id) for fault in faults] == [({"field"}, returned["id"])]
    (wrong,) = (one for held in found for one in held.differences)
    assert wrong.found_row.damaged == wrong.right_row.damaged + 1


def test_lines_of_a_ledger_from_before_these_rules_are_what_they_were(
    new_database: Callable[[], str],
) -> None:
    """What rules 2 write, the step to this schema leaves as it is: both columns are empty."""
    kept = Kept(new_database())
    kept.feed(LOG)

    with kept.engine.begin() as connection:
        query = sa.select(sa.func.count(event_table.c.field), sa.func.count(event_table.c.amount))
        assert tuple(connection.execute(query).one()) == (0, 0)
    assert len(lines(kept.reads)) == len(LOG)
    kept.close()


def test_the_log_holds_what_the_rules_differ_in() -> None:
    def said(record: Record) -> Any:
        try:
            return json.loads(record.value or b"")
        except ValueError:
            return {}

    kinds = [said(record).get("type", "") for record in LOG]
    assert sum("voided" in kind for kind in kinds) > 20
    assert sum("damaged" in str(record.value) for record in LOG) > 20
