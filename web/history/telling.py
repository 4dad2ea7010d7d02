"""What the ledger found, in the words of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from core.positions import format_position
from domain.rows import NO_STOCK, Row
from ledger.history import At, Entry
from ledger.lines import OUTCOMES, TYPES
from ledger.questions.prefixes import time_text
from web.history.bodies import EntryBody, PastBody, PastRowBody, PastSkuBody
from web.reads.replies import RowBody, row_body


def row_of(at: At) -> RowBody:
    """A row as any worker shows it."""
    assert at.row is not None
    return row_body(at.sku, at.location, at.row)


def past_row(at: At, history: PastBody) -> PastRowBody:
    """The same with what it is of."""
    return PastRowBody(**_fields(row_of(at)), history=history)


def past_sku(sku: str, rows: Sequence[At], history: PastBody) -> PastSkuBody:
    """All rows of a SKU, and their sums."""
    total = NO_STOCK
    for at in rows:
        assert at.row is not None
        more = msgspec.structs.asdict(at.row).items()
        sums = {name: getattr(total, name) + value for name, value in more}
        sums["checksum"] %= 2**64
        total = Row(**sums | {"updated_at": max(total.updated_at, at.row.updated_at)})
    fields = _fields(row_body(sku, "", total))
    del fields["location"]
    return PastSkuBody(**fields, items=[row_of(at) for at in rows], history=history)


def _fields(body: RowBody) -> dict[str, Any]:
    fields = msgspec.structs.asdict(body)
    del fields["freshness"]
    return fields


def entry_body(entry: Entry, topics: Mapping[int, str]) -> EntryBody:
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
