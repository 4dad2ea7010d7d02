"""What is on an RFID tag: EPC URIs and hex. Only an SGTIN is an item.

Layouts: GS1 EPC Tag Data Standard 1.13, chapters 6 and 14. Written here, since the libraries
for it write another serial, or mend a check digit, in silence.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from importers.gtins import check_digit, is_local, meaning_of, serial_name
from importers.items import ELEMENT_CHARACTERS, Meaning, ScanRefused, Setup, Why

_SGTIN_96, _SGTIN_198, _SGTIN_PLUS = 0x30, 0x36, 0xF7
_OTHERS: Final = {
    0x00: "a tag that nothing was written to",
    0x2C: "a document (GDTI)",
    0x2D: "a person (GSRN)",
    0x2E: "a person (GSRN)",
    0x2F: "a defence department's own number",
    0x31: "a pallet or parcel (SSCC)",
    0x32: "a place (SGLN)",
    0x33: "a crate or pallet that comes back (GRAI)",
    0x34: "an asset (GIAI)",
    0x35: "a number of nobody's scheme (GID)",
    0x37: "a crate or pallet that comes back (GRAI)",
    0x38: "an asset (GIAI)",
    0x39: "a place (SGLN)",
    0x3A: "a document (GDTI)",
    0x3B: "an aircraft's part (ADI)",
    0x3C: "a component (CPI)",
    0x3D: "a component (CPI)",
    0x3E: "a document (GDTI)",
    0x3F: "a coupon (SGCN)",
    0x40: "a part of an item (ITIP)",
    0x41: "a part of an item (ITIP)",
}
_SCHEMES: Final = {
    "sscc": 0x31,
    "sgln": 0x32,
    "grai": 0x33,
    "giai": 0x34,
    "gid": 0x35,
    "gdti": 0x2C,
    "gsrn": 0x2D,
    "gsrnp": 0x2E,
    "usdod": 0x2F,
    "adi": 0x3B,
    "cpi": 0x3C,
    "sgcn": 0x3F,
    "itip": 0x40,
}
#: By partition: bits of the company prefix and of the item reference, which have 44 together;
#: the prefix has 12 digits less the partition, the two have 13 together.
_PREFIX_BITS: Final = (40, 37, 34, 30, 27, 24, 20)
_PURE = re.compile(r"urn:epc:id:sgtin:([0-9]{6,12})\.([0-9]{1,7})\.(\S+)")
_TAG = re.compile(r"urn:epc:tag:sgtin-(96|198):[0-7]\.([0-9]{6,12})\.([0-9]{1,7})\.(\S+)")
#: What a URI's serial has as it is; all else is %XX.
_PLAIN = ELEMENT_CHARACTERS.translate({ord(c): None for c in '"%&/<>?'})
_SERIAL = re.compile(rf"(?:[{re.escape(_PLAIN)}]|%(?:22|25|26|2[Ff]|3[CcEeFf])){{1,20}}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){12,}")


def is_hex(text: str) -> bool:
    """Tell whether this is a tag's memory: 12 bytes or more in hex, of a header that is one."""
    if not _HEX.fullmatch(text):
        return False
    header = int(text[:2], 16)
    if not text.isdigit():
        return True
    # Digits alone may also be GS1 elements without their mark; those of a pallet begin with 00.
    if header == 0:
        return not text.strip("0")
    return header in (_SGTIN_96, _SGTIN_198) or (header in _OTHERS and len(text) == 24)


def of_uri(text: str, setup: Setup) -> Meaning:
    """Read an EPC as a pure identity or a tag URI, whose filter says nothing of the item.

    Raises:
        ScanRefused: no item, or no such URI.
    """
    if pure := _PURE.fullmatch(text):
        return _meaning(pure[1], pure[2], _unescaped(pure[3], text), setup)
    if tag := _TAG.fullmatch(text):
        serial = _unescaped(tag[4], text)
        if tag[1] == "96" and not _fits_96(serial):
            raise _broken(text)
        return _meaning(tag[2], tag[3], serial, setup)
    kind = text.removeprefix("urn:epc:").partition(":")[0]
    if kind in ("class", "idpat", "pat"):
        raise ScanRefused(
            Why.NO_ITEM,
            f"{text!r} names a kind of things and not one thing: a quantity has to come with it.",
        )
    if what := other_thing(text):
        raise _no_item(what, text)
    raise _broken(text)


