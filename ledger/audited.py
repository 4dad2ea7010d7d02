"""What an audit reads of a ledger, and what it sets right there.

Rows of `stock` and the positions are read in one transaction, so they are of one moment. Lines
of `event` never change below a position, so they are read page by page, each in its own. But they
may go (`onhand ledger compact`): so each page says, of its own moment, from where on there are any.

What is repaired is put in the place of exactly what was found, or nothing is: a ledger's process
that writes meanwhile is never in the way, and no repair counts twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct
from sqlalchemy import URL, Connection, Engine, bindparam, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from domain.rows import ROW_FIELDS
from ledger.books import Reach
from ledger.engine import LedgerUnavailable, open_reader, open_writer, unavailable
from ledger.reaches import reaches_of
from ledger.schema import (
    event_table,
    position_table,
    refusal_table,
    snapshot_table,
    stock_table,
)

#: Columns of a line that an audit compares, in the order of `ledger.schema.event_table`.
LINE_COLUMNS: Final = [column.name for column in event_table.columns]
_PAGE: Final = 2_000
_line = event_table.c
_stock = stock_table.c


class LedgerMoment(Struct, frozen=True):
    """A partition of the ledger at one moment.

    reaches: by topic's number. begins: first offset that there are lines of, by the same.
    rows: the sums, in the order of `domain.rows.ROW_FIELDS`, by SKU and location; updated_at in µs.
    """

    reaches: Mapping[int, Reach]
    rows: Mapping[tuple[str, str], tuple[int, ...]]
    begins: Mapping[int, int] = {}


class LinesPage(NamedTuple):
    """Consecutive lines of a topic-partition.

    lines: each with the reason why it was refused, if it was. begins: the first offset that
    there were lines of when these were read.
    """

    lines: list[tuple[tuple[Any, ...], str | None]]
    begins: int


class AuditedLedger:
    """A ledger's database. Blocks: use it in a thread. Raises LedgerUnavailable throughout.

    Args:
        url: as `ledger.engine.url_of` gives it.
        application: how its sessions call themselves.
    """

    def __init__(self, url: URL, application: str) -> None:
        self._url, self._application = url, application
        self._engine: Engine = open_reader(url, application)

    def close(self) -> None:
        """After the last question."""
        self._engine.dispose()

    def moment(self, part: int) -> LedgerMoment:
        """Positions and sums of a partition as they are now."""
        columns = [_stock.sku, _stock.location, *(_stock[name] for name in ROW_FIELDS)]
        try:
            with self._engine.begin() as connection:
                reaches = reaches_of(connection, part)
                found = connection.execute(select(*columns).where(_stock.part == part))
                rows = {(sku, location): tuple(sums) for sku, location, *sums in found}
                begins = _begins(connection)
        except DBAPIError as error:
            raise unavailable(self._url, error) from error
        return LedgerMoment(
            {topic: reach for (topic, _), reach in reaches.items()},
            rows,
            {topic: first for (topic, number), first in begins.items() if number == part},
        )

    def heads(self) -> list[tuple[int, int, int, bytes]]:
        """Topic's number, partition, next offset and head of each chain that has begun."""
        at = position_table.c
        query = select(at.topic, at.part, at.next_offset, at.head).order_by(at.topic, at.part)
        try:
            with self._engine.begin() as connection:
                return [(t, p, n, bytes(h)) for t, p, n, h in connection.execute(query) if h]
        except DBAPIError as error:
            raise unavailable(self._url, error) from error

    def lines(self, topic: int, part: int, start: int, stop: int, limit: int = _PAGE) -> LinesPage:
        """The next lines with start <= offset < stop; none at the end."""
        same = (
            (refusal_table.c.topic == _line.topic)
            & (refusal_table.c.part == _line.part)
            & (refusal_table.c.off == _line.off)
        )
        query = (
            select(event_table, refusal_table.c.reason.label("why"))
            .select_from(event_table.outerjoin(refusal_table, same))
            .where(_line.topic == topic, _line.part == part, _line.off >= start, _line.off < stop)
            .order_by(_line.off)
            .limit(limit)
        )
        try:
            with self._engine.begin() as connection:
                found = [(tuple(line[:-1]), line[-1]) for line in connection.execute(query)]
                return LinesPage(found, _begins(connection).get((topic, part), 0))
        except DBAPIError as error:
            raise unavailable(self._url, error) from error

    def first_after(self, topic: int, part: int, start: int, stop: int, log_at: int) -> int:
        """The first offset from `start` on whose line is of this time or later, µs; else `stop`.

        log_at never goes back, so halves will do.
        """
        low, high = start, stop
        try:
            with self._engine.begin() as connection:
                while low < high:
                    middle = (low + high) // 2
                    found = connection.execute(
                        select(_line.off, _line.log_at)
                        .where(_line.topic == topic, _line.part == part, _line.off >= middle)
                        .order_by(_line.off)
                        .limit(1)
                    ).first()
                    if found is None or found.off >= high or found.log_at >= log_at:
                        high = middle
                    else:
                        low = found.off + 1
        except DBAPIError as error:
            raise unavailable(self._url, error) from error
        return low

    def history_from(self) -> dict[tuple[int, int], int]:
        """The first offset that there are lines of, by topic's number and partition."""
        try:
            with self._engine.begin() as connection:
                return _begins(connection)
        except DBAPIError as error:
            raise unavailable(self._url, error) from error

    # ---- setting right

    def put_row(
        self,
        part: int,
        key: tuple[str, str],
        found: Sequence[int] | None,
        right: Sequence[int] | None,
    ) -> bool:
        """Put one row in the place of another; False where it is not as it was found any more."""
        values = {"sku": key[0], "location": key[1], "part": part}
        if right is not None:
            values |= dict(zip(ROW_FIELDS, right, strict=True))
        as_found = [_stock.sku == key[0], _stock.location == key[1]]
        if found is not None:
            pairs = zip(ROW_FIELDS, found, strict=True)
            as_found += [_stock[name] == number for name, number in pairs]
        writer = open_writer(self._url, self._application)
        try:
            with writer.begin() as connection:
                if found is None and right is None:
                    return connection.execute(select(_stock.sku).where(*as_found)).first() is None
                if found is None:
                    connection.execute(stock_table.insert().values(values))
                    return True
                change = stock_table.update().values(values) if right else stock_table.delete()
                return bool(connection.execute(change.where(*as_found)).rowcount == 1)
        except IntegrityError:
            return False  # it is there by now
        except DBAPIError as error:
            raise unavailable(self._url, error) from error
        finally:
            writer.dispose()

    def put_lines(
        self, drop: Iterable[tuple[int, int, int]], lines: Sequence[Sequence[Any]]
    ) -> None:
        """Delete lines at these places (topic, partition, offset), and write others; at once.

        Lines say what the log says, so it does not matter how often that is done. What was
        compacted since they were compared stays away: an opening balance stands for it.
        """
        gone_from = {*drop, *((line[0], line[1], line[2]) for line in lines)}
        gone = event_table.delete().where(
            _line.topic == bindparam("t"), _line.part == bindparam("p"), _line.off == bindparam("o")
        )
        writer = open_writer(self._url, self._application)
        try:
            with writer.begin() as connection:
                begins = _held_begins(connection, {part for _, part, _ in gone_from})
                places = [
                    {"t": t, "p": p, "o": o} for t, p, o in sorted(gone_from) if o >= begins[t, p]
                ]
                values = [
                    dict(zip(LINE_COLUMNS, line, strict=True))
                    for line in lines
                    if line[2] >= begins[line[0], line[1]]
                ]
                _forget_snapshots(connection, places, values)
                if places:
                    connection.execute(gone, places)
                if values:
                    connection.execute(event_table.insert(), values)
        except DBAPIError as error:
            raise unavailable(self._url, error) from error
        finally:
            writer.dispose()


