"""What one record says, read by code that the service does not share.

Written from the contract with the standard library alone: its own JSON checks, its own
Unicode, its own way into the two modes of CloudEvents. `dev/oracle/stock.py` folds what it reads.
"""

import binascii
import json
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard

ROLES = ("shipments", "sales", "adjustments")
TYPES = {
    "inventory.shipment.received.v1": ("shipments", "received"),
    "inventory.shipment.dispatched.v1": ("shipments", "dispatched"),
    "inventory.sale.completed.v1": ("sales", "sold"),
    "inventory.sale.returned.v1": ("sales", "returned"),
    "inventory.stock.adjusted.v1": ("adjustments", "adjusted"),
}
TYPES_OF_RULES = {2: TYPES, 3: {**TYPES, "inventory.sale.voided.v1": ("sales", "sold")}}
MOST = 10**9
MOST_NESTED = 256
RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2})(:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
Headers = Sequence[tuple[str, bytes | None]]

# Default_Ignorable_Code_Point, written down from the standard (DerivedCoreProperties).
IGNORABLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
# What Unicode 15 to 16 assigned, which Python 3.12 to 3.14 knows and the rules do not
# (DerivedAge; 17.0 too, for a Python to come).
LATER = (
    (0x88F, 0x88F), (0x897, 0x897), (0xC5C, 0xC5C), (0xCDC, 0xCDC), (0xCF3, 0xCF3),
    (0xECE, 0xECE), (0x1ACF, 0x1ADD), (0x1AE0, 0x1AEB), (0x1B4E, 0x1B4F), (0x1B7F, 0x1B7F),
    (0x1C89, 0x1C8A), (0x20C1, 0x20C1), (0x2427, 0x2429), (0x2B96, 0x2B96), (0x2FFC, 0x2FFF),
    (0x31E4, 0x31E5), (0x31EF, 0x31EF), (0xA7CB, 0xA7CF), (0xA7D2, 0xA7D2), (0xA7D4, 0xA7D4),
    (0xA7DA, 0xA7DC), (0xA7F1, 0xA7F1), (0xFBC3, 0xFBD2), (0xFD90, 0xFD91), (0xFDC8, 0xFDCE),
    (0x105C0, 0x105F3), (0x10940, 0x10959), (0x10D40, 0x10D65), (0x10D69, 0x10D85),
    (0x10D8E, 0x10D8F), (0x10EC2, 0x10EC7), (0x10ED0, 0x10ED8), (0x10EFA, 0x10EFF),
    (0x1123F, 0x11241), (0x11380, 0x11389), (0x1138B, 0x1138B), (0x1138E, 0x1138E),
    (0x11390, 0x113B5), (0x113B7, 0x113C0), (0x113C2, 0x113C2), (0x113C5, 0x113C5),
    (0x113C7, 0x113CA), (0x113CC, 0x113D5), (0x113D7, 0x113D8), (0x113E1, 0x113E2),
    (0x116D0, 0x116E3), (0x11B00, 0x11B09), (0x11B60, 0x11B67), (0x11BC0, 0x11BE1),
    (0x11BF0, 0x11BF9), (0x11DB0, 0x11DDB), (0x11DE0, 0x11DE9), (0x11F00, 0x11F10),
    (0x11F12, 0x11F3A), (0x11F3E, 0x11F5A), (0x1342F, 0x1342F), (0x13439, 0x13455),
    (0x13460, 0x143FA), (0x16100, 0x16139), (0x16D40, 0x16D79), (0x16EA0, 0x16EB8),
    (0x16EBB, 0x16ED3), (0x16FF2, 0x16FF6), (0x187F8, 0x187FF), (0x18CFF, 0x18CFF),
    (0x18D09, 0x18D1E), (0x18D80, 0x18DF2), (0x1B132, 0x1B132), (0x1B155, 0x1B155),
    (0x1CC00, 0x1CCFC), (0x1CD00, 0x1CEB3), (0x1CEBA, 0x1CED0), (0x1CEE0, 0x1CEF0),
    (0x1D2C0, 0x1D2D3), (0x1DF25, 0x1DF2A), (0x1E030, 0x1E06D), (0x1E08F, 0x1E08F),
    (0x1E4D0, 0x1E4F9), (0x1E5D0, 0x1E5FA), (0x1E5FF, 0x1E5FF), (0x1E6C0, 0x1E6DE),
    (0x1E6E0, 0x1E6F5), (0x1E6FE, 0x1E6FF), (0x1F6D8, 0x1F6D8), (0x1F6DC, 0x1F6DC),
    (0x1F774, 0x1F77F), (0x1F7D9, 0x1F7D9), (0x1F8B2, 0x1F8BB), (0x1F8C0, 0x1F8C1),
    (0x1F8D0, 0x1F8D8), (0x1FA54, 0x1FA57), (0x1FA75, 0x1FA77), (0x1FA87, 0x1FA8A),
    (0x1FA8E, 0x1FA8F), (0x1FAAD, 0x1FAAF), (0x1FABB, 0x1FABF), (0x1FAC6, 0x1FAC6),
    (0x1FAC8, 0x1FAC8), (0x1FACD, 0x1FACF), (0x1FADA, 0x1FADC), (0x1FADF, 0x1FADF),
    (0x1FAE8, 0x1FAEA), (0x1FAEF, 0x1FAEF), (0x1FAF7, 0x1FAF8), (0x1FBCB, 0x1FBEF),
    (0x1FBFA, 0x1FBFA), (0x2B739, 0x2B73F), (0x2CEA2, 0x2CEAD), (0x2EBF0, 0x2EE5D),
    (0x31350, 0x33479),
)  # fmt: skip


class Refuse(Exception):
    """The record cannot be applied; the argument is the contract's word for why."""


class Fact(NamedTuple):
    """What one readable record says."""

    kind: str
    source: str
    id: str
    sku: str
    location: str
    quantity: int
    content: tuple[Any, ...]

    def effect(self, rules: int) -> tuple[str, int]:
        """Which column of its row it changes by the rules of this number, and by how much."""
        column = TYPES_OF_RULES[rules][self.kind][1]
        if rules < 3:
            return column, self.quantity
        if self.kind == "inventory.sale.returned.v1" and self.content[5] == "damaged":
            column = "damaged"
        is_undone = self.kind == "inventory.sale.voided.v1"
        return column, -self.quantity if is_undone else self.quantity


def read(value: bytes | None, role: str, headers: Headers = (), rules: int = 2) -> Fact:
    """Say what a record means on a topic of this role, by the rules of this number.

    Raises:
        Refuse: it cannot be applied.
    """
    if value is None:
        raise Refuse("null_value")
    event = _event(value, dict(headers))
    if not isinstance(event, dict) or event.get("specversion") != "1.0":
        raise Refuse("bad_envelope")
    source, event_id, kind = event.get("source"), event.get("id"), event.get("type")
    packed = event.get("data_base64")
    if not (_is_text(source, 1024) and _is_text(event_id, 1024) and isinstance(kind, str)):
        raise Refuse("bad_envelope")
    if (event.get("data") is not None) if packed is not None else ("data" not in event):
        raise Refuse("bad_envelope")
    types = TYPES_OF_RULES[rules]
    if kind not in types:
        raise Refuse("unknown_type")
    if not _is_time(event.get("time")):
        raise Refuse("bad_time")
    data = event.get("data") if packed is None else _unpacked(packed)
    sku, location, quantity, words = _data(data, kind)
    if types[kind][0] != role:
        raise Refuse("misrouted")
    return Fact(
        kind, source, event_id, sku, location, quantity, (kind, sku, location, quantity, *words)
    )


def _event(value: bytes, headers: dict[str, bytes | None]) -> object:
    """The CloudEvent in a record, whichever way the headers say that it is there."""
    content = (headers.get("content-type") or b"").decode("latin-1").lower()
    media = content.split(";")[0].strip()
    if media.startswith("application/cloudevents"):
        if media != "application/cloudevents+json":
            raise Refuse("bad_envelope")
    elif "ce_specversion" in headers:
        if media and not re.fullmatch(r"[^/]+/(json|[^/]+\+json)", media):
            raise Refuse("bad_envelope")
        event: dict[str, object] = {"data": _json(value)}
        for name in ("specversion", "id", "source", "type", "time"):
            if (text := headers.get(f"ce_{name}")) is not None:
                # A byte that is not UTF-8 becomes half a character, which is no text.
                event[name] = text.decode("utf-8", "surrogateescape")
        return event
    return _json(value)


def _json(value: bytes) -> object:
    try:
        found = _JSON.decode(value.decode())
    except (ValueError, RecursionError):
        raise Refuse("not_json") from None
    level, depth = [found], 0
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        if depth > MOST_NESTED:
            raise Refuse("not_json")
        lists = [each.values() if isinstance(each, dict) else each for each in level]
        level = [inner for each in lists for inner in each]
    return found


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


# Python reads no integer of more than 4,300 digits; none that counts has 20.
_JSON = json.JSONDecoder(
    parse_constant=_no_constant,
    parse_int=lambda digits: int(digits) if len(digits) < 20 else float(digits),
)


def _unpacked(packed: object) -> object:
    """The JSON in `data_base64`: the alphabet of RFC 4648, section 4, padded."""
    if not isinstance(packed, str) or len(packed) % 4 or not BASE64.fullmatch(packed):
        raise Refuse("bad_data")
    try:
        return _json(binascii.a2b_base64(packed))
    except Refuse:
        raise Refuse("bad_data") from None


def _data(data: object, kind: str) -> tuple[str, str, int, list[str | None]]:
    if not isinstance(data, dict):
        raise Refuse("bad_data")
    sku, location, quantity = data.get("sku"), data.get("location"), data.get("quantity")
    if isinstance(quantity, float) and quantity.is_integer():
        quantity = int(quantity)
    adjusted = kind == "inventory.stock.adjusted.v1"
    words = [data.get(name) for name in ("reference", "reason", "actor")]
    if not (
        _is_name(sku)
        and _is_name(location)
        and isinstance(quantity, int)
        and not isinstance(quantity, bool)
        and (-MOST if adjusted else 1) <= quantity <= MOST
        and all(word is None or word == "" or _is_text(word) for word in words)
        and not (adjusted and not words[1])
    ):
        raise Refuse("bad_data")
    # Who did it may change between a till's two tries, and an empty word says nothing.
    return sku, location, quantity, [word or None for word in words[:2]]


def _is_text(word: object, most: int = 10**9) -> TypeGuard[str]:
    """JSON can spell half a character (a lone surrogate), which is no text, and U+0000."""
    return (
        isinstance(word, str)
        and 1 <= len(word) <= most
        and not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in word)
    )


