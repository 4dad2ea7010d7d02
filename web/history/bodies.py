"""What answers about the past look like."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from core.positions import format_position
from domain.rows import NO_STOCK, Row
from ledger.books import OUTCOMES, TYPES
from ledger.history import At, Entry, time_text
from web.http.times import Time
from web.reads.replies import RowBody, row_body


class PastBody(Struct, frozen=True):
    """Which prefix of the log an answer is the fold of, and who answers.

    position: the last record of each topic that counts. as_of: the time that was asked for, by
    `clock`; both null where a position was asked for, or everything there is.
    """

    ledger: str
    position: str
    as_of: Time | None
    clock: str | None


class PastRowBody(Struct, frozen=True):
    """One row as it was."""

    row: RowBody
    history: PastBody


class PastSkuBody(Struct, frozen=True):
    """All rows of a SKU as they were; the sums over them are in `total`, without a location."""

    sku: str
    on_hand: int
    events: int
    items: list[RowBody]
    history: PastBody


class EntryBody(Struct, frozen=True, omit_defaults=True):
    """One line of the ledger: a record, what became of it, and the balance after it.

    change: what it added to on hand; 0 where it was not applied. of: position of the fact that
    it repeats. refused, detail: why it was refused.
    """

    position: str
    recorded_at: Time
    occurred_at: Time | None
    outcome: str
    type: str | None
    quantity: int | None
    change: int
    balance: int | None
    source: str | None
    id: str | None
    reference: str | None = None
    reason: str | None = None
    actor: str | None = None
    of: str | None = None
    refused: str | None = None
    detail: str | None = None


class TimelineBody(Struct, frozen=True):
    """Facts of a row in the order of a clock, and the row at the same position."""

    sku: str
    location: str
    clock: str
    facts: list[EntryBody]
    next_cursor: str | None
    row: RowBody | None
    history: PastBody


def row_of(at: At) -> RowBody:
    """A row as any worker shows it."""
    assert at.row is not None
    return row_body(at.sku, at.location, at.row)


def sums_of(rows: Iterable[At]) -> Row:
    """All of them in one."""
    total = NO_STOCK
    for at in rows:
        if at.row is not None:
            more = msgspec.structs.asdict(at.row).items()
            sums = {name: getattr(total, name) + value for name, value in more}
            total = Row(**sums | {"updated_at": max(total.updated_at, at.row.updated_at)})
    return total


def entry_body(entry: Entry, topics: list[str]) -> EntryBody:
    """A line as the world sees it."""
    topic, part = topics[entry.topic], entry.part
    refused, detail = entry.refused or (None, None)
    return EntryBody(
        position=format_position({(topic, part): entry.offset}),
        recorded_at=time_text(entry.recorded_at),
        occurred_at=None if entry.occurred_at is None else time_text(entry.occurred_at),
        outcome=str(OUTCOMES[entry.outcome]),
        type=None if entry.kind is None else TYPES[entry.kind],
        quantity=entry.quantity,
        change=entry.change,
        balance=entry.balance,
        source=entry.source,
        id=entry.id,
        reference=entry.reference,
        reason=entry.reason,
        actor=entry.actor,
        of=None if entry.repeat_of is None else format_position({(topic, part): entry.repeat_of}),
        refused=refused,
        detail=detail,
    )
