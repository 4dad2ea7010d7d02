"""GS1 elements ("AI, value" pairs) from their shapes, and the item among them.

biip splits them; what it takes too easily is refused here. It is imported when needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from importers.gtins import (
    gtin_of,
    is_local,
    meaning_of,
    require_check_digit,
    serial_name,
    unit_of,
)
from importers.items import Meaning, ScanRefused, Setup, Unit, Why

GS = "\x1d"
Pairs = list[tuple[str, str]]

_NAMES = {
    "00": "sscc",
    "10": "lot",
    "11": "produced",
    "13": "packed",
    "15": "best_before",
    "16": "sell_by",
    "17": "expiry",
    "21": "serial",
    "30": "count",
    "37": "count",
}
_NO_ITEMS = {
    "00": "a pallet or parcel (SSCC)",
    "253": "a document",
    "255": "a coupon",
    "402": "a shipment",
    "414": "a place (GLN)",
    "8003": "a crate or pallet that comes back (GRAI)",
    "8004": "an asset (GIAI)",
    "8006": "a part of an item",
    "8010": "a part or component",
    "8017": "a person",
    "8018": "a person",
    "8026": "parts of an item",
}


def of_message(text: str) -> Pairs:
    """Split what a scanner sends of a GS1 symbol; GS ends an element without fixed length.

    Raises:
        ScanRefused: it cannot be split.
    """
    from biip import ParseError
    from biip.gs1_messages import GS1Message

    # Some readers send FNC1 in the first place as GS, others do not.
    body = text.removeprefix(GS)
    try:
        pairs = [(one.ai.ai, one.value) for one in GS1Message.parse(body).element_strings]
    except ParseError as error:
        raise _not_split(text) from error
    # biip strips white space first.
    if not pairs or "".join(ai + value for ai, value in pairs) != body.replace(GS, ""):
        raise _not_split(text)
    return pairs


def of_brackets(text: str) -> Pairs:
    """Split what is printed for people, and what zxing-cpp gives: (01)09506000134352(10)ABC.

    Raises:
        ScanRefused: it cannot be split, or only by guessing.
    """
    from biip import ParseError
    from biip.gs1_messages import GS1Message

    try:
        message = GS1Message.parse_hri(text)
    except ParseError as error:
        raise _not_split(text) from error
    # A bracket is also a character of lots and serials: of (10)A(B)C biip makes lot A.
    if message.as_hri() != text.replace(" ", ""):
        raise ScanRefused(
            Why.AMBIGUOUS,
            f"Brackets inside a value of {text!r} cannot be told from those around a number: "
            "have the reader send the symbol as it is, with its mark (such as ]C1).",
        )
    return [(one.ai.ai, one.value) for one in message.element_strings]


def of_link(text: str) -> Pairs:
    """Split a GS1 Digital Link; its host and whatever is no GS1 number say nothing.

    Raises:
        ScanRefused: no such link, or it says one thing twice.
    """
    from biip import ParseError
    from biip.gs1_digital_link_uris import GS1DigitalLinkURI

    try:
        parts = urlsplit(text)
        link = urlunsplit(parts._replace(path=parts.path.rstrip("/")))
        pairs = [(one.ai.ai, one.value) for one in GS1DigitalLinkURI.parse(link).element_strings]
        asked = parse_qsl(parts.query)
    except (ParseError, ValueError) as error:
        raise ScanRefused(
            Why.NO_ITEM,
            f"{text!r} is a link without a GS1 number in its path (/01/ and a GTIN): scan "
            "another symbol of this item.",
        ) from error
    # biip takes the last of a query's repeated keys.
    known = {ai for ai, _ in pairs}
    return pairs + [(ai, value) for ai, value in asked if ai in known]


def meaning_of_elements(pairs: Pairs, setup: Setup) -> Meaning:
    """Find the item and how many.

    Raises:
        ScanRefused: no item, more than one, or it is not said how much.
    """
    values: dict[str, str] = {}
    for ai, value in pairs:
        if values.setdefault(ai, value) != value:
            raise ScanRefused(
                Why.AMBIGUOUS,
                f"({ai}) is there as {values[ai]} and as {value}: scan one symbol at a time.",
            )
    if "00" in values:
        require_check_digit(values["00"], "The SSCC")
    if "01" in values and "02" in values:
        raise ScanRefused(
            Why.AMBIGUOUS,
            "An item (01) and the contents of a pallet (02) are in one scan: scan one symbol at "
            "a time.",
        )
    if "01" in values:
        found = _of_item(values, setup)
    elif "02" in values:
        found = _of_contents(values)
    else:
        what = next((_NO_ITEMS[ai] for ai in values if ai in _NO_ITEMS), None)
        named = f"This is {what}" if what else f"({next(iter(values))}) alone is no item"
        raise ScanRefused(
            Why.NO_ITEM, f"{named}, and no stock of a SKU: scan the symbol of the item itself."
        )
    beside = {_NAMES.get(ai, ai): value for ai, value in values.items() if ai not in ("01", "02")}
    return Meaning(found.sku, found.quantity, found.unit, found.beside | beside, found.once)


def net_grams(values: Iterable[tuple[str, str]]) -> int | None:
    """Net weight in grams, from 310n: six digits, of which n are decimals of a kilogram.

    Raises:
        ScanRefused: a part of a gram is left over, nothing is weighed, or two weights differ.
    """
    found: set[int] = set()
    for ai, value in values:
        if not re.fullmatch(r"310[0-5]", ai):
            continue
        decimals = int(ai[3])
        grams, rest = divmod(int(value) * 1000, 10**decimals)
        if rest or not grams:
            raise ScanRefused(
                Why.MEASURE,
                f"A net weight of ({ai}) {value} is not a whole number of grams above 0: weigh the "
                "item anew, or have a person book it.",
            )
        found.add(grams)
    if len(found) > 1:
        raise ScanRefused(
            Why.MEASURE, "There are two net weights (310n): scan one symbol at a time."
        )
    return found.pop() if found else None


def _of_item(values: dict[str, str], setup: Setup) -> Meaning:
    gtin = gtin_of(values["01"])
    grams = net_grams(values.items())
    serial = values.get("21")
    once = None if serial is None else serial_name(gtin, serial)
    if "37" in values:
        raise ScanRefused(
            Why.MEASURE,
            "A count of contents (37) belongs to (02), not to the item (01): ask who made the "
            "label which of the two it means.",
        )
    if is_local(gtin):
        if grams is not None or "30" in values:
            raise ScanRefused(
                Why.MEASURE,
                f"{gtin} is a region's or a company's own number, which goes with no measure "
                "beside it: book it by the number that the shop has for this item.",
            )
        meaning = meaning_of(gtin, setup)
        return Meaning(meaning.sku, meaning.quantity, meaning.unit, meaning.beside, once)
    if grams is not None:
        return Meaning(gtin, grams, Unit.GRAM, once=once)
    if "30" in values:
        count = int(values["30"])
        if gtin[0] != "9" or not count:
            raise ScanRefused(
                Why.MEASURE,
                f"A count of (30) {values['30']} goes with an item that is sold by measure (its "
                "GTIN begins with 9), and is above 0: ask who made the label what it means.",
            )
        return Meaning(gtin, count, Unit.PIECE, once=once)
    meaning = meaning_of(gtin, setup)
    return Meaning(meaning.sku, meaning.quantity, meaning.unit, once=once)


def _of_contents(values: dict[str, str]) -> Meaning:
    """(02) and (37): n of an item on this pallet, once for each SSCC."""
    gtin = gtin_of(values["02"])
    grams = net_grams(values.items())
    count = int(values.get("37", "0"))
    once = f"(00){values['00']}" if "00" in values else None
    if is_local(gtin) or not count or (gtin[0] == "9" and grams is None):
        raise ScanRefused(
            Why.MEASURE,
            f"It is not said how much of {gtin} is inside: scan a label that has (02), a count "
            "above 0 (37) and, for what is sold by measure, the net weight (310n).",
        )
    if grams is not None:
        return Meaning(gtin, grams, Unit.GRAM, once=once)
    return Meaning(gtin, count, unit_of(gtin), once=once)


def _not_split(text: str) -> ScanRefused:
    return ScanRefused(
        Why.UNREADABLE,
        f"{text!r} cannot be split into GS1 elements: scan it again, and if it stays so, test that "
        "the scanner sends GS, or a sign for it that --gs names.",
    )
