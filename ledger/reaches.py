"""Where a ledger is, read back: positions, windows, and by which rules it was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from itertools import chain
from typing import Any, Final

import numpy as np
from sqlalchemy import Column, Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from core.records import Address
from core.window import Window
from domain.rules.sets import RuleSet
from ledger.books import Book, Reach
from ledger.engine import LedgerUnavailable, driver_of
from ledger.lines import APPLIED, TOPICS
from ledger.schema import agreed_table, position_table

#: Lines of a window that are judged at once.
_AT_ONCE: Final = 20_000


def reach_columns() -> list[Column[Any]]:
    """Of `position`, in the order that `read_reach` reads."""
    return [position_table.c[name] for name in Reach.__struct_fields__]


def read_reach(values: Iterable[Any]) -> Reach:
    """From the values of `reach_columns`."""
    return Reach(**dict(zip(Reach.__struct_fields__, values, strict=True)))


def reaches_of(connection: Connection, part: int | None = None) -> dict[tuple[int, int], Reach]:
    """How far each topic-partition is, by topic's number and partition; of one partition or all."""
    query = select(position_table.c.topic, position_table.c.part, *reach_columns())
    if part is not None:
        query = query.where(position_table.c.part == part)
    return {
        (topic, number): read_reach(values) for topic, number, *values in connection.execute(query)
    }


def begin(connection: Connection, part: int) -> None:
    """Make sure that all positions of a partition are there, at the beginning if they are new."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    nothing = dict.fromkeys(Reach.__struct_fields__[:6], 0)
    rows = [{"topic": t, "part": part, "head": b"", **nothing} for t in range(len(TOPICS))]
    connection.execute(insert(position_table).values(rows).on_conflict_do_nothing())


def books_of(
    connection: Connection,
    part: int,
    partitions: int,
    topics: Mapping[str, str],
    window: int,
    rules: RuleSet,
) -> dict[str, Book]:
    """Open a partition's books where they were left, by full name of the topic.

    Args:
        connection: in a transaction that may write.
        part: which partition.
        partitions: of each topic.
        topics: role by full name.
        window: W, in offsets.
        rules: of the version.
    """
    begin(connection, part)
    places = reaches_of(connection, part)
    books = {}
    for topic, role in topics.items():
        place = places[TOPICS.index(role), part]
        address = Address(topic, role, part, partitions)
        accepted = _window(connection, address, window, place.next_offset)
        books[topic] = Book(address, accepted, place, rules)
    return books


def _window(connection: Connection, address: Address, size: int, next_offset: int) -> Window:
    """The window as it was there: what was accepted in the last `size` offsets, judged again.

    All windows together may hold millions of ids, and nothing is read before they are there: so
    by the driver's own cursor, whose lines SQLAlchemy would wrap one by one.
    """
    window = Window(address.topic, size)
    place = TOPICS.index(address.role), address.partition, max(0, next_offset - size), APPLIED
    # On the connection of this transaction, which `begin` has begun.
    with driver_of(connection) as driver, closing(driver.cursor()) as cursor:
        cursor.execute(_ACCEPTED % place)
        while lines := cursor.fetchmany(_AT_ONCE):
            numbers = np.fromiter(chain.from_iterable(lines), np.int64, 3 * len(lines))
            offsets, identities, contents = numbers.reshape(-1, 3).T
            window.judge(offsets, identities, contents)
            window.take(next_offset)
    return window


_ACCEPTED: Final = (
    "SELECT off, identity, content FROM event "
    "WHERE topic = %d AND part = %d AND off >= %d AND outcome = %d ORDER BY off"
)


def agree_on(connection: Connection, rules: Mapping[str, str]) -> None:
    """Write down by which rules this ledger is kept, or refuse to go on by others.

    Raises:
        LedgerUnavailable: the ledger was written by others.
    """
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    rows = [{"name": name, "value": value} for name, value in rules.items()]
    connection.execute(insert(agreed_table).values(rows).on_conflict_do_nothing())
    known: dict[str, str] = {}
    for name, value in connection.execute(select(agreed_table.c.name, agreed_table.c.value)):
        known[name] = value
    different = sorted(name for name in rules if known[name] != rules[name])
    if different:
        was = ", ".join(f"{name} {known[name]}" for name in different)
        now = ", ".join(f"{name} {rules[name]}" for name in different)
        raise LedgerUnavailable(
            f"This ledger was written with {was}, and this process has {now}: give it the "
            "settings back, or a database of its own (ONHAND_LEDGER_URL)."
        )


def complete(connection: Connection, until: Iterable[tuple[int, int, int, int]]) -> None:
    """Say of topic-partitions at the end of their log that nothing earlier is still to come.

    Args:
        connection: in a transaction that may write.
        until: topic, partition, its next offset, and µs since the epoch.
    """
    for topic, part, next_offset, at in until:
        connection.execute(
            position_table.update()
            .where(
                position_table.c.topic == topic,
                position_table.c.part == part,
                position_table.c.next_offset == next_offset,
                position_table.c.complete_until < at,
            )
            .values(complete_until=at)
        )
