"""The SQL that docs/history.md gives shops is run as written, on both databases."""

import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from domain.rows import EVENT_COUNT, ROW_FIELDS
from ledger.schema import event_table, stock_table
from ledger.sums import QUANTITIES
from ledger.upkeep.compacting import compact
from tests.integration.ledger.asking.test_history import applied, filled
from tests.ledgers.comparing import lines
from tests.ledgers.kept import Kept
from tests.ledgers.logs import WINDOW

PAGE = (Path(__file__).parents[4] / "docs" / "history.md").read_text()
[INVARIANT] = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
[MOVEMENTS] = re.findall(r"`(SELECT [^`]* reference [^`]*)`", PAGE)


def asked(kept: Kept, sql: str) -> list[dict[str, Any]]:
    with kept.reads.begin() as connection:
        return [dict(line._mapping) for line in connection.execute(sa.text(sql))]


def rows_that_do_not_add_up(kept: Kept) -> set[tuple[str, str]]:
    return {(row["sku"], row["location"]) for row in asked(kept, INVARIANT)}


def test_the_movements_of_a_reference_are_the_facts_that_name_it(kept: Kept) -> None:
    records, oracle = filled(kept)

    found = asked(kept, MOVEMENTS.replace("PO-77", "order-3"))

    expected = {
        record.place
        for record, said in applied(records, oracle)
        if said["data"].get("reference") == "order-3"  # type: ignore[attr-defined]  # JSON
    }
    assert len(expected) > 10
    assert {(kept.topic(row["topic"]), row["part"], row["off"]) for row in found} == expected


def test_lines_and_openings_add_up_to_the_sums_and_a_row_that_does_not_is_named(
    kept: Kept,
) -> None:
    filled(kept)
    assert rows_that_do_not_add_up(kept) == set()
    times = sorted(int(str(line["log_at"])) for line in lines(kept.reads))
    assert compact(kept.engine, times[len(times) // 2], WINDOW).lines > 50
    assert rows_that_do_not_add_up(kept) == set()

    _of = event_table.c
    dropped, changed = [line for line in lines(kept.reads) if line["outcome"] == 0][-2:]
    ghost = dict.fromkeys(ROW_FIELDS, 0) | {"sold": 1, ROW_FIELDS[EVENT_COUNT]: 1}
    place = [(_of.topic, "topic"), (_of.part, "part"), (_of.off, "off")]
    with kept.engine.begin() as connection:
        connection.execute(event_table.delete().where(*(c == dropped[n] for c, n in place)))
        more = event_table.update().values(quantity=_of.quantity + 1)
        connection.execute(more.where(*(c == changed[n] for c, n in place)))
        connection.execute(
            stock_table.insert().values(sku="a ghost", location="nowhere", part=0, **ghost)
        )
    assert rows_that_do_not_add_up(kept) == {
        ("a ghost", "nowhere"),
        *((line["sku"], line["location"]) for line in (dropped, changed)),
    }


def test_the_page_adds_up_all_that_a_row_counts() -> None:
    assert [name for name in QUANTITIES.values() if f"s.{name}" not in INVARIANT] == []