def other_thing(text: str) -> str | None:
    """Say what an EPC URI of a scheme for no items names: "a pallet or parcel (SSCC)"."""
    scheme = re.match(r"urn:epc:[a-z]+:([a-z]+)", text)
    return _OTHERS[_SCHEMES[scheme[1]]] if scheme and scheme[1] in _SCHEMES else None


@lru_cache(maxsize=1 << 14)
def gtin_of_parts(prefix: str, item: str) -> str | None:
    """Join a company prefix and an item reference, whose first digit is the indicator.

    None: they have not the 13 digits that go with a check digit.
    """
    if len(prefix) + len(item) != 13:
        return None
    payload = item[0] + prefix + item[1:]
    return f"{payload}{check_digit(payload)}"


def of_hex(text: str, setup: Setup) -> Meaning:
    """Read the EPC memory of a tag. Readers pad it to whole bytes or words with zeros.

    Raises:
        ScanRefused: no item, or no EPC.
    """
    header, bits = int(text[:2], 16), len(text) * 4
    if header == _SGTIN_PLUS:
        raise ScanRefused(
            Why.UNREADABLE,
            f"The tag {text} has the newer form SGTIN+ (F7), which is not read here yet: keep its "
            "hex, and book the item by its printed code.",
        )
    size = {_SGTIN_96: 96, _SGTIN_198: 198}.get(header)
    if size is None:
        known = _OTHERS.get(header, f"of no kind that is known here (header {header:02X})")
        raise _no_item(known, text)
    if bits < size or int(text, 16) & ((1 << (bits - size)) - 1):
        raise _broken(text)
    number = int(text, 16) >> (bits - size)
    partition = number >> (size - 14) & 0b111
    if partition > 6:
        raise _broken(text)
    serial_bits = size - 58
    item_bits = 44 - _PREFIX_BITS[partition]
    prefix = str(number >> (serial_bits + item_bits) & ((1 << _PREFIX_BITS[partition]) - 1))
    item = str(number >> serial_bits & ((1 << item_bits) - 1))
    digits = 12 - partition
    rest = number & ((1 << serial_bits) - 1)
    serial = str(rest) if header == _SGTIN_96 else _seven_bits(rest, text)
    return _meaning(prefix.zfill(digits), item.zfill(13 - digits), serial, setup)


def id_uri(prefix: str, item: str, serial: str) -> str:
    """`urn:epc:id:sgtin:…`: one text for one thing, whatever the tag's form and filter."""
    escaped = "".join(c if c in _PLAIN else f"%{ord(c):02X}" for c in serial)
    return f"urn:epc:id:sgtin:{prefix}.{item}.{escaped}"


def _meaning(prefix: str, item: str, serial: str, setup: Setup) -> Meaning:
    epc = id_uri(prefix, item, serial)
    gtin = gtin_of_parts(prefix, item)
    if gtin is None:  # also a tag's binary numbers that are too large for their digits
        raise _broken(epc)
    if is_local(gtin):
        raise ScanRefused(
            Why.LOCAL_NUMBER,
            f"The tag {epc} has a number that a region or a company gave itself ({gtin}): book it "
            "by the number that the shop has for this item.",
        )
    one = meaning_of(gtin, setup)
    beside = {"serial": serial, "epc": epc}
    return Meaning(one.sku, 1, one.unit, beside, serial_name(gtin, serial))


def _unescaped(serial: str, text: str) -> str:
    if not _SERIAL.fullmatch(serial):
        raise _broken(text)
    return unquote(serial)


def _fits_96(serial: str) -> bool:
    return serial.isdigit() and str(int(serial)) == serial and int(serial) < 1 << 38


def _seven_bits(rest: int, text: str) -> str:
    """20 characters of 7 bits, the unused ones 0."""
    serial = "".join(chr(rest >> shift & 0x7F) for shift in range(133, -1, -7)).rstrip("\0")
    if not serial or any(c not in ELEMENT_CHARACTERS for c in serial):
        raise _broken(text)
    return serial


def _no_item(what: str, text: str) -> ScanRefused:
    return ScanRefused(
        Why.NO_ITEM,
        f"{text} is {what}, and no stock of a SKU: have the reader pass SGTINs on.",
    )


def _broken(text: str) -> ScanRefused:
    return ScanRefused(
        Why.UNREADABLE,
        f"{text} is no SGTIN that can be: read the tag again, and if it stays so, write it anew.",
    )
