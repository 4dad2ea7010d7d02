"""Makes snapshots of long rows, so that no question adds up more than some thousand lines.

Of one topic, the lines of a row below an offset never change. So a snapshot can be made at any
time after, by anybody, and says the same; the way of a batch does nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from domain.rows import CHECKSUM, EVENT_COUNT, UPDATED_AT
from ledger.lines import APPLIED, TOPICS, Line
from ledger.schema import event_table, snapshot_table, stock_table
from ledger.sums import AMOUNT, FIELD, NO_SUMS, together

#: Applied lines of one topic between two snapshots of a row.
STRIDE: Final = 1_000
#: Rows that are brought up to date in one transaction.
ROWS_AT_ONCE: Final = 200
_of: Final = event_table.c
_snap: Final = snapshot_table.c


def long_rows(connection: Connection, limit: int = ROWS_AT_ONCE) -> list[tuple[str, str]]:
    """Rows with so many lines after their snapshots that at least one topic is worth a new one."""
    stock = stock_table.c
    query = (
        select(stock.sku, stock.location)
        .where(stock.events >= stock.snapped + len(TOPICS) * STRIDE)
        .limit(limit)
    )
    return [(sku, location) for sku, location in connection.execute(query)]


def take_snapshots(connection: Connection, keys: Iterable[tuple[str, str]]) -> int:
    """Make what is missing for these rows; how many snapshots that were."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    made = 0
    for sku, location in keys:
        covered = 0
        for topic in range(len(TOPICS)):
            before = _latest(connection, sku, location, topic)
            lines = list(_missing(connection, sku, location, topic, before))
            # Retention may have come in between: then lines that were to be added are gone, and
            # what stands for them is in another snapshot. The next round begins with that one.
            if lines and _latest(connection, sku, location, topic) == before:
                # Another ledger of this database may have made the same.
                new = insert(snapshot_table).on_conflict_do_nothing()
                connection.execute(new, [dict(zip(_NAMES, line, strict=True)) for line in lines])
                made += len(lines)
            latest = _latest(connection, sku, location, topic)
            covered += latest[1][EVENT_COUNT] if latest else 0
        connection.execute(
            update(stock_table)
            .where(stock_table.c.sku == sku, stock_table.c.location == location)
            .values(snapped=covered)
        )
    return made


_NAMES: Final = [column.name for column in snapshot_table.columns]
_SUMS: Final = [_snap[name] for name in _NAMES[4:-1]]
_EFFECT: Final[list[ColumnElement[int]]] = [literal_column(FIELD), literal_column(AMOUNT)]


def _latest(
    connection: Connection, sku: str, location: str, topic: int
) -> tuple[int, tuple[int, ...]] | None:
    """Offset and sums of the last snapshot, `occurred_until` behind them."""
    query = (
        select(_snap.off, *_SUMS)
        .where(_snap.sku == sku, _snap.location == location, _snap.topic == topic)
        .order_by(_snap.off.desc())
        .limit(1)
    )
    found = connection.execute(query).one_or_none()
    return None if found is None else (found[0], tuple(found[1:]))


def _missing(
    connection: Connection,
    sku: str,
    location: str,
    topic: int,
    before: tuple[int, tuple[int, ...]] | None,
) -> Iterator[Line]:
    """Rows of `snapshot` after each `STRIDE` lines that have none yet; `before`: the last one."""
    off, sums = before or (0, (*NO_SUMS, -(2**63)))
    query = (
        select(_of.off, *_EFFECT, _of.crc, _of.recorded_at, _of.occurred_at)
        .where(
            _of.sku == sku,
            _of.location == location,
            _of.topic == topic,
            _of.off >= off,
            _of.outcome == APPLIED,
        )
        .order_by(_of.off)
    )
    with connection.execute(query, execution_options={"yield_per": STRIDE}) as found:
        lines = iter(found)
        while len(some := list(islice(lines, STRIDE))) == STRIDE:
            until = max(sums[-1], *(one[5] for one in some))
            sums = (*together([sums[:-1], _added(some)]), until)
            yield (sku, location, topic, some[-1][0] + 1, *sums, 0)


def _added(lines: Sequence[Any]) -> list[int]:
    """The sums of some lines: offset, field, amount, crc, recorded_at, …."""
    sums = list(NO_SUMS)
    for _, field, amount, crc, recorded_at, *_ in lines:
        sums[field] += amount
        sums[CHECKSUM] += crc
        sums[UPDATED_AT] = max(sums[UPDATED_AT], recorded_at)
    sums[EVENT_COUNT] = len(lines)
    return sums