def _begins(connection: Connection) -> dict[tuple[int, int], int]:
    at = position_table.c
    query = select(at.topic, at.part, at.history_from)
    return {(topic, part): first for topic, part, first in connection.execute(query)}


def _held_begins(connection: Connection, parts: Iterable[int]) -> dict[tuple[int, int], int]:
    """The same of some partitions, and nobody compacts them until this transaction ends."""
    at = position_table.c
    query = select(at.topic, at.part, at.history_from).where(at.part.in_(sorted(parts)))
    # In the order in which writers take them. SQLite has one writer, and knows no such lock.
    query = query.order_by(at.part, at.topic).with_for_update()
    return {(topic, part): first for topic, part, first in connection.execute(query)}


def _forget_snapshots(
    connection: Connection,
    places: Iterable[Mapping[str, int]],
    lines: Iterable[Mapping[str, Any]],
) -> None:
    """They were made of what is dropped, or without what is written; they are made again."""
    snap = snapshot_table.c
    changed = {(line["sku"], line["location"]) for line in lines}
    at = select(_line.sku, _line.location).where(
        _line.topic == bindparam("t"), _line.part == bindparam("p"), _line.off == bindparam("o")
    )
    changed |= {tuple(line) for place in places for line in connection.execute(at, place)}
    for sku, location in changed:
        of_row = snap.sku == sku, snap.location == location
        connection.execute(snapshot_table.delete().where(*of_row, snap.opening == 0))
        row = _stock.sku == sku, _stock.location == location
        connection.execute(stock_table.update().where(*row).values(snapped=0))


__all__ = ["LINE_COLUMNS", "AuditedLedger", "LedgerMoment", "LedgerUnavailable"]