def _is_name(word: object) -> TypeGuard[str]:
    return (
        _is_text(word, 128)
        and word.strip(" ") == word
        and word not in (".", "..")
        and all(map(_may_be_named, ("", *word), word, (*word[1:], "")))
        and unicodedata.normalize("NFC", word) == word
    )


def _may_be_named(before: str, letter: str, after: str) -> bool:
    """Whether a name may hold this character between these two."""
    if letter in "\u200c\u200d":
        return _category(before)[0] in "LM" and _category(after)[0] in "LM"
    point = ord(letter)
    return letter == " " or (
        _category(letter) not in ("Cc", "Zl", "Zp", "Zs", "Cn")
        and point != 0x2800
        and not any(first <= point <= last for first, last in IGNORABLE)
    )


@lru_cache(maxsize=4096)
def _category(letter: str) -> str:
    """Of Unicode 14, as far as any later Python knows it."""
    if not letter or any(first <= ord(letter) <= last for first, last in LATER):
        return "Cn"
    return unicodedata.category(letter)


def _is_time(time: object) -> bool:
    if time is None:
        return True
    match = RFC3339.fullmatch(time) if isinstance(time, str) else None
    if not match or match[2] == "24":  # which Python takes from 3.14 on
        return False
    day, hour, rest, _, offset = match.groups()
    try:
        offset = offset.upper().replace("Z", "+00:00")
        leap = rest.endswith(":60")
        rest = rest[:-2] + "59" if leap else rest
        moment = datetime.fromisoformat(f"{day}T{hour}{rest}{offset}")
        # A leap second is the last one of a UTC day.
        return not leap or f"{moment.astimezone(UTC):%H:%M}" == "23:59"
    except (ValueError, OverflowError):
        return False
