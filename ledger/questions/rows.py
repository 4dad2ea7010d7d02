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

    topic: int
    off: int
    sums: tuple[int, ...]
    occurred_until: int


def of_row(sku: str, location: str) -> tuple[ColumnElement[bool], ...]:
    """Conditions for the lines of one row, counted or not."""
    return _of.sku == sku, _of.location == location


def within(cut: Cut) -> ColumnElement[bool]:
    """Whether a line is of the prefix."""
    parts = [and_(_of.topic == topic, _of.off < end) for topic, end in cut.items()]
    return or_(*parts) if parts else false()


def counted(prefix: Prefix) -> list[ColumnElement[bool]]:
    """Conditions for the lines that count up to a prefix."""
    conditions = [_of.outcome == APPLIED, within(prefix.cut)]
    if prefix.occurred is not None:
        conditions.append(_of.occurred_at <= prefix.occurred)
    return conditions


def _last_snapshot(topic: int) -> Any:
    found = (
        select(_snap.topic, _snap.off, *_FIELDS)
        .where(
            _snap.sku == bindparam("sku"),
            _snap.location == bindparam("location"),
            _snap.topic == topic,
            _snap.off <= bindparam(f"until{topic}"),
        )
        .order_by(_snap.off.desc())
        .limit(1)
        .subquery()
    )
    return select(found)


def _rest(topic: int) -> Any:
    return select(literal(topic), *_LINE_SUMS).where(
        _of.sku == bindparam("sku"),
        _of.location == bindparam("location"),
        _of.topic == topic,
        _of.off >= bindparam(f"from{topic}"),
        _of.off < bindparam(f"until{topic}"),
        _of.outcome == APPLIED,
    )


# All topics in one round trip.
_SNAPSHOTS: Final = union_all(*map(_last_snapshot, range(len(TOPICS))))
_RESTS: Final = union_all(*map(_rest, range(len(TOPICS))))


def snapshots_of(connection: Connection, sku: str, location: str, cut: Cut) -> dict[int, Snap]:
    """The last one of each topic that is of the prefix."""
    values: dict[str, Any] = {f"until{topic}": cut.get(topic, 0) for topic in range(len(TOPICS))}
    found = connection.execute(_SNAPSHOTS, values | {"sku": sku, "location": location})
    return {topic: Snap(topic, off, tuple(sums), until) for topic, off, *sums, until in found}


def sums_of(connection: Connection, sku: str, location: str, cut: Cut) -> tuple[int, ...]:
    """Of one row, whatever it has been through: see `ledger/sums.py`."""
    snapshots = snapshots_of(connection, sku, location, cut)
    values: dict[str, Any] = {"sku": sku, "location": location}
    for topic in range(len(TOPICS)):
        values[f"from{topic}"] = snapshots[topic].off if topic in snapshots else 0
        values[f"until{topic}"] = cut.get(topic, 0)
    rests = connection.execute(_RESTS, values)
    return together([*(snap.sums for snap in snapshots.values()), *(sums for _, *sums in rests)])


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
    opening = openings(connection, places, prefix.occurred, *here).get((sku, location), NO_SUMS)
    query = select(*_LINE_SUMS).where(*of_row(sku, location), *counted(prefix))
    return row_from(together([opening, connection.execute(query).one()]))


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
