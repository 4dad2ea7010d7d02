"""From the scanner to the SKU: one text of a scanner, a label or a tag, and what it means.

Nothing is guessed. What two readings are possible of is refused with what would tell them
apart. docs/scanners.md has the table of shapes.
"""

from __future__ import annotations

import re
from typing import Final

from importers import epcs
from importers.elements import GS, meaning_of_elements, of_brackets, of_link, of_message
from importers.gtins import gtin_of, meaning_of
from importers.items import Meaning, NotAnItem, ScannedItem, ScanRefused, Setup, Why

#: Characters of one text; a QR code holds 7,089 digits, and no item needs that many.
MAX_CHARS: Final = 4_096
_MARK = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_DIGITS = re.compile(r"[0-9]+")
#: As they stand below the bars, for people: UPC-A, EAN-13, GTIN-14.
_PRINTED = re.compile(
    r"[0-9] [0-9]{5} [0-9]{5} [0-9]|[0-9] [0-9]{6} [0-9]{6}|[0-9] [0-9]{2} [0-9]{5} [0-9]{5} [0-9]"
)
#: Symbology identifiers (ISO/IEC 15424) of symbols that carry GS1 elements.
_GS1_MARKS = ("]C1", "]e0", "]e1", "]e2", "]d2", "]Q3", "]J1")
_LINK_MARKS = ("]d1", "]Q1")
_ITF_MARKS = ("]I0", "]I1")


def read(text: str, setup: Setup) -> ScannedItem | NotAnItem:
    """Tell what a text means.

    Args:
        text: as the reader sent it, with or without its symbology identifier, at most
            `MAX_CHARS`; outer spaces and line ends do not count.
        setup: of the shop.
    """
    line = text.strip(" \t\r\n")
    found = _MARK.match(line)
    mark = found[0] if found else None
    try:
        if not line or len(line) > MAX_CHARS or not line.isascii():
            raise ScanRefused(
                Why.UNREADABLE,
                f"A scan is 1 to {MAX_CHARS:,} ASCII characters, which this is not: scan it again, "
                "and set the scanner's keyboard language to that of this machine.",
            )
        meaning = _unmarked(line, setup) if mark is None else _marked(mark, line[3:], setup)
    except ScanRefused as refused:
        return NotAnItem(text=text, why=refused.why, sentence=str(refused))
    return ScannedItem(
        text=text,
        symbology=mark,
        sku=meaning.sku,
        quantity=meaning.quantity,
        unit=meaning.unit,
        once=meaning.once,
        event_id=None,
        beside=meaning.beside,
    )


def _marked(mark: str, rest: str, setup: Setup) -> Meaning:
    if mark in ("]E0", "]E3", "]E4") and _DIGITS.fullmatch(rest):
        return _retail(mark, rest, setup)
    if mark in _GS1_MARKS or mark in _LINK_MARKS:
        if rest.lower().startswith(("http://", "https://")):
            return meaning_of_elements(of_link(rest), setup)
        if mark in _GS1_MARKS:
            if rest.startswith("("):
                return meaning_of_elements(of_brackets(rest), setup)
            return meaning_of_elements(of_message(_with_gs(rest, setup)), setup)
    if mark in _ITF_MARKS and len(rest) == 14:
        return meaning_of(gtin_of(rest), setup)
    if mark in ("]E1", "]E2"):
        raise ScanRefused(
            Why.NO_ITEM,
            f"This is only the add-on {rest} of a symbol: set the scanner to send both as one "
            "(]E3), and scan again.",
        )
    raise ScanRefused(
        Why.NO_ITEM,
        f"A symbol of the kind {mark} carries any text, not a number of GS1 by rule: scan the "
        "item's other symbol, or book it by the number that the shop has for this item.",
    )


def _retail(mark: str, digits: str, setup: Setup) -> Meaning:
    """EAN-13, UPC-A, UPC-E, EAN-8: the mark says which of them eight digits are."""
    size = len(digits)
    if mark == "]E4":
        if size == 8 or (size == 13 and digits.startswith("00000")):
            return meaning_of(gtin_of(digits), setup)
    elif mark == "]E0":
        if size == 8:
            return meaning_of(_expanded(digits), setup)
        if size in (12, 13):
            return meaning_of(gtin_of(digits), setup)
    elif size in (14, 15, 17, 18):
        # The add-on has 2 or 5 digits: an issue of a magazine, a price of a book.
        main = 12 if size in (14, 17) else 13
        one = meaning_of(gtin_of(digits[:main]), setup)
        add_on = {"add_on": digits[main:]}
        return Meaning(one.sku, one.quantity, one.unit, one.beside | add_on, one.once)
    raise ScanRefused(
        Why.UNREADABLE,
        f"{size} digits are not what a symbol of the kind {mark} has: set the scanner to send "
        "all digits, with the first and the check digit.",
    )


def _expanded(digits: str) -> str:
    """A UPC-E as the GTIN that it stands for."""
    from biip import ParseError
    from biip.upc import Upc

    try:
        return gtin_of(Upc.parse(digits).as_upc_a())
    except ParseError as error:
        raise ScanRefused(
            Why.CHECK_DIGIT,
            f"{digits} is no UPC-E, for its check digit or its first digit does not fit: scan it "
            "again. Do not change a digit, any other may be the wrong one.",
        ) from error


def _unmarked(line: str, setup: Setup) -> Meaning:
    if line.startswith(GS) or (setup.gs is not None and line.startswith(setup.gs)):
        return meaning_of_elements(of_message(_with_gs(line, setup)), setup)
    if line.startswith("("):
        return meaning_of_elements(of_brackets(line), setup)
    if line.lower().startswith(("http://", "https://")):
        return meaning_of_elements(of_link(line), setup)
    if line.startswith("urn:epc:"):
        return epcs.of_uri(line, setup)
    if epcs.is_hex(line):
        return epcs.of_hex(line, setup)
    digits = line.replace(" ", "") if _PRINTED.fullmatch(line) else line
    if not _DIGITS.fullmatch(digits):
        raise ScanRefused(
            Why.NO_ITEM,
            f"{line!r} is no number of GS1: if it is a SKU of your own, book it as it is; if it "
            "is a GS1 symbol, set the scanner to send the symbology identifier (such as ]C1).",
        )
    if len(digits) in (12, 13, 14):
        return meaning_of(gtin_of(digits), setup)
    if len(digits) in (6, 7, 8):
        raise ScanRefused(
            Why.AMBIGUOUS,
            f"{digits} may be an EAN-8, or a UPC-E with or without its first and last digit: set "
            "the scanner to send the symbology identifier (]E4, ]E0) and all digits.",
        )
    if len(digits) == 10:
        raise ScanRefused(
            Why.AMBIGUOUS, f"{digits} may be an ISBN of ten digits: scan the 13 below the bars."
        )
    raise ScanRefused(
        Why.AMBIGUOUS,
        f"{len(digits)} digits may be a pallet's number, GS1 elements or a symbol with its add-on: "
        "set the scanner to send the symbology identifier (]C1, ]E3).",
    )


def _with_gs(text: str, setup: Setup) -> str:
    return text if setup.gs is None else text.replace(setup.gs, GS)
