"""What answers about the past look like."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Struct, UnsetType

from web.http.times import Time
from web.reads.replies import Hex16, RowBody


class PastBody(Struct, frozen=True):
    """Which prefix of the log an answer is the fold of, and who answers.

    position: the last record of each topic that counts. as_of: the time that was asked for, by
    `clock`; both null where a position was asked for, or everything there is. begins: facts until
    then are kept as one sum for each row; null: each is there.
    """

    ledger: str
    position: str
    as_of: Time | None
    clock: str | None
    begins: Time | None


class PastRowBody(Struct, frozen=True):
    """One row as it was; `damaged` as in rows of now."""

    sku: str
    location: str
    on_hand: int
    received: int
    dispatched: int
    sold: int
    returned: int
    adjusted: int
    events: int
    checksum: Hex16
    updated_at: Time
    history: PastBody
    damaged: int | UnsetType = UNSET


class PastSkuBody(Struct, frozen=True):
    """Sums over all locations as they were, and the rows."""

    sku: str
    on_hand: int
    received: int
    dispatched: int
    sold: int
    returned: int
    adjusted: int
    events: int
    checksum: Hex16
    updated_at: Time
    items: list[RowBody]
    history: PastBody
    damaged: int | UnsetType = UNSET


class PastListBody(Struct, frozen=True):
    """A page of rows as they were; one may hold fewer than `limit`, and still have a cursor."""

    items: list[RowBody]
    next_cursor: str | None
    history: PastBody


class ReportBody(Struct, frozen=True):
    """A report: what its rows hold stands in docs/history.md. from: it is of facts from then on."""

    report: str
    since: Time | None = msgspec.field(name="from")
    rows: list[dict[str, str | int | None]]
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
    """Facts of a row in the order of a clock, and the row at the same position.

    opening: what was on hand from facts that are gone; 0 unless `history.begins` says so.
    """

    sku: str
    location: str
    clock: str
    facts: list[EntryBody]
    next_cursor: str | None
    opening: int
    row: RowBody | None
    history: PastBody
