"""The closed set of events, and the way in: decode, or refuse and say why.

The rules (section 2 of the design; `domain/checks.py`) belong to the version: `RULES` is
their number. Addresses (`missing_key`, `key_mismatch`, `misrouted`) and duplicates
(`id_conflict`) are checked by the fold, after these: what is refused for its address is
otherwise sound, so that it can be sent again to the right one.

Two readers, one answer. `msgspec` reads the usual event in half a microsecond. What it
does not take, `examine` reads again with care: it finds the reason, or accepts what msgspec
is too strict for (2.0 as a quantity, leap seconds, lone surrogates in unknown fields). And
what msgspec takes too easily, `_is_plain` sends back. `examine` alone is the definition.
"""

import re
import zlib
from collections.abc import Sequence
from datetime import UTC
from typing import Annotated, ClassVar, Literal, TypeAlias, cast

import msgspec
from msgspec import Meta, Struct

from domain.checks import (
    MAX_DEPTH,
    MAX_NAME_CHARS,
    MAX_QUANTITY,
    Refusal,
    Refused,
    Time,
    are_good_names,
    bound_of_depth,
    check_names,
    examine,
    is_utf8,
)

# For those who use events.
__all__ = [
    "MAX_DEPTH",
    "MAX_NAME_CHARS",
    "MAX_QUANTITY",
    "Refusal",
    "Refused",
    "are_good_names",
    "check_names",
]

RULES = 1

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
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
    """A signed change and why: damage, theft, found, opening, count, correction or else."""

    sku: Name
    location: Name
    quantity: Change
    reason: Reason
    reference: str | None = None
    actor: str | None = None

    def __post_init__(self) -> None:
        if self.quantity == 0:
            raise ValueError("an adjustment by 0 changes nothing")


class _Event(Struct, frozen=True, gc=False, kw_only=True, tag_field="type"):
    """A structured-mode CloudEvent. `kind` numbers the types for ever (see `contents`)."""

    role: ClassVar[str]
    kind: ClassVar[int]

    specversion: Literal["1.0"]
    id: Name
    source: Name
    time: Time | None = None


class ShipmentReceived(_Event, frozen=True, gc=False, tag="inventory.shipment.received.v1"):
    """Goods came in."""

    role: ClassVar[str] = "shipments"
    kind: ClassVar[int] = 0
    data: Goods


class ShipmentDispatched(_Event, frozen=True, gc=False, tag="inventory.shipment.dispatched.v1"):
    """Goods left for elsewhere; a transfer is received there under the same reference."""

    role: ClassVar[str] = "shipments"
    kind: ClassVar[int] = 1
    data: Goods


class SaleCompleted(_Event, frozen=True, gc=False, tag="inventory.sale.completed.v1"):
    """Goods were sold."""

    role: ClassVar[str] = "sales"
    kind: ClassVar[int] = 2
    data: Goods


class SaleReturned(_Event, frozen=True, gc=False, tag="inventory.sale.returned.v1"):
    """Sold goods came back."""

    role: ClassVar[str] = "sales"
    kind: ClassVar[int] = 3
    data: Goods


class StockAdjusted(_Event, frozen=True, gc=False, tag="inventory.stock.adjusted.v1"):
    """Somebody counted, found, broke or lost something."""

    role: ClassVar[str] = "adjustments"
    kind: ClassVar[int] = 4
    data: Adjustment


StockEvent: TypeAlias = (
    ShipmentReceived | ShipmentDispatched | SaleCompleted | SaleReturned | StockAdjusted
)

EVENTS: dict[str, type[StockEvent]] = {
    "inventory.shipment.received.v1": ShipmentReceived,
    "inventory.shipment.dispatched.v1": ShipmentDispatched,
    "inventory.sale.completed.v1": SaleCompleted,
    "inventory.sale.returned.v1": SaleReturned,
    "inventory.stock.adjusted.v1": StockAdjusted,
}

TYPES_OF_TOPIC: dict[str, frozenset[str]] = {
    role: frozenset(name for name, event in EVENTS.items() if event.role == role)
    for role in ("shipments", "sales", "adjustments")
}

