"""The closed set of events, and the way in: decode, or refuse and say why.

The rules (section 2 of the design; `domain/checks.py`) belong to the version: `RULES` is
their number. Addresses (`missing_key`, `key_mismatch`, `misrouted`) and duplicates
(`id_conflict`) are checked by the fold, after these: what is refused for its address is
otherwise sound, so that it can be sent again to the right one.

Two readers, one answer. `msgspec` reads the usual event in half a microsecond. What it
does not take, `examine` reads again with care: it finds the reason, or accepts what msgspec
is too strict for (2.0 as a quantity, leap seconds, lone surrogates in unknown fields). And
what msgspec takes too easily, `_is_plain` sends back. `examine` alone is the definition.

An event comes in structured or in binary mode (`domain/modes.py`), and is the same event in
both: nothing here or behind remembers which.
"""

import re
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, cast

import msgspec
from msgspec import Meta, Struct

from core.records import Headers
from core.refusals import Refused
from domain.checks import (
    MAX_DEPTH,
    MAX_ID_CHARS,
    MAX_QUANTITY,
    Kind,
    Moment,
    Refusal,
    are_good_names,
    bound_of_depth,
    check_names,
    examine,
    is_utf8,
)
from domain.modes import (
    CONTENT_TYPE,
    SPECVERSION,
    Media,
    are_structured,
    is_binary,
    is_structured,
    media_of,
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

RULES = 2

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

    data_base64: never kept; where there is one, the exact reader reads it as `data`.
    """

    role: ClassVar[str]
    kind: ClassVar[int]

    specversion: Literal["1.0"]
    id: Id
    source: Id
    time: Moment | None = None
    data_base64: None = None


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
_ESCAPED = re.compile(rb"\\u00(?:[23]|00)")  # digits and signs in disguise, and U+0000

_READERS: dict[bytes | None, tuple[Any, Any]] = {
    name.encode(): (event, msgspec.json.Decoder(data).decode)
    for name, event in EVENTS.items()
    for data in [Adjustment if event is StockAdjusted else Goods]
}
_read_times = msgspec.json.Decoder(list[Moment]).decode
_NOT_QUICK = (*_NOT_FAST, ValueError, KeyError, AttributeError)

_OPPOSITES = {
    "inventory.shipment.received.v1": "inventory.shipment.dispatched.v1",
    "inventory.sale.completed.v1": "inventory.sale.returned.v1",
}
_OPPOSITES |= {opposite: name for name, opposite in _OPPOSITES.items()}
_KINDS = {
    name: Kind(signed=event is StockAdjusted, opposite=_OPPOSITES.get(name))
    for name, event in EVENTS.items()
}


def _exact(value: bytes | None, headers: Headers = ()) -> StockEvent | Refused:
    """Read one record by the rules, step by step."""
    checked = examine(value, headers, _KINDS)
    if isinstance(checked, Refused):
        return checked
    event: StockEvent = msgspec.convert(checked, StockEvent)
    return event


def decode(value: bytes | None, headers: Headers = ()) -> StockEvent | Refused:
    """Read one record with every check of `domain/checks.py`. Never raises."""
    event = decode_batch([value], [headers])[0]
    if isinstance(event, Refused):
        return event
    return check_names(event.data.sku, event.data.location) or event


def decode_batch(
    values: Sequence[bytes | None], headers: Sequence[Headers]
) -> list[StockEvent | Refused]:
    """Read many records; as `decode` on each, but for the characters of names.

    The fold knows most rows already and calls `check_names` only for those it does not.
    """
    if are_structured(headers):
        return _structured(values)
    events = _binary(values, headers)
    if events is not None:
        return cast("list[StockEvent | Refused]", events)
    return [_either(*each) for each in zip(values, headers, strict=True)]


def _structured(values: Sequence[bytes | None]) -> list[StockEvent | Refused]:
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
        _are_short(values, joined)
        and b'+0000"' not in joined
        and b'-0000"' not in joined
        and not [e for e in events if e.time is not None and e.time.tzinfo is not UTC]
    )


def _is_plain(value: bytes, event: StockEvent) -> bool:
    """Tell whether the fast reader's word on what it accepted can be trusted.

    It skips unknown fields without looking at their UTF-8, the depth it can take depends
    on the caller's stack, it takes offsets without colon, and U+0000 in texts.
    """
    return _is_plain_value(value) and not (event.time and _BARE_OFFSET.search(value))


def _is_plain_value(value: bytes | None) -> bool:
    return (
        value is not None
        and is_utf8(value)
        and bound_of_depth(value) <= MAX_DEPTH
        and not _ESCAPED.search(value)
    )


def _binary(values: Sequence[bytes | None], headers: Sequence[Headers]) -> list[StockEvent] | None:
    """Read events in binary mode at once if all are usual ones and their headers alike."""
    columns: dict[str, Sequence[bytes | None]] = {}
    try:
        names = [name for name, _ in headers[0]]
        # The columns first: where one record has a header more, it is they that raise.
        for column, name in zip(zip(*headers, strict=True), names, strict=True):
            columns[name] = values_of = [value for its, value in column if its == name]
            if len(values_of) < len(headers):
                return None
        joined = b"".join(cast("Sequence[bytes]", values))
        read = [_READERS[kind] for kind in columns["ce_type"]]
        idents, sources = _quick_ids(columns["ce_id"]), _quick_ids(columns["ce_source"])
        times = _quick_times(columns.get("ce_time"), len(values))
        if (
            {*columns[SPECVERSION]} != {b"1.0"}
            or {media_of(kind) for kind in {*columns.get(CONTENT_TYPE, (None,))}} != {Media.JSON}
            or not (_are_short(values, joined) or all(map(_is_plain_value, values)))
        ):
            return None
        return [
            kind(specversion="1.0", id=ident, source=source, time=time, data=data(value))
            for (kind, data), ident, source, time, value in zip(
                read, idents, sources, times, values, strict=True
            )
        ]
    except _NOT_QUICK:
        return None


def _either(value: bytes | None, headers: Headers) -> StockEvent | Refused:
    """Read one record among others of other modes or looks."""
    fields = dict(headers)
    if is_structured(fields):
        return _structured([value])[0]
    if is_binary(fields):
        events = _binary([value], [list(fields.items())])
        if events is not None:
            return events[0]
    return _exact(value, headers)


def _quick_ids(ids: Sequence[bytes | None]) -> list[str]:
    """Read ids or sources.

    Raises:
        ValueError, TypeError: one of them is not a usual one.
    """
    joined = b"".join(cast("Sequence[bytes]", ids))
    lengths = {*map(len, cast("Sequence[bytes]", ids))}
    if b"\x00" in joined or 0 in lengths or max(lengths) > MAX_ID_CHARS:
        raise ValueError("not usual ids")
    return list(map(bytes.decode, cast("Sequence[bytes]", ids)))


def _quick_times(times: Sequence[bytes | None] | None, count: int) -> Sequence[datetime | None]:
    """Read times, as the fast reader would read each.

    Raises:
        ValueError, TypeError, msgspec.MsgspecError: one of them is not a usual one.
    """
    if times is None:
        return [None] * count
    joined = b'["%b"]' % b'","'.join(cast("Sequence[bytes]", times))
    # Without a plus and with no dash but the two of each date none has an offset.
    is_utc = b"+" not in joined and joined.count(b"-") <= 2 * count
    if (
        b"\\" in joined
        or joined.count(b'"') != 2 * count
        or not (is_utc or _BARE_OFFSET.search(joined) is None)
    ):
        raise ValueError("not usual times")
    return _read_times(joined)


def _are_short(values: Sequence[bytes | None], joined: bytes) -> bool:
    """Tell whether nothing in these values, side by side, is read by msgspec in its own way."""
    lengths = map(len, cast("Sequence[bytes]", values))
    return joined.isascii() and b"\\" not in joined and max(lengths, default=0) <= 2 * MAX_DEPTH


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
    sales are below 2^30 and the kind takes the bits above, adjustments are alone in theirs.
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
