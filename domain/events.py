"""The closed set of events of stock, and what each says.

How a record is read is in `domain/reading.py`, by the checks of `domain/checks.py`. Which of
these types a version knows, and what each does to a row, is said by its rules
(`domain/rules/`).
"""

import zlib
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from domain.checks import (
    MAX_DEPTH,
    MAX_ID_CHARS,
    MAX_QUANTITY,
    Moment,
    Refusal,
    are_good_names,
    check_names,
)
from domain.names import MAX_NAME_CHARS

# For those who use events.
__all__ = [
    "MAX_DEPTH",
    "MAX_ID_CHARS",
    "MAX_NAME_CHARS",
    "MAX_QUANTITY",
    "Refusal",
    "are_good_names",
    "check_names",
]

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
Change: TypeAlias = Annotated[int, Meta(ge=-MAX_QUANTITY, le=MAX_QUANTITY)]
Reason: TypeAlias = Annotated[str, Meta(min_length=1)]


class Goods(Struct, frozen=True, gc=False):
    """How many of what, where. Quantity in the SKU's smallest unit."""

    sku: Name
    location: Name
    quantity: Count
    reason: str | None = None
    reference: str | None = None
    actor: str | None = None


class Adjustment(Struct, frozen=True, gc=False, kw_only=True):
    """A signed change and why: damage, theft, found, opening, count, correction or else.

    A change of 0 is a count that found what was expected.
    """

    sku: Name
    location: Name
    quantity: Change
    reason: Reason
    reference: str | None = None
    actor: str | None = None


class _Event(Struct, frozen=True, gc=False, kw_only=True, tag_field="type"):
    """A CloudEvent. `kind` numbers the types for ever (see `contents`).

    opposite: the type of the facts that undo its own, where quantities have no sign.
    data_base64: never kept; where there is one, the exact reader reads it as `data`.
    """

    role: ClassVar[str]
    kind: ClassVar[int]
    opposite: ClassVar[str | None] = None

    specversion: Literal["1.0"]
    id: Id
    source: Id
    time: Moment | None = None
    data_base64: None = None


class ShipmentReceived(_Event, frozen=True, gc=False, tag="inventory.shipment.received.v1"):
    """Goods came in."""

    role: ClassVar[str] = "shipments"
    kind: ClassVar[int] = 0
    opposite: ClassVar[str | None] = "inventory.shipment.dispatched.v1"
    data: Goods


class ShipmentDispatched(_Event, frozen=True, gc=False, tag="inventory.shipment.dispatched.v1"):
    """Goods left for elsewhere; a transfer is received there under the same reference."""

    role: ClassVar[str] = "shipments"
    kind: ClassVar[int] = 1
    opposite: ClassVar[str | None] = "inventory.shipment.received.v1"
    data: Goods


class SaleCompleted(_Event, frozen=True, gc=False, tag="inventory.sale.completed.v1"):
    """Goods were sold."""

    role: ClassVar[str] = "sales"
    kind: ClassVar[int] = 2
    opposite: ClassVar[str | None] = "inventory.sale.returned.v1"
    data: Goods


class SaleReturned(_Event, frozen=True, gc=False, tag="inventory.sale.returned.v1"):
    """Sold goods came back."""

    role: ClassVar[str] = "sales"
    kind: ClassVar[int] = 3
    opposite: ClassVar[str | None] = "inventory.sale.completed.v1"
    data: Goods


class StockAdjusted(_Event, frozen=True, gc=False, tag="inventory.stock.adjusted.v1"):
    """Somebody counted, found, broke or lost something."""

    role: ClassVar[str] = "adjustments"
    kind: ClassVar[int] = 4
    data: Adjustment


class SaleVoided(_Event, frozen=True, gc=False, tag="inventory.sale.voided.v1"):
    """A sale was taken back before the goods had left: known from rules 3 on."""

    role: ClassVar[str] = "sales"
    kind: ClassVar[int] = 5
    opposite: ClassVar[str | None] = "inventory.sale.completed.v1"
    data: Goods


StockEvent: TypeAlias = (
    ShipmentReceived
    | ShipmentDispatched
    | SaleCompleted
    | SaleReturned
    | StockAdjusted
    | SaleVoided
)


def identity(event: StockEvent) -> bytes:
    """Return source, NUL, id: what the row's checksum sums the CRC-32 of."""
    return f"{event.source}\x00{event.id}".encode()


def content(event: StockEvent) -> tuple[Any, ...]:
    """Return what an event says besides who says it and when; equal in repetitions.

    Not the actor: a till's retry after a change of cashier is the same sale. And `""` is none.
    """
    data = event.data
    words = (data.reason or None, data.reference or None)
    return event.kind, data.sku, data.location, data.quantity, *words


def contents(events: Sequence[StockEvent], places: Sequence[bytes]) -> list[int]:
    """Return 32 bits of each event's `content`, to tell a repetition from a conflict.

    `places` are the keys of their rows, which the fold has made already.

    The seed differs for any two (type, quantity) of one topic: quantities of shipments and
    sales are below 2^30 and the kind takes the two bits above, which are others for each type
    of a topic; adjustments are alone in theirs.
    A CRC-32 is one-to-one in its seed, so another type or quantity is always seen; another
    SKU, location, reason or reference is missed once in 2^32 conflicts.
    """
    seeds = [event.data.quantity + (event.kind << 30) & 0xFFFFFFFF for event in events]
    crcs = list(map(zlib.crc32, places, seeds))
    for i, event in enumerate(events):
        data = event.data
        if data.reason or data.reference:
            # As a JSON array ("a", None) differs from (None, "a").
            words = msgspec.json.encode((data.reason or None, data.reference or None))
            crcs[i] = zlib.crc32(words, crcs[i])
    return crcs
