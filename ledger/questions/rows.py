"""Rows as they were: sums of a prefix, from the last snapshot before its end and what follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    false,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
)

from domain.rows import ROW_FIELDS, Row
from ledger.lines import APPLIED, TOPICS
from ledger.questions.cuts import Extents, begins, of_part
from ledger.questions.prefixes import BeforeHistory, Cut, Cuts, Prefix
from ledger.schema import event_table, snapshot_table
from ledger.sums import LINE_SUMS, NO_SUMS, row_from, together

_of: Final = event_table.c
_snap: Final = snapshot_table.c
_LINE_SUMS: Final[list[ColumnElement[int]]] = [literal_column(sql) for sql in LINE_SUMS]
_FIELDS: Final = [_snap[name] for name in (*ROW_FIELDS, "occurred_until")]
#: SKU and location.
Whose: TypeAlias = tuple[str, str]


class Snap(NamedTuple):
    """Sums of a row's events of one topic below an offset."""

    off: int
    sums: tuple[int, ...]


def of_row(sku: str, location: str) -> tuple[ColumnElement[bool], ...]:
    """Conditions for the lines of one row, counted or not."""
    return _of.sku == sku, _of.location == location


def within(cut: Cut) -> ColumnElement[bool]:
    """Whether a line is of the prefix."""
    parts = [and_(_of.topic == topic, _of.off < end) for topic, end in cut.items()]
    return or_(*parts) if parts else false()


def _last_snapshot(topic: int, *more: ColumnElement[bool]) -> Any:
    found = (
        select(_snap.topic, _snap.off, *_FIELDS)
        .where(
            _snap.sku == bindparam("sku"),
            _snap.location == bindparam("location"),
            _snap.topic == topic,
            _snap.off <= bindparam(f"until{topic}"),
            *more,
        )
        .order_by(_snap.off.desc())
        .limit(1)
        .subquery()
    )
    return select(found)


def _rest(topic: int, *more: ColumnElement[bool]) -> Any:
    return select(literal(topic), *_LINE_SUMS).where(
        _of.sku == bindparam("sku"),
        _of.location == bindparam("location"),
        _of.topic == topic,
        _of.off >= bindparam(f"from{topic}"),
        _of.off < bindparam(f"until{topic}"),
        _of.outcome == APPLIED,
        *more,
    )


def _both(*, by_occurred: bool) -> tuple[Any, Any]:
    """Snapshots and what follows them, all topics in one round trip.

    By occurred time the last snapshot of which all had happened by then: who asks about today adds
    up a page of lines, and who asks about the first day all of them.
    """
    topics, time = range(len(TOPICS)), bindparam("occurred", type_=_snap.occurred_until.type)
    covered = [_snap.occurred_until <= time] if by_occurred else []
    happened = [_of.occurred_at <= time] if by_occurred else []
    return (
        union_all(*(_last_snapshot(topic, *covered) for topic in topics)),
        union_all(*(_rest(topic, *happened) for topic in topics)),
    )


_BOTH: Final = {by_occurred: _both(by_occurred=by_occurred) for by_occurred in (False, True)}


def sums_of(
    connection: Connection, sku: str, location: str, cut: Cut, occurred: int | None = None
) -> tuple[int, ...]:
    """Of one row, whatever it has been through: see `ledger/sums.py`.

    occurred: count only what happened up to then, in µs since the epoch.
    """
    snapshots, rests = _BOTH[occurred is not None]
    values: dict[str, Any] = {"sku": sku, "location": location}
    if occurred is not None:
        values["occurred"] = occurred
    for topic in range(len(TOPICS)):
        values[f"until{topic}"] = cut.get(topic, 0)
    snaps = {
        topic: Snap(off, tuple(sums))
        for topic, off, *sums, _ in connection.execute(snapshots, values)
    }
    for topic in range(len(TOPICS)):
        values[f"from{topic}"] = snaps[topic].off if topic in snaps else 0
    found = connection.execute(rests, values)
    return together([*(snap.sums for snap in snaps.values()), *(sums for _, *sums in found)])


