"""Reports over all rows, or all facts of a time: what a shop asks at the end of a day or a month.

Rows at an earlier moment are what is kept now less what came after: a report as of last week
reads a week of lines, however long the history is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import text

from core.positions import format_position
from domain.rows import ROW_FIELDS
from ledger.history import Ledger
from ledger.lines import TYPES
from ledger.questions.cuts import values_text
from ledger.questions.prefixes import Cuts, time_text
from ledger.questions.reporting import SUMS_OF_ROWS, Cells, Value
from ledger.sums import AMOUNT, FIELD, LINE_SUMS, QUANTITIES


class ReportWish(NamedTuple):
    """What a report is of.

    starts, ends: by topic's number and partition; facts from the one on to before the other.
    late_us: a fact is late that was recorded so long after it happened.
    """

    starts: Cuts
    ends: Cuts
    location: str | None
    late_us: int
    limit: int


def _read(ledger: Ledger, sql: str, wish: ReportWish, **values: Any) -> list[Cells]:
    bound = {"location": wish.location, "limit": wish.limit, **values}
    query = text(sql.replace(":here", "location = :location" if wish.location else "1 = 1"))
    wanted = {name: value for name, value in bound.items() if f":{name}" in query.text}
    return [tuple(map(_plain, line)) for line in ledger.connection.execute(query, wanted)]


def _plain(value: Any) -> Value:
    """PostgreSQL's sums are decimals."""
    return value if value is None or isinstance(value, str) else int(value)


_FIELDS: Final = (*SUMS_OF_ROWS[1:], "damaged")
_SOLD: Final = ROW_FIELDS.index("sold")
_ON_HAND: Final = "received - dispatched - sold + returned + adjusted"
_KEPT: Final = f"SELECT sku, location, {', '.join(_FIELDS)}, events FROM stock WHERE :here"  # noqa: S608


def _rows_sql(ledger: Ledger, wish: ReportWish) -> str:
    """Rows at the end, as a table expression `rows` behind WITH."""
    now = ledger.all_now()
    later = [(*at, end) for at, end in wish.ends.items() if end < now[at]]
    later += [(*at, 0) for at in now.keys() - wish.ends.keys() if now[at]]
    if not later:
        return f"WITH past AS ({_KEPT})"
    sums = ", ".join(f"-{LINE_SUMS[number]}" for number in QUANTITIES)
    total = ", ".join(f"sum({name}) AS {name}" for name in (*_FIELDS, "events"))
    return (
        f"WITH later(topic, part, ends) AS (VALUES {values_text(later)}), "  # noqa: S608  our names
        f"both_of AS ({_KEPT} UNION ALL SELECT sku, location, {sums}, -count(*) "
        "FROM later CROSS JOIN event WHERE event.topic = later.topic AND event.part = later.part "
        "AND event.off >= later.ends AND outcome = 0 AND :here GROUP BY sku, location), "
        f"past AS (SELECT sku, location, {total} FROM both_of GROUP BY sku, location)"
    )


def _stock_outs(ledger: Ledger, wish: ReportWish) -> list[Cells]:
    return _balances(ledger, wish, f"{_ON_HAND} <= 0", "sold DESC, sku, location")


def _oversold(ledger: Ledger, wish: ReportWish) -> list[Cells]:
    return _balances(ledger, wish, f"{_ON_HAND} < 0", "on_hand, sku, location")


def _balances(ledger: Ledger, wish: ReportWish, having: str, order: str) -> list[Cells]:
    sql = (
        f"{_rows_sql(ledger, wish)} SELECT sku, location, {_ON_HAND} AS on_hand, "  # noqa: S608
        f"{', '.join(_FIELDS)} FROM past WHERE events > 0 AND {having} "
        f"ORDER BY {order} LIMIT :limit"
    )
    return _read(ledger, sql, wish)