_fast = msgspec.json.Decoder(StockEvent).decode
# What the fast reader raises for a value that is not for it: None is a TypeError, invalid
# UTF-8 a UnicodeDecodeError. `examine` then decides, so nothing is decided in silence here.
_NOT_FAST = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError)
# What msgspec reads in its own way: see `_is_plain`.
_BARE_OFFSET = re.compile(rb':\d\d(?:\.\d+)?[+-]\d{4}"')
_ESCAPED = re.compile(rb"\\u00[23]")  # digits and signs in disguise

_SIGNED = {name: event is StockAdjusted for name, event in EVENTS.items()}


def _exact(value: bytes | None) -> StockEvent | Refused:
    """Read one value by the rules, step by step."""
    checked = examine(value, _SIGNED)
    if isinstance(checked, Refused):
        return checked
    event: StockEvent = msgspec.convert(checked, StockEvent)
    return event


def decode(value: bytes | None) -> StockEvent | Refused:
    """Read one record's value with every check of `domain/checks.py`. Never raises."""
    event = decode_batch([value])[0]
    if isinstance(event, Refused):
        return event
    return check_names(event.data.sku, event.data.location) or event


def decode_batch(values: Sequence[bytes | None]) -> list[StockEvent | Refused]:
    """Read many values; as `decode` on each, but for the characters of names.

    The fold knows most rows already and calls `check_names` only for those it does not.
    """
    decoded: list[StockEvent | Refused] = []
    rest, is_plain = iter(values), True
    while len(decoded) < len(values):
        try:
            # extend() keeps what came before an exception, and `rest` goes on behind it.
            decoded.extend(map(_fast, rest))  # type: ignore[arg-type]  # None: _NOT_FAST
        except _NOT_FAST:
            decoded.append(_exact(values[len(decoded)]))
            is_plain = False
    if is_plain and _are_plain(cast("list[bytes]", values), cast("list[StockEvent]", decoded)):
        return decoded
    for i, value in enumerate(values):
        event = decoded[i]
        if value and not isinstance(event, Refused) and not _is_plain(value, event):
            decoded[i] = _exact(value)
    return decoded


def _are_plain(values: list[bytes], events: list[StockEvent]) -> bool:
    """Tell the same as `_is_plain` of all at once, where it is easy to see."""
    joined = b"".join(values)
    return (
        joined.isascii()
        and b"\\" not in joined
        and max(map(len, values), default=0) <= 2 * MAX_DEPTH
        and b'+0000"' not in joined
        and b'-0000"' not in joined
        and not [e for e in events if e.time is not None and e.time.tzinfo is not UTC]
    )


def _is_plain(value: bytes, event: StockEvent) -> bool:
    """Tell whether the fast reader's word on what it accepted can be trusted.

    It skips unknown fields without looking at their UTF-8, the depth it can take depends
    on the caller's stack, and it takes offsets without colon.
    """
    return (
        is_utf8(value)
        and bound_of_depth(value) <= MAX_DEPTH
        and not (event.time and _BARE_OFFSET.search(value))
        and not _ESCAPED.search(value)
    )


def identity(event: StockEvent) -> bytes:
    """Return source, NUL, id: what the row's checksum sums the CRC-32 of."""
    return f"{event.source}\x00{event.id}".encode()


def contents(events: Sequence[StockEvent], places: Sequence[bytes]) -> list[int]:
    """Return 32 bits of each event's type and data, to tell a repetition from a conflict.

    `places` are the keys of their rows, which the fold has made already.

    The seed differs for any two (type, quantity) of one topic: quantities of shipments and
    sales are below 2^30 and the kind takes the bits above, adjustments are alone in theirs.
    A CRC-32 is one-to-one in its seed, so another type or quantity is always seen; another
    SKU, location, reason, reference or actor is missed once in 2^32 conflicts.
    """
    seeds = [event.data.quantity + (event.kind << 30) & 0xFFFFFFFF for event in events]
    crcs = list(map(zlib.crc32, places, seeds))
    for i, event in enumerate(events):
        data = event.data
        if data.reference is not None or data.reason is not None or data.actor is not None:
            # As a JSON array ("a", None) differs from (None, "a").
            words = msgspec.json.encode((data.reason, data.reference, data.actor))
            crcs[i] = zlib.crc32(words, crcs[i])
    return crcs