def openings(
    connection: Connection, places: Extents, occurred: int, *where: ColumnElement[bool]
) -> dict[Whose, tuple[int, ...]]:
    """What is left of facts that are gone, where all had happened by a time; by row.

    Raises:
        BeforeHistory: some of a row had not.
    """
    if not begins(places):
        return {}
    query = select(_snap.sku, _snap.location, *_FIELDS).where(_snap.opening == 1, *where)
    found: dict[Whose, tuple[int, ...]] = {}
    for sku, location, *sums, until in connection.execute(query):
        if until > occurred:
            raise BeforeHistory(begins(places))
        key = sku, location
        found[key] = together([found.get(key, NO_SUMS), sums])
    return found


def row_at(
    connection: Connection, places: Extents, sku: str, location: str, prefix: Prefix
) -> Row | None:
    """One row as it was; None where no event of it is in the prefix.

    Raises:
        BeforeHistory: by occurred time, the lines of then are gone.
    """
    if prefix.occurred is None:
        return row_from(sums_of(connection, sku, location, prefix.cut))
    here = _snap.sku == sku, _snap.location == location
    openings(connection, places, prefix.occurred, *here)  # or they are refused
    return row_from(sums_of(connection, sku, location, prefix.cut, prefix.occurred))


def rows_between(
    connection: Connection,
    places: Extents,
    keys: Sequence[Whose],
    cuts: Cuts,
    occurred: int | None,
    location: str | None,
    part_of: Callable[[str], int],
) -> dict[Whose, Row]:
    """Rows of some keys as they were; those without an event until then are left out.

    Args:
        connection: to read from.
        places: of all partitions that they are in.
        keys: in order, all that are between the first and the last of them.
        cuts: of these partitions.
        occurred: count only what happened up to then, in µs since the epoch.
        location: that all of them have, if they were chosen by it.
        part_of: partition of a SKU.

    Raises:
        BeforeHistory: see `row_at`.
    """
    found: dict[Whose, tuple[int, ...]] = {}
    long: set[Whose] = set()
    if occurred is not None:
        found = openings(connection, places, occurred, *_between(_snap, keys, location))
    else:
        query = select(_snap.sku, _snap.location).where(*_between(_snap, keys, location))
        long = {(sku, where) for sku, where in connection.execute(query.distinct())}
        for sku, where in long:
            cut = of_part(cuts, part_of(sku))
            found[sku, where] = sums_of(connection, sku, where, cut)
    if len(long) < len(keys):
        of_cuts = [
            and_(_of.topic == t, _of.part == p, _of.off < end) for (t, p), end in cuts.items()
        ]
        counts = [_of.outcome == APPLIED, or_(false(), *of_cuts)]
        if occurred is not None:
            counts.append(_of.occurred_at <= occurred)
        lines = (
            select(_of.sku, _of.location, *_LINE_SUMS)
            .where(*_between(_of, keys, location), *counts)
            .group_by(_of.sku, _of.location)
        )
        for sku, where, *sums in connection.execute(lines):
            if (sku, where) not in long:
                found[sku, where] = together([found.get((sku, where), NO_SUMS), sums])
    rows = {key: row_from(found[key]) for key in keys if key in found}
    return {key: row for key, row in rows.items() if row is not None}


def _between(of: Any, keys: Sequence[Whose], location: str | None) -> list[ColumnElement[bool]]:
    """Conditions on SKU and location: from the first of the keys to the last."""
    first, last = keys[0], keys[-1]
    conditions = [
        tuple_(of.sku, of.location) >= tuple_(*first),
        tuple_(of.sku, of.location) <= tuple_(*last),
    ]
    return conditions if location is None else [*conditions, of.location == location]
