"""Lists and reports of the past are what the oracle makes of the same prefix of the log."""

import json
from collections import defaultdict
from random import Random
from typing import Any

from dev.oracle.rows import NOTHING, Row
from ledger.history import ListWish
from ledger.lines import TOPICS
from ledger.questions.reporting import REPORTS
from ledger.questions.reports import ReportWish, columns_of, read_report
from tests.integration.ledger.test_history import applied, as_row, filled
from tests.ledgers.kept import Kept
from tests.ledgers.logs import LOCATIONS, PARTITIONS, SKUS

Cuts = dict[tuple[int, int], int]


def some_cuts(kept: Kept, random: Random) -> Cuts:
    with kept.history.look() as ledger:
        return {at: random.randrange(end + 1) for at, end in ledger.all_now().items()}


def rows_of(oracle: Any, cuts: Cuts) -> dict[tuple[str, str], Row]:
    position = {(TOPICS[topic], part): end - 1 for (topic, part), end in cuts.items()}
    rows = {key: oracle.row(key, position) for key in oracle.rows()}
    return {key: row for key, row in sorted(rows.items()) if row != NOTHING}


def test_a_list_read_page_by_page_holds_every_row_as_it_was(kept: Kept) -> None:
    _, oracle = filled(kept)
    random = Random(5)
    for below, prefix, location in ((None, "", None), (0, "", None), (None, "SKU-", LOCATIONS[1])):
        cuts = some_cuts(kept, random)
        expected = {
            key: row
            for key, row in rows_of(oracle, cuts).items()
            if (below is None or row.on_hand < below)
            if key[0].startswith(prefix) and location in (None, key[1])
        }
        wish = ListWish(location, prefix, on_hand_below=below, limit=4)
        found: dict[tuple[str, str], Row] = {}
        with kept.history.look() as ledger:
            while True:
                page = ledger.page(wish, cuts, None)
                assert len(page.rows) <= 4
                found |= {(at.sku, at.location): as_row(at) for at in page.rows}
                if page.next is None:
                    break
                wish = wish._replace(after=page.next)

        assert list(found.items()) == list(expected.items())
        assert found


def test_reports_of_rows_are_of_the_moment_that_was_asked_for(kept: Kept) -> None:
    _, oracle = filled(kept)
    cuts = some_cuts(kept, Random(6))
    rows = rows_of(oracle, cuts)
    wish = ReportWish({}, cuts, None, 0, 10_000)
    with kept.history.look() as ledger:
        told = {
            name: columns_of(read_report(ledger, name, wish), report.columns)
            for name, report in REPORTS.items()
            if not report.of_a_time
        }
        here = read_report(ledger, "stock-outs", wish._replace(location=LOCATIONS[0]))

    for name, most in (("stock-outs", 0), ("oversold", -1)):
        found = {(str(line["sku"]), str(line["location"])): line for line in told[name]}
        assert found.keys() == {key for key, row in rows.items() if row.on_hand <= most}
        for key, line in found.items():
            assert [line[field] for field in Row._fields[:5]] == [*rows[key][:5]]
    assert {line[1] for line in here} == {LOCATIONS[0]}
    totals = {line["location"]: line for line in told["location-totals"]}
    for location in LOCATIONS:
        mine = [row for key, row in rows.items() if key[1] == location]
        assert totals[location]["rows"] == len(mine)
        assert totals[location]["on_hand"] == sum(row.on_hand for row in mine)
        assert totals[location]["events"] == sum(row.events for row in mine)


def test_reports_of_facts_hold_those_between_two_positions(kept: Kept) -> None:
    records, oracle = filled(kept)
    random = Random(7)
    ends = some_cuts(kept, random)
    starts = {at: random.randrange(end + 1) // 2 for at, end in ends.items()}
    sold: dict[str, int] = defaultdict(int)
    shrink: dict[str, int] = defaultdict(int)
    for record, event in applied(records, oracle):
        place = TOPICS.index(record.topic), record.partition
        if not starts[place] <= record.offset < ends[place]:
            continue
        data: Any = event["data"]
        kind = str(event["type"])
        if "sale" in kind:
            sold[data["sku"]] += data["quantity"] * (1 if "completed" in kind else -1)
        elif "adjusted" in kind:
            shrink[data["reason"]] += data["quantity"]
    with kept.history.look() as ledger:
        wish = ReportWish(starts, ends, None, 10**6, 10_000)
        movers = read_report(ledger, "movers", wish)
        lost = read_report(ledger, "shrink", wish)
        late = read_report(ledger, "late-facts", wish)

    assert {line[0]: line[1] for line in movers} == sold
    assert [line[1] for line in movers] == sorted(sold.values(), reverse=True)
    assert {line[0]: line[1] for line in lost} == shrink
    seconds = [int(str(line[-1])) for line in late]
    assert seconds == sorted(seconds, reverse=True)
    assert min(seconds) >= 1
    assert json.dumps([movers, lost, late])  # nothing that JSON cannot say
    assert {line[2] for line in late} <= set(SKUS)
    assert PARTITIONS > 1
