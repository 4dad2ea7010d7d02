"""The closed set of events, and who gets in: decode, or refuse and say why.

The rules (section 2 of the design) belong to the version: `RULES` is their number.
Checks run in this order and the first that fails names the refusal:

1. `null_value`: the record has no value.
2. `not_json`: not UTF-8, not JSON (RFC 8259: no BOM, no NaN), or nested deeper than
   `MAX_DEPTH`. Of a repeated name in an object the last one counts.
3. `bad_envelope`: not an object; specversion, id, source, type or data missing or wrong.
4. `unknown_type`.
5. `bad_time`.
6. `bad_data`: fields, then the characters of the SKU and the location.

Addresses (`missing_key`, `key_mismatch`, `misrouted`) and duplicates (`id_conflict`) are
checked by the fold, after these: what is refused for its address is otherwise sound, so
that it can be sent again to the right one.

Two readers, one answer. `msgspec` reads the usual event in half a microsecond. What it
does not take, `_examine` reads again with care, finds the reason, or accepts what msgspec
is too strict for: whole floats (2.0), leap seconds, lone surrogates in unknown fields.
`_examine` alone is the definition; tests hold the fast reader against it.

Times are RFC 3339: `t`, `z` and, as its section 5.6 notes, a space for the `T` will do. Years
run from 0001; second 60 is taken in the last minute of a UTC day and kept as 59. msgspec
also takes an offset without colon (+0100); `_is_plain` finds these.
"""

import json
import re
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import accumulate
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, cast

import msgspec
from msgspec import Meta, Struct

RULES = 1
MAX_NAME_CHARS = 128
MAX_QUANTITY = 10**9
MAX_DEPTH = 256

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
Change: TypeAlias = Annotated[int, Meta(ge=-MAX_QUANTITY, le=MAX_QUANTITY)]
Reason: TypeAlias = Annotated[str, Meta(min_length=1)]
Time: TypeAlias = Annotated[datetime, Meta(tz=True)]


class Refusal(StrEnum):
    """Why a record was not applied; each says who can heal it."""

    NOT_JSON = "not_json"  # producer: send it again, corrected, with a new id
    BAD_ENVELOPE = "bad_envelope"  # producer, as above
    BAD_DATA = "bad_data"  # producer, as above
    BAD_TIME = "bad_time"  # producer, as above
    UNKNOWN_TYPE = "unknown_type"  # the version that knows the type
    MISSING_KEY = "missing_key"  # `onhand dlq replay`
    KEY_MISMATCH = "key_mismatch"  # `onhand dlq replay`
    MISROUTED = "misrouted"  # `onhand dlq replay`, and the producer's partitioner
    NULL_VALUE = "null_value"  # nobody: it holds no fact
    ID_CONFLICT = "id_conflict"  # producer: one id was given to two facts


class Refused(Struct, frozen=True, gc=False):
    """A record that was not applied. `detail` is one ASCII sentence for a person."""

    reason: Refusal
    detail: str


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
    """A structured-mode CloudEvent. `kind` numbers the types for ever (see `content`)."""

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
# UTF-8 a UnicodeDecodeError. `_examine` then decides, so nothing is decided in silence here.
_NOT_FAST = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError)


def decode(value: bytes | None) -> StockEvent | Refused:
    """Read one record's value with every check of this module. Never raises."""
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
            decoded.append(_examine(values[len(decoded)]))
            is_plain = False
    if is_plain and _are_plain(cast("list[bytes]", values), cast("list[StockEvent]", decoded)):
        return decoded
    for i, value in enumerate(values):
        event = decoded[i]
        if value and not isinstance(event, Refused) and not _is_plain(value, event):
            decoded[i] = _examine(value)
    return decoded


def _are_plain(values: list[bytes], events: list[StockEvent]) -> bool:
    """Tell the same as `_is_plain` of all at once, where it is easy to see."""
    joined = b"".join(values)
    return (
        joined.isascii()
        and b"\\" not in joined
        and max(map(len, values), default=0) <= 2 * MAX_DEPTH
        and b'0000"' not in joined
        and not [e for e in events if e.time is not None and e.time.tzinfo is not UTC]
    )


