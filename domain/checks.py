"""The rules that let a value in, checked one by one: slow, exact, and total.

Checks run in this order and the first that fails names the refusal (`too_large` comes before
all of them, where the record is read: `core/records.py`):

1. `null_value`: the record has no value.
2. `bad_envelope`: its content type is of a form of CloudEvents that is not read, or, in
   binary mode (`domain/modes.py`), of data that is not JSON.
3. `not_json`: not UTF-8, not JSON (RFC 8259: no BOM, no NaN), or nested deeper than
   `MAX_DEPTH`. Of a repeated name in an object the last one counts.
4. `bad_envelope`: not an object; specversion, id, source, type or data missing or wrong.
5. `unknown_type`.
6. `bad_time`.
7. `bad_data`: Base64 and its JSON, fields, then the characters of the SKU and the location.

Times are RFC 3339: `t`, `z` and, as its section 5.6 notes, a space for the `T` will do. Years
run from 0001; second 60 is taken in the last minute of a UTC day and kept as 59. A quantity
is a whole number as an IEEE double says it, so 2.0 and 2e0 are 2. No text holds U+0000.
`null` stands for an optional field left out. `data_base64` holds the JSON of `data`, whatever
datacontenttype says: official SDKs write JSON so. A text in `data` is never read again.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Struct

from core import refusals
from core.records import MAX_RECORD_BYTES, Headers, TooLarge
from core.refusals import Refused
from domain.modes import CONTENT_TYPE, SPECVERSION, Media, attributes, media_of
from domain.names import MAX_NAME_CHARS, fault_of

MAX_ID_CHARS = 1024
MAX_QUANTITY = 10**9
MAX_DEPTH = 256

Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]


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
    TOO_LARGE = (
        refusals.RECORD_TOO_LARGE
    )  # producer: send the fact alone, without what it carries along
    ID_CONFLICT = refusals.ID_CONFLICT  # producer: one id was given to two facts
    NOT_MAPPED = "not_mapped"  # who keeps the map of a bridge, which alone says this


class Kind(Struct, frozen=True):
    """What a known type asks of its data.

    signed: the quantity may be below 0, or 0, and needs a reason.
    opposite: the type of the facts that undo its own, where quantities have no sign.
    """

    signed: bool
    opposite: str | None


def check_names(sku: str, location: str) -> Refused | None:
    """Refuse names that cannot be shown or put into a path."""
    for what, name in (("sku", sku), ("location", location)):
        if fault := fault_of(name):
            return Refused(Refusal.BAD_DATA, f"data.{what} {_show(name)} {fault}.")
    return None


def are_good_names(keys: Sequence[bytes]) -> bool:
    """Tell whether `check_names` refuses none of these rows' keys."""
    joined = b"\n".join(keys)
    # As many lines as keys, or a name holds a line break and reads like two good ones.
    at_once = joined.count(b"\n") < len(keys) and _GOOD_KEYS.fullmatch(joined) is not None
    return at_once or all(map(_is_good_name, keys))


@lru_cache(maxsize=2**15)  # names with spaces, or not in ASCII, come again and again
def _is_good_name(key: bytes) -> bool:
    sku, nul, location = key.decode().partition("\x00")
    return bool(nul) and check_names(sku, location) is None


