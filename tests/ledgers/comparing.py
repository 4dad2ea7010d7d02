"""Holds a ledger against the oracle, line by line, and against the log, link by link."""

from collections.abc import Iterable

import sqlalchemy as sa

from core.records import Record as Came
from dev.oracle.stock import Oracle, Record
from ledger.chain import linked_all, start_of
from ledger.engine import open_reader, url_of
from ledger.lines import OUTCOMES, TOPICS
from ledger.schema import event_table, position_table, refusal_table, stock_table


def came(record: Record) -> Came:
    """As the wire hands it on."""
    return record.offset, record.timestamp_ms, record.key, record.value, record.headers


def lines(engine: sa.Engine, table: sa.Table = event_table) -> list[dict[str, object]]:
    """All rows of a table by column's name, in the order of its key."""
    query = sa.select(table).order_by(*table.primary_key.columns)
    with engine.begin() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def assert_agrees(engine: sa.Engine, oracle: Oracle, log: Iterable[Record]) -> None:
    """Every record is there once, with the oracle's verdict; sums, counts and chains too."""
    records, names = list(log), [oracle.prefix + topic for topic in TOPICS]
    assert records, "this would prove nothing"
    found = {_place(row, names): row for row in lines(engine)}
    assert found.keys() == {record.place for record in records}
    wrong = [
        place
        for place, row in found.items()
        if OUTCOMES[int(str(row["outcome"]))] != _outcome(oracle, place)
    ]
    assert not wrong, wrong[:5]
    refused = {_place(row, names): row for row in lines(engine, refusal_table)}
    assert {place: row["reason"] for place, row in refused.items()} == oracle.refused
    for place, row in refused.items():
        original = oracle.records[place]
        assert (row["key"], row["value"]) in (
            (original.key, original.value),
            (None, row["value"]),  # too large: its size and hash stand for it
        )
    stock = {(r["sku"], r["location"]): tuple(r.values())[3:] for r in lines(engine, stock_table)}
    assert {key: (*sums[:7], sums[7] // 1000, sums[8]) for key, sums in stock.items()} == {  # type: ignore[operator]  # µs
        key: tuple(row) for key, row in oracle.rows().items()
    }
    for row in lines(engine, position_table):
        _assert_chained(row, records, names)


def _assert_chained(row: dict[str, object], records: list[Record], names: list[str]) -> None:
    topic, part = int(str(row["topic"])), int(str(row["part"]))
    mine = [r for r in records if (r.topic, r.partition) == (names[topic], part)]
    head = start_of(TOPICS[topic], part)
    head = linked_all(head, map(came, mine))
    assert row["head"] == head or not mine
    counts = [int(str(row[name])) for name in ("applied", "repeated", "refused")]
    assert sum(counts) == len(mine)


def _place(row: dict[str, object], names: list[str]) -> tuple[str, int, int]:
    return names[int(str(row["topic"]))], int(str(row["part"])), int(str(row["off"]))


def _outcome(oracle: Oracle, place: tuple[str, int, int]) -> str:
    if place in oracle.refused:
        return "refused"
    return "repeated" if place in oracle.repeated else "applied"


def reading(url: str) -> sa.Engine:
    """A reader of a ledger that another process keeps."""
    return open_reader(url_of(url), "onhand-test")
