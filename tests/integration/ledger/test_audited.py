"""A ledger held against its log, on both databases: planted faults are found, named, repaired."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from audit.books import Lines, as_sums, hold_sums
from audit.comparing import Held, compare_counts
from audit.recount import Expected, Recount
from dev.oracle.stock import Record
from domain.rows import row_key, split_key
from domain.rules.two import TWO
from ledger.audited import AuditedLedger, LedgerMoment, LinesPage
from ledger.lines import TOPICS
from ledger.schema import event_table, stock_table
from ledger.upkeep.compacting import compact
from tests.ledgers.comparing import came, lines
from tests.ledgers.kept import NAME, ROLES, Kept
from tests.ledgers.logs import PARTITIONS, WINDOW, a_log


def audited(
    kept: Kept, records: Sequence[Record], ledger: AuditedLedger | None = None
) -> tuple[list[Held], list[LedgerMoment], Any]:
    ledger = ledger or AuditedLedger(kept.url, f"{NAME} audit")
    try:
        found = [
            asyncio.run(_audited(ledger, [r for r in records if r.partition == part], part))
            for part in range(PARTITIONS)
        ]
    finally:
        ledger.close()
    return [held for held, _, _ in found], [m for _, m, _ in found], [e for _, _, e in found]


async def _audited(
    ledger: AuditedLedger, records: Sequence[Record], part: int
) -> tuple[Held, LedgerMoment, Expected]:
    moment = ledger.moment(part)
    stops = {number: reach.next_offset for number, reach in moment.reaches.items()}
    held_lines = Lines(ledger, ROLES, part, moment.begins, stops, TWO)
    recount = Recount(ROLES, part, PARTITIONS, WINDOW, TWO, held_lines.see)
    for at in range(0, len(records), 50):
        for topic in TOPICS:
            recount.add(topic, [came(r) for r in records[at : at + 50] if r.topic == topic])
        await held_lines.hold()
    await held_lines.finish()
    positions = {topic: stops.get(number, 0) for number, topic in enumerate(TOPICS)}
    expected = recount.at(positions)
    held = Held(where="ledger", role="ledger", partition=part, positions=positions)
    held.lines, held.faults = held_lines.lines, held_lines.faults
    counts = {
        TOPICS[number]: (reach.applied, reach.repeated, reach.refused)
        for number, reach in moment.reaches.items()
    }
    compare_counts(held, counts, expected)
    await hold_sums(held, moment, expected)
    return held, moment, expected


def repair(kept: Kept, found: tuple[list[Held], list[LedgerMoment], Any]) -> list[bool]:
    ledger = AuditedLedger(kept.url, f"{NAME} audit")
    done = []
    for held, moment, expected in zip(*found, strict=True):
        drop = [
            (TOPICS.index(f.topic), f.partition, f.offset)
            for f in held.faults
            if f.what != "missing"
        ]
        ledger.put_lines(drop, [f.right for f in held.faults if f.right is not None])
        for one in held.differences:
            name, right = split_key(one.key), as_sums(expected.tally(one.key))
            done.append(ledger.put_row(held.partition, name, moment.rows.get(name), right))
    ledger.close()
    return done


def write(kept: Kept, *statements: sa.Executable) -> None:
    with kept.engine.begin() as connection:
        for statement in statements:
            assert abs(connection.execute(statement).rowcount) == 1  # -1: not known of an INSERT


def at(line: dict[str, Any]) -> sa.ColumnElement[bool]:
    _of = event_table.c
    places = zip((_of.topic, _of.part, _of.off), ("topic", "part", "off"), strict=True)
    return sa.and_(*(column == line[name] for column, name in places))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_ledger_that_is_right_agrees_line_by_line(kept: Kept, seed: int) -> None:
    records = a_log(seed, 800)
    kept.feed(records)

    held, _, _ = audited(kept, records)

    assert [one.agrees for one in held] == [True] * PARTITIONS, held
    assert sum(one.lines for one in held) == len(records)


class Compacted(AuditedLedger):
    """A ledger that is compacted between two pages of an audit, in every one of its partitions.

    after: pages of a topic-partition that are read before.
    """

    def __init__(self, kept: Kept, before: int, after: int) -> None:
        super().__init__(kept.url, f"{NAME} audit")
        self._kept, self._before, self._after = kept, before, after
        self._pages: Counter[tuple[int, int]] = Counter()
        self.gone = 0

    def lines(self, topic: int, part: int, start: int, stop: int, limit: int = 10) -> LinesPage:
        if self._pages[topic, part] == self._after:
            self.gone += compact(self._kept.engine, self._before, WINDOW).lines
        self._pages[topic, part] += 1
        return super().lines(topic, part, start, stop, limit)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_ledger_that_is_compacted_while_it_is_audited_has_no_drift(
    kept: Kept, after: int
) -> None:
    records = a_log(13, 800)
    kept.feed(records)
    applied = [line for line in lines(kept.reads) if line["outcome"] == 0]
    last = applied[-1]
    write(kept, event_table.update().where(at(last)).values(quantity=7_777))
    ledger = Compacted(kept, int(str(last["log_at"])), after)

    held, _, _ = audited(kept, records, ledger)

    assert ledger.gone > 100
    # What is still there is compared as ever.
    [fault] = [fault for one in held for fault in one.faults]
    assert (fault.what, fault.id) == ("changed", last["id"])
    assert [len(one.differences) + len(one.counts) for one in held] == [0] * PARTITIONS
    assert len(records) > sum(one.lines for one in held) >= len(lines(kept.reads))


def test_a_repair_puts_no_line_beside_the_opening_balance_that_stands_for_it(kept: Kept) -> None:
    records = a_log(17, 600)
    kept.feed(records)
    first = next(line for line in lines(kept.reads) if line["outcome"] == 0)
    write(kept, event_table.delete().where(at(first)))
    found = audited(kept, records)
    assert [fault.what for held in found[0] for fault in held.faults] == ["missing"]
    compact(kept.engine, 2**62, WINDOW)
    left = lines(kept.reads)

    repair(kept, found)

    assert lines(kept.reads) == left


def test_planted_lines_and_sums_are_found_named_and_repaired(kept: Kept) -> None:
    records = a_log(5, 600)
    kept.feed(records)
    every: list[dict[str, Any]] = list(lines(kept.reads))
    applied = [line for line in every if line["outcome"] == 0]
    dropped, changed, silent, moved = applied[10], applied[50], applied[90], applied[130]
    invented = {**applied[170], "off": 100_000 - 1, "id": "invented"}
    write(
        kept,
        event_table.delete().where(at(dropped)),
        event_table.update().where(at(changed)).values(quantity=7_777),
        event_table.update().where(at(silent)).values(actor="nobody"),
        event_table.update().where(at(moved)).values(outcome=1, repeat_of=3),
        stock_table.update()
        .where(stock_table.c.sku == applied[20]["sku"])
        .where(stock_table.c.location == applied[20]["location"])
        .values(sold=stock_table.c.sold + 1),
        stock_table.insert().values(**_row("a ghost", applied[0]["part"])),
    )
    write(kept, event_table.insert().values(**invented), _further(invented))

    found = audited(kept, records)
    faults = {(f.topic, f.partition, f.offset): f for held in found[0] for f in held.faults}
    for line, what, columns in (
        (dropped, "missing", set()),
        (changed, "changed", {"quantity"}),
        (silent, "changed", {"actor"}),
        (moved, "changed", {"outcome", "repeat_of"}),
        (invented, "invented", set()),
    ):
        fault = faults.pop((TOPICS[line["topic"]], line["part"], line["off"]))
        assert (fault.what, set(fault.columns), fault.id) == (what, columns, line["id"])
    assert not faults
    wrong = {one.key for held in found[0] for one in held.differences}
    assert wrong == {
        row_key(applied[20]["sku"], applied[20]["location"]),
        row_key("a ghost", "nowhere"),
    }

    assert all(repair(kept, found))
    held, _, _ = audited(kept, records)
    assert [one.drift for one in held] == [0] * PARTITIONS, held
    # What is not as it was found any more is left alone.
    assert repair(kept, found) == [False, False]


def _row(sku: str, part: object) -> dict[str, Any]:
    sums = ("received", "dispatched", "sold", "returned", "adjusted", "events", "checksum")
    return {
        "sku": sku,
        "location": "nowhere",
        "part": part,
        "updated_at": 5,
        **dict.fromkeys(sums, 1),
    }


def _further(line: dict[str, Any]) -> sa.Executable:
    """As if the ledger had read so far; only its own positions say how far it is."""
    from ledger.schema import position_table

    of = position_table.c
    return (
        position_table.update()
        .where(of.topic == line["topic"], of.part == line["part"])
        .values(next_offset=line["off"] + 1)
    )