def _is_plain(value: bytes, event: StockEvent) -> bool:
    """Tell whether the fast reader's word on what it accepted can be trusted.

    It skips unknown fields without looking at their UTF-8, the depth it can take depends
    on the caller's stack, and it takes offsets without colon.
    """
    return (
        _is_utf8(value)
        and _opens(value) <= MAX_DEPTH
        and not (event.time and _BARE_OFFSET.search(value))
        and not _ESCAPED.search(value)
    )


def check_names(sku: str, location: str) -> Refused | None:
    """Refuse names that cannot be shown or put into a path; lengths are checked before."""
    for what, name in (("sku", sku), ("location", location)):
        if not _GOOD_NAME.fullmatch(name) and _BAD_NAME.search(name):
            return Refused(
                Refusal.BAD_DATA,
                f"data.{what} {_show(name)} has a control character or a space at an end, "
                "or is '.' or '..'.",
            )
    return None


def identity(event: StockEvent) -> bytes:
    """Return source, NUL, id: what the row's checksum sums the CRC-32 of."""
    return f"{event.source}\x00{event.id}".encode()


def content(event: StockEvent) -> int:
    """Return 32 bits of an event's type and data, to tell a repetition from a conflict.

    The seed differs for any two (type, quantity) of one topic: quantities of shipments and
    sales are below 2^30 and the kind takes the bits above, adjustments are alone in theirs.
    A CRC-32 is one-to-one in its seed, so another type or quantity is always seen; another
    SKU, location, reason, reference or actor is missed once in 2^32 conflicts.
    """
    data = event.data
    seed = (data.quantity + (event.kind << 30)) & 0xFFFFFFFF
    crc = zlib.crc32(f"{data.sku}\x00{data.location}".encode(), seed)
    if data.reference is None and data.reason is None and data.actor is None:
        return crc
    # As a JSON array ("a", None) differs from (None, "a").
    return zlib.crc32(msgspec.json.encode((data.reason, data.reference, data.actor)), crc)


