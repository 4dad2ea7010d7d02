"""Retention: lines of long ago go, and one sum for each row and topic stands for them.

Stock, chain, counts and positions stay as they are: only questions about what was before are
refused (`BeforeHistory`). What the duplicates window still needs is kept, however old it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from ledger.engine import LedgerUnavailable, open_writer, unavailable, url_of
from ledger.lines import micros
from ledger.questions.cuts import Extent, extents_of, offsets_after
from ledger.schema import event_table, position_table, refusal_table, snapshot_table, stock_table
from ledger.sums import LINE_SUMS, NO_SUMS, together
from ledger.upkeep import building

_of: Final = event_table.c
_snap: Final = snapshot_table.c
_NAMES: Final = [column.name for column in snapshot_table.columns]


class Compacted(NamedTuple):
    """lines: that went. kept: younger than asked for, since the duplicates window needs them."""

    lines: int
    kept: int


def compact(
    engine: Engine, before: int, window: int, said: Callable[[int], None] = lambda lines: None
) -> Compacted:
    """Delete lines with a log_at before a time; a transaction for each topic-partition.

    May be stopped at any moment, and beside a ledger that writes. Blocks.

    Args:
        engine: of `ledger.engine.open_writer`.
        before: µs since the epoch.
        window: W, in offsets.
        said: is told how many lines are gone so far.

    Raises:
        LedgerUnavailable: the ledger is being built.
        DBAPIError: the database does not take it.
    """
    with engine.begin() as connection:
        if not building.is_there(connection):
            raise LedgerUnavailable("This ledger is being built: compact it when it is whole.")
        extents = extents_of(connection)
        cuts = offsets_after(connection, extents, dict.fromkeys(extents, before - 1))
    gone = kept = 0
    for (topic, part), wanted in sorted(cuts.items()):
        extent = extents[topic, part]
        cut = min(wanted, max(0, extent.reach.next_offset - window))
        kept += wanted - cut
        if cut > extent.history_from:
            with engine.begin() as connection:
                gone += _compact_one(connection, topic, part, extent, cut)
            said(gone)
    return Compacted(gone, kept)


def compact_ledger(
    database: str, application: str, before: str, window: int, said: Callable[[int], None]
) -> Compacted:
    """The same of a database by its address, and of a time as RFC 3339 with an offset.

    Raises:
        LedgerUnavailable: it cannot be done; says what to do.
    """
    url = url_of(database)
    try:
        time = msgspec.convert(before, datetime)
    except msgspec.ValidationError:
        time = None
    if time is None or time.tzinfo is None:
        raise LedgerUnavailable("--before is a time with an offset, such as 2026-01-01T00:00:00Z.")
    engine = open_writer(url, application)
    try:
        return compact(engine, micros(time), window, said)
    except DBAPIError as error:
        raise unavailable(url, error) from error
    finally:
        engine.dispose()


def _compact_one(connection: Connection, topic: int, part: int, extent: Extent, cut: int) -> int:
    here = _of.topic == topic, _of.part == part, _of.off < cut
    # 1. Where history begins, unless another one was here meanwhile.
    last = select(func.max(_of.log_at)).where(*here)
    at = position_table.c
    moved = connection.execute(
        position_table.update()
        .where(at.topic == topic, at.part == part, at.history_from == extent.history_from)
        .values(history_from=cut, history_at=func.coalesce(last.scalar_subquery(), 0))
    )
    if moved.rowcount != 1:
        return 0
    # 2. What stands for the lines: what stood for earlier ones, and their own sums.
    found: dict[tuple[str, str], tuple[Any, ...]] = {}
    old = select(_snap.sku, _snap.location, *(_snap[name] for name in _NAMES[4:-1])).where(
        _snap.topic == topic, _snap.opening == 1
    )
    mine = {(sku, location) for sku, location in connection.execute(_rows_of(part))}
    for sku, location, *sums, until in connection.execute(old):
        if (sku, location) in mine:
            found[sku, location] = (*together([sums]), until)
    for sku, location, *sums, until in connection.execute(_SUMS, {"t": topic, "p": part, "c": cut}):
        before = found.get((sku, location), (*NO_SUMS, until))
        found[sku, location] = (*together([before[:-1], sums]), max(before[-1], until))
    _put(connection, topic, cut, found.items())
    # 3. Away with the lines.
    lines = connection.execute(event_table.delete().where(*here)).rowcount
    of = refusal_table.c
    connection.execute(
        refusal_table.delete().where(of.topic == topic, of.part == part, of.off < cut)
    )
    return int(lines)


def _rows_of(part: int) -> Any:
    return select(stock_table.c.sku, stock_table.c.location).where(stock_table.c.part == part)


_SUMS: Final = text(
    f"SELECT sku, location, {', '.join(LINE_SUMS)}, max(occurred_at) "  # noqa: S608  our names
    "FROM event WHERE topic = :t AND part = :p AND off < :c AND outcome = 0 "
    "GROUP BY sku, location"
)


def _put(
    connection: Connection,
    topic: int,
    cut: int,
    openings: Iterable[tuple[tuple[str, str], tuple[Any, ...]]],
) -> None:
    """In the place of every snapshot at or before the cut."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    rows = [dict(zip(_NAMES, (*key, topic, cut, *sums, 1), strict=True)) for key, sums in openings]
    for row in rows:
        connection.execute(
            snapshot_table.delete().where(
                _snap.sku == row["sku"],
                _snap.location == row["location"],
                _snap.topic == topic,
                _snap.off <= cut,
            )
        )
    if rows:
        connection.execute(insert(snapshot_table), rows)
