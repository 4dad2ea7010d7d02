"""The rules that let a value in, checked one by one: slow, exact, and total.

Checks run in this order and the first that fails names the refusal:

1. `null_value`: the record has no value.
2. `not_json`: not UTF-8, not JSON (RFC 8259: no BOM, no NaN), or nested deeper than
   `MAX_DEPTH`. Of a repeated name in an object the last one counts.
3. `bad_envelope`: not an object; specversion, id, source, type or data missing or wrong.
4. `unknown_type`.
5. `bad_time`.
6. `bad_data`: fields, then the characters of the SKU and the location.

Times are RFC 3339: `t`, `z` and, as its section 5.6 notes, a space for the `T` will do. Years
run from 0001; second 60 is taken in the last minute of a UTC day and kept as 59. A quantity
is a whole number as an IEEE double says it, so 2.0 and 2e0 are 2.
"""

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

MAX_NAME_CHARS = 128
MAX_QUANTITY = 10**9
MAX_DEPTH = 256

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


def are_good_names(keys: Sequence[bytes]) -> bool:
    """Tell whether `check_names` refuses none of these rows' keys."""
    return _GOOD_KEYS.fullmatch(b"\n".join(keys)) is not None or all(map(_is_good_name, keys))


@lru_cache(maxsize=2**15)  # names with spaces, or not in ASCII, come again and again
def _is_good_name(key: bytes) -> bool:
    sku, nul, location = key.decode().partition("\x00")
    return bool(nul) and check_names(sku, location) is None


_PLACE = ("sku", "location")
_WORDS = ("reason", "reference", "actor")
# Nearly all names: printable ASCII without spaces, and longer than a dot or two.
_GOOD_NAME = re.compile(r"[!-~]{3,}")
_GOOD_KEYS = re.compile(rb"(?:[!-~]{3,}\x00[!-~]{3,}(?:\n|\Z))+")
_BAD_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f]|\A | \Z|\A\.\.?\Z")
# Takes an unclosed string to the end, so that a hostile value costs one pass.
_STRING = re.compile(rb'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)
_TIME = re.compile(r"(.{10}[Tt ]\d\d:\d\d:)(\d\d)((?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d))", re.ASCII)


class _Wrong(Exception):
    """A check failed; carries the refusal out of `examine`."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(reason, detail)
        self.refused = Refused(reason, detail)


def examine(value: bytes | None, signed: Mapping[str, bool]) -> dict[str, Any] | Refused:
    """Check all but the characters of names (`check_names`). Never raises.

    Args:
        value: as it came.
        signed: the types that are known, and whether each takes a signed quantity (not 0)
            and needs a reason.

    Returns:
        The envelope's known fields, `time` as a datetime and the quantity as an integer.
    """
    try:
        if value is None:
            raise _Wrong(Refusal.NULL_VALUE, "The record has no value.")
        envelope = _envelope(_parse(value))
        if (kind := envelope["type"]) not in signed:
            raise _Wrong(Refusal.UNKNOWN_TYPE, f"type {_show(kind)} is not known to these rules.")
        # Known fields only: the name of an unknown one may hold a lone surrogate too.
        return {
            **{field: envelope[field] for field in ("specversion", "id", "source", "type")},
            "time": _time(envelope.get("time")),
            "data": _data(envelope["data"], is_signed=signed[kind]),
        }
    except _Wrong as wrong:
        return wrong.refused


def _parse(value: bytes) -> Any:
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
        raise _Wrong(Refusal.BAD_ENVELOPE, "specversion is not '1.0'.")
    for field in ("id", "source"):
        _name(envelope, field, field, Refusal.BAD_ENVELOPE)
    if not isinstance(envelope.get("type"), str):
        raise _Wrong(Refusal.BAD_ENVELOPE, "type is missing or not a string.")
    if "data" not in envelope:
        raise _Wrong(Refusal.BAD_ENVELOPE, "data is missing.")
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


def _data(data: Any, *, is_signed: bool) -> dict[str, Any]:
    """Check `data`; return it with the quantity as an integer."""
    if not isinstance(data, dict):
        raise _Wrong(Refusal.BAD_DATA, "data is not an object.")
    for field in _PLACE:
        _name(data, field, f"data.{field}", Refusal.BAD_DATA)
    for field in _WORDS:
        word = data.get(field)
        if word is not None and not (isinstance(word, str) and _is_text(word)):
            raise _Wrong(Refusal.BAD_DATA, f"data.{field} is not a text.")
    quantity = _quantity(data.get("quantity"), least=-MAX_QUANTITY if is_signed else 1)
    if is_signed and (quantity == 0 or not data.get("reason")):
        raise _Wrong(Refusal.BAD_DATA, "An adjustment needs a quantity other than 0 and a reason.")
    return {"quantity": quantity} | {field: data.get(field) for field in (*_PLACE, *_WORDS)}


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


def is_utf8(value: bytes) -> bool:
    """Tell whether the value is UTF-8, as JSON must be."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_text(text: str) -> bool:
    """Tell whether UTF-8 can carry it; JSON may hold lone surrogates, which it cannot."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


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