def _location_totals(ledger: Ledger, wish: ReportWish) -> list[Cells]:
    sums = ", ".join(f"sum({name})" for name in (*SUMS_OF_ROWS[1:], "events", "damaged"))
    sql = (
        f"{_rows_sql(ledger, wish)} SELECT location, count(*), sum({_ON_HAND}), {sums} "  # noqa: S608
        "FROM past WHERE events > 0 GROUP BY location ORDER BY location LIMIT :limit"
    )
    return _read(ledger, sql, wish)


def _facts_sql(wish: ReportWish) -> str:
    """Applied facts of the time, as a table expression `facts` behind WITH."""
    spans = [(*at, wish.starts.get(at, 0), end) for at, end in wish.ends.items()]
    spans = [span for span in spans if span[2] < span[3]] or [(0, 0, 0, 0)]
    return (
        f"WITH span(topic, part, starts, ends) AS (VALUES {values_text(spans)}), "  # noqa: S608
        "facts AS (SELECT event.* FROM span CROSS JOIN event WHERE event.topic = span.topic "
        "AND event.part = span.part AND event.off >= span.starts AND event.off < span.ends "
        "AND outcome = 0 AND :here)"
    )


def _movers(ledger: Ledger, wish: ReportWish) -> list[Cells]:
    sql = (
        f"{_facts_sql(wish)} SELECT sku, "  # noqa: S608
        f"sum(CASE kind WHEN 3 THEN -quantity ELSE {AMOUNT} END) AS net, "
        f"sum(CASE {FIELD} WHEN {_SOLD} THEN {AMOUNT} ELSE 0 END), "
        "sum(CASE kind WHEN 3 THEN quantity ELSE 0 END), count(*) "
        "FROM facts WHERE kind IN (2, 3, 5) GROUP BY sku ORDER BY net DESC, sku LIMIT :limit"
    )
    return _read(ledger, sql, wish)


def _shrink(ledger: Ledger, wish: ReportWish) -> list[Cells]:
    sql = (
        f"{_facts_sql(wish)} SELECT reason, sum(quantity) AS net, "  # noqa: S608
        "sum(CASE WHEN quantity < 0 THEN -quantity ELSE 0 END), "
        "sum(CASE WHEN quantity > 0 THEN quantity ELSE 0 END), count(*) "
        "FROM facts WHERE kind = 4 GROUP BY reason ORDER BY net, reason LIMIT :limit"
    )
    return _read(ledger, sql, wish)


def _late_facts(ledger: Ledger, wish: ReportWish) -> list[Cells]:
    sql = (
        f"{_facts_sql(wish)} SELECT topic, part, off, kind, sku, location, quantity, source, "  # noqa: S608
        "id, occurred_at, recorded_at FROM facts WHERE recorded_at - occurred_at >= :late "
        "ORDER BY recorded_at - occurred_at DESC, topic, part, off LIMIT :limit"
    )
    found: list[Cells] = []
    for topic, part, off, kind, *said, occurred_at, recorded_at in _read(
        ledger, sql, wish, late=wish.late_us
    ):
        position = format_position({(ledger.topics[_int(topic)], _int(part)): _int(off)})
        occurred, recorded = _int(occurred_at), _int(recorded_at)
        times = time_text(occurred), time_text(recorded), (recorded - occurred) // 1_000_000
        found.append((position, TYPES[_int(kind)], *said, *times))
    return found


def _int(value: Value) -> int:
    assert isinstance(value, int)
    return value


_READ: Final[Mapping[str, Callable[[Ledger, ReportWish], list[Cells]]]] = {
    "stock-outs": _stock_outs,
    "oversold": _oversold,
    "movers": _movers,
    "shrink": _shrink,
    "location-totals": _location_totals,
    "late-facts": _late_facts,
}


def read_report(ledger: Ledger, name: str, wish: ReportWish) -> list[Cells]:
    """Lines of one of `ledger.questions.reporting.REPORTS`, in the order of its columns."""
    return _READ[name](ledger, wish)


def columns_of(rows: Sequence[Cells], names: Sequence[str]) -> list[dict[str, Value]]:
    """Rows with the names of their columns."""
    return [dict(zip(names, row, strict=True)) for row in rows]