_PLACE = ("sku", "location")
_WORDS = ("reason", "reference", "actor")
# Nearly all names; lengths are checked before.
_GOOD_KEYS = re.compile(rb"(?:[!-~]{3,}\x00[!-~]{3,}(?:\n|\Z))+")
# Takes an unclosed string to the end, so that a hostile value costs one pass.
_STRING = re.compile(rb'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)
_TIME = re.compile(r"(.{10}[Tt ]\d\d:\d\d:)(\d\d)((?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d))", re.ASCII)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


class _Wrong(Exception):
    """A check failed; carries the refusal out of `examine`."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(reason, detail)
        self.refused = Refused(reason, detail)


def examine(
    value: bytes | None, headers: Headers, kinds: Mapping[str, Kind]
) -> dict[str, Any] | Refused:
    """Check all but the characters of names (`check_names`). Never raises.

    Args:
        value: as it came.
        headers: as they came; they say how the value is to be read.
        kinds: the types that are known.

    Returns:
        The envelope's known fields, `time` as a datetime and the quantity as an integer.
    """
    try:
        if value is None:
            raise _Wrong(Refusal.NULL_VALUE, "The record has no value.")
        if isinstance(value, TooLarge):
            raise _Wrong(Refusal.TOO_LARGE, f"The record has more than {MAX_RECORD_BYTES:,} bytes.")
        envelope = _envelope(_unpacked(value, headers))
        if (name := envelope["type"]) not in kinds:
            raise _Wrong(Refusal.UNKNOWN_TYPE, f"type {_show(name)} is not known to these rules.")
        time = _time(envelope.get("time"))
        # Known fields only: the name of an unknown one may hold a lone surrogate too.
        return {
            **{field: envelope[field] for field in ("specversion", "id", "source", "type")},
            "time": time,
            "data": _data(_data_of(envelope), kinds[name]),
        }
    except _Wrong as wrong:
        return wrong.refused


def _unpacked(value: bytes, headers: Headers) -> Any:
    """The event as the JSON format has it, whichever mode it came in."""
    fields = dict(headers)
    content_type = fields.get(CONTENT_TYPE)
    media = media_of(content_type)
    if media is Media.OTHER_EVENT:
        raise _Wrong(
            Refusal.BAD_ENVELOPE,
            f"content-type {_show_bytes(content_type)} is not read: a record holds one CloudEvent "
            "as application/cloudevents+json, or in binary mode.",
        )
    if media is Media.EVENT or SPECVERSION not in fields:
        return _parse(value)
    if media is Media.OTHER:
        raise _Wrong(
            Refusal.BAD_ENVELOPE, f"content-type {_show_bytes(content_type)} of data is not JSON."
        )
    return {**attributes(fields), "data": _parse(value)}


def _parse(value: bytes) -> Any:
    # Not what the rules forbid, but what is behind it far more often than chance.
    if value[:1] == b"\x00":
        raise _Wrong(
            Refusal.NOT_JSON,
            "The value begins with byte 0, as the frame of a schema registry does: produce it "
            "with a plain JSON serializer.",
        )
    if not is_utf8(value):
        raise _Wrong(Refusal.NOT_JSON, "The value is not UTF-8.")
    if bound_of_depth(value) > MAX_DEPTH and _depth(value) > MAX_DEPTH:
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
        hint = ""
        if "payload" in envelope and "specversion" not in envelope:
            hint = (
                " The value has a payload, as Kafka Connect wraps it: set "
                "value.converter.schemas.enable=false."
            )
        raise _Wrong(Refusal.BAD_ENVELOPE, f"specversion is not '1.0'.{hint}")
    for field in ("id", "source"):
        _text(envelope, field, field, MAX_ID_CHARS, Refusal.BAD_ENVELOPE)
    if not isinstance(envelope.get("type"), str):
        raise _Wrong(Refusal.BAD_ENVELOPE, "type is missing or not a string.")
    packed = envelope.get("data_base64")
    if "data" not in envelope and packed is None:
        raise _Wrong(Refusal.BAD_ENVELOPE, "data is missing.")
    if envelope.get("data") is not None and packed is not None:
        raise _Wrong(Refusal.BAD_ENVELOPE, "data and data_base64 exclude each other.")
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
            moment = msgspec.convert(found[1] + ("59" if leap else found[2]) + found[3], Moment)
            if not leap or moment.astimezone(UTC).strftime("%H:%M") == "23:59":
                return moment
        except (msgspec.ValidationError, UnicodeEncodeError, OverflowError):
            pass
    raise _Wrong(
        Refusal.BAD_TIME,
        f"time {_show(time)} is not RFC 3339 with seconds and an offset (2026-11-23T10:00:00Z).",
    )


def _data_of(envelope: dict[str, Any]) -> Any:
    """`data`, or the JSON in `data_base64`."""
    packed = envelope.get("data_base64")
    if packed is None:
        return envelope.get("data")
    # What b64decode takes has changed with Python.
    if not isinstance(packed, str) or not _BASE64.fullmatch(packed):
        raise _Wrong(Refusal.BAD_DATA, "data_base64 is not Base64.")
    try:
        return _parse(base64.b64decode(packed))
    except _Wrong as wrong:
        detail = wrong.refused.detail.replace("The value", "The value in data_base64", 1)
        raise _Wrong(Refusal.BAD_DATA, detail) from None


def _data(data: Any, kind: Kind) -> dict[str, Any]:
    """Check `data`; return it with the quantity as an integer."""
    if isinstance(data, str):
        raise _Wrong(
            Refusal.BAD_DATA, "data is a text, not an object; JSON inside a text is not read."
        )
    if not isinstance(data, dict):
        raise _Wrong(Refusal.BAD_DATA, "data is not an object.")
    for field in _PLACE:
        _text(data, field, f"data.{field}", MAX_NAME_CHARS, Refusal.BAD_DATA)
    for field in _WORDS:
        word = data.get(field)
        if word is not None and not (isinstance(word, str) and _is_text(word)):
            raise _Wrong(Refusal.BAD_DATA, f"data.{field} is not a text without U+0000.")
    quantity = _quantity(data.get("quantity"), kind)
    if kind.signed and not data.get("reason"):
        raise _Wrong(Refusal.BAD_DATA, "data.reason is missing: an adjustment needs one.")
    return {"quantity": quantity} | {field: data.get(field) for field in (*_PLACE, *_WORDS)}


def _text(fields: dict[str, Any], field: str, path: str, most: int, reason: Refusal) -> None:
    text = fields.get(field)
    if text is None:
        raise _Wrong(reason, f"{path} is missing.")
    if not isinstance(text, str) or not 1 <= len(text) <= most or not _is_text(text):
        raise _Wrong(reason, f"{path} is not a text of 1 to {most} characters without U+0000.")


def _quantity(quantity: Any, kind: Kind) -> int:
    if quantity is None:
        raise _Wrong(Refusal.BAD_DATA, "data.quantity is missing.")
    if isinstance(quantity, float) and quantity.is_integer():
        quantity = int(quantity)
    least = -MAX_QUANTITY if kind.signed else 1
    if type(quantity) is int and least <= quantity <= MAX_QUANTITY:
        return quantity
    hint = ""
    if kind.signed:
        hint = ": by how much the stock changes, not what was counted"
    elif isinstance(quantity, int | float) and quantity < 0:
        hint = f"; the opposite is a fact of its own, {kind.opposite}"
    raise _Wrong(
        Refusal.BAD_DATA,
        f"data.quantity is not a whole number from {least} to {MAX_QUANTITY}{hint}.",
    )


def is_utf8(value: bytes) -> bool:
    """Tell whether the value is UTF-8, as JSON must be."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_text(text: str) -> bool:
    """Tell whether it can be kept anywhere.

    JSON may hold lone surrogates, which UTF-8 cannot, and U+0000, which many databases cannot.
    """
    return not _NOT_TEXT.search(text)


def bound_of_depth(value: bytes) -> int:
    """Return what the depth cannot exceed; cheap."""
    return value.count(b"{") + value.count(b"[")


def _depth(value: bytes) -> int:
    """Return how deep objects and arrays are nested; exact for well-formed JSON."""
    steps = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
    return max(accumulate(steps.get(byte, 0) for byte in _STRING.sub(b"", value)), default=0)


def _show(text: str) -> str:
    """Quote a stranger's text for a log or a header: ASCII, short, no line breaks."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def _show_bytes(text: bytes | None) -> str:
    return _show((text or b"").decode("latin-1"))