# Nearly all names: printable ASCII without spaces, and longer than a dot or two.
_GOOD_NAME = re.compile(r"[!-~]{3,}")
_BAD_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f]|\A | \Z|\A\.\.?\Z")
# Takes an unclosed string to the end, so that a hostile value costs one pass.
_STRING = re.compile(rb'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)
_TIME = re.compile(r"(.{10}[Tt ]\d\d:\d\d:)(\d\d)((?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d))", re.ASCII)
_BARE_OFFSET = re.compile(rb':\d\d(?:\.\d+)?[+-]\d{4}"')
_ESCAPED = re.compile(rb"\\u00[23]")  # digits and signs in disguise


class _Wrong(Exception):
    """A check failed; carries the refusal out of `_examine`."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(reason, detail)
        self.refused = Refused(reason, detail)


def _examine(value: bytes | None) -> StockEvent | Refused:
    """Read one value by the rules, step by step; slow and exact."""
    try:
        if value is None:
            raise _Wrong(Refusal.NULL_VALUE, "The record has no value.")
        envelope = _envelope(_parse(value))
        envelope["time"] = _time(envelope.get("time"))
        envelope["data"] = _data(envelope["data"], EVENTS[envelope["type"]])
        event: StockEvent = msgspec.convert(envelope, StockEvent)
        return event
    except _Wrong as wrong:
        return wrong.refused


def _parse(value: bytes) -> Any:
    if not _is_utf8(value):
        raise _Wrong(Refusal.NOT_JSON, "The value is not UTF-8.")
    if _opens(value) > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise _Wrong(Refusal.NOT_JSON, f"The value is nested deeper than {MAX_DEPTH}.")
    try:
        return json.loads(value.decode(), parse_int=_number, parse_constant=_not_a_number)
    except json.JSONDecodeError as error:
        raise _Wrong(
            Refusal.NOT_JSON, f"The value is not JSON: {error.msg} at character {error.pos}."
        ) from None


def _number(digits: str) -> int | float:
    # Python refuses to read integers of more than 4,300 digits; none of ours has 20.
    return int(digits) if len(digits) < 20 else float(digits)


def _not_a_number(name: str) -> None:
    raise _Wrong(Refusal.NOT_JSON, f"The value is not JSON: it has no {name}.")


def _envelope(envelope: Any) -> dict[str, Any]:
    if not isinstance(envelope, dict):
        raise _Wrong(Refusal.BAD_ENVELOPE, "The value is not a JSON object.")
    if envelope.get("specversion") != "1.0":
        raise _Wrong(Refusal.BAD_ENVELOPE, "specversion is not '1.0'.")
    for field in ("id", "source"):
        _name(envelope, field, field, Refusal.BAD_ENVELOPE)
    kind = envelope.get("type")
    if not isinstance(kind, str):
        raise _Wrong(Refusal.BAD_ENVELOPE, "type is missing or not a string.")
    if "data" not in envelope:
        raise _Wrong(Refusal.BAD_ENVELOPE, "data is missing.")
    if kind not in EVENTS:
        raise _Wrong(Refusal.UNKNOWN_TYPE, f"type {_show(kind)} is not known to these rules.")
    return envelope


def _time(time: Any) -> datetime | None:
    if time is None:
        return None
    if not isinstance(time, str):
        raise _Wrong(Refusal.BAD_TIME, "time is not a string.")
    found = _TIME.fullmatch(time)
    if found:
        leap = found[2] == "60"
        try:
            moment = msgspec.convert(found[1] + ("59" if leap else found[2]) + found[3], Time)
            if not leap or moment.astimezone(UTC).strftime("%H:%M") == "23:59":
                return moment
        except (msgspec.ValidationError, UnicodeEncodeError, OverflowError):
            pass
    raise _Wrong(Refusal.BAD_TIME, f"time {_show(time)} is not RFC 3339 with an offset.")


def _data(data: Any, event: type[StockEvent]) -> dict[str, Any]:
    """Check `data`; return it with the quantity as an integer."""
    if not isinstance(data, dict):
        raise _Wrong(Refusal.BAD_DATA, "data is not an object.")
    for field in ("sku", "location"):
        _name(data, field, f"data.{field}", Refusal.BAD_DATA)
    for field in ("reason", "reference", "actor"):
        word = data.get(field)
        if word is not None and not (isinstance(word, str) and _is_text(word)):
            raise _Wrong(Refusal.BAD_DATA, f"data.{field} is not a text.")
    adjusted = event is StockAdjusted
    quantity = _quantity(data.get("quantity"), least=-MAX_QUANTITY if adjusted else 1)
    if adjusted and (quantity == 0 or not data.get("reason")):
        raise _Wrong(Refusal.BAD_DATA, "An adjustment needs a quantity other than 0 and a reason.")
    return data | {"quantity": quantity}


def _name(fields: dict[str, Any], field: str, path: str, reason: Refusal) -> None:
    name = fields.get(field)
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_CHARS or not _is_text(name):
        raise _Wrong(reason, f"{path} is not a text of 1 to {MAX_NAME_CHARS} characters.")


def _quantity(quantity: Any, least: int) -> int:
    if isinstance(quantity, float) and quantity.is_integer():
        quantity = int(quantity)
    if type(quantity) is not int or not least <= quantity <= MAX_QUANTITY:
        raise _Wrong(
            Refusal.BAD_DATA,
            f"data.quantity is not a whole number from {least} to {MAX_QUANTITY}.",
        )
    return quantity


def _words(data: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    words = data.get("reason"), data.get("reference"), data.get("actor")
    for field, word in zip(("reason", "reference", "actor"), words, strict=True):
        if word is not None and not (isinstance(word, str) and _is_text(word)):
            raise _Wrong(Refusal.BAD_DATA, f"data.{field} is not a text.")
    return words


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_text(text: str) -> bool:
    """Tell whether UTF-8 can carry it; JSON may hold lone surrogates, which it cannot."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _opens(value: bytes) -> int:
    """Return an upper bound of the depth, at no cost."""
    return value.count(b"{") + value.count(b"[")


def _depth(value: bytes) -> int:
    """Return how deep objects and arrays are nested; exact for well-formed JSON."""
    steps = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
    return max(accumulate(steps.get(byte, 0) for byte in _STRING.sub(b"", value)), default=0)


def _show(text: str) -> str:
    """Quote a stranger's text for a log or a header: ASCII, short, no line breaks."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
