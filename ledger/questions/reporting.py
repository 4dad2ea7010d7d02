"""Which reports there are, and what is in them. They are made in `ledger/questions/reports.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

#: A cell of a report, and a line.
Value: TypeAlias = str | int | None
Cells: TypeAlias = tuple[Value, ...]
SUMS_OF_ROWS: Final = ("on_hand", "received", "dispatched", "sold", "returned", "adjusted")


class ReportKind(NamedTuple):
    """One kind of report. of_a_time: it is of the facts of a time, not of rows at its end."""

    text: str
    columns: tuple[str, ...]
    of_a_time: bool


REPORTS: Final[Mapping[str, ReportKind]] = {
    "stock-outs": ReportKind(
        "Rows with nothing left, those that sold most first.",
        ("sku", "location", *SUMS_OF_ROWS, "damaged"),
        False,
    ),
    "oversold": ReportKind(
        "Rows with less than nothing: more was sold than came in; the worst first.",
        ("sku", "location", *SUMS_OF_ROWS, "damaged"),
        False,
    ),
    "movers": ReportKind(
        "What sold best, less what came back.",
        ("sku", "net_sold", "sold", "returned", "facts"),
        True,
    ),
    "shrink": ReportKind(
        "What was lost and found, by the reason that was given.",
        ("reason", "net", "lost", "found", "facts"),
        True,
    ),
    "location-totals": ReportKind(
        "All rows of each location in one.",
        ("location", "rows", *SUMS_OF_ROWS, "events", "damaged"),
        False,
    ),
    "late-facts": ReportKind(
        "Facts that were recorded long after they happened, the latest first.",
        (
            *("position", "type", "sku", "location", "quantity", "source", "id"),
            *("occurred_at", "recorded_at", "late_s"),
        ),
        True,
    ),
}
