"""Values that stand in all documents: quantities, units, days and numbers of items and places."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final

from importers.documents.port import ForeignName
from importers.gtins import check_digit

#: Digits before and behind the mark that a quantity may have: no text makes a huge number.
MAX_WHOLE_DIGITS, MAX_DECIMALS = 15, 9
MAX_CODE_CHARS = 128
#: Of a reference or a reason, which may be a URI.
MAX_TEXT_CHARS = 1024
_MAX_IDENTITY_CHARS: Final = 512

_NUMBER = re.compile(rf"[+-]?[0-9]{{1,{MAX_WHOLE_DIGITS}}}(?:\.[0-9]{{1,{MAX_DECIMALS}}})?")
#: X12 leaves the zero before the mark away.
_BARE_FRACTION = re.compile(rf"[+-]?\.[0-9]{{1,{MAX_DECIMALS}}}")
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2})(:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,12}))?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})"
)
_IN_AN_HOUR: Final = frozenset(f":{n // 60:02}:{n % 60:02}" for n in range(3600))
#: Codes of Recommendation 20 for one piece, and older words for it that senders still use.
_PIECES: Final = frozenset(("C62", "H87", "EA", "PCE", "NAR"))
_UNIT = re.compile(r"[A-Z0-9]{2,3}")
#: X12 element 355 has codes of its own for most that Recommendation 20 names, too. Packs have the
#: two letters of Recommendation 21 here, as senders of EDIFACT write them.
_X12_UNITS: Final = {
    "EA": None, "PC": None, "UN": None,
    "KG": "KGM", "GR": "GRM", "LB": "LBR", "OZ": "ONZ",
    "FT": "FOT", "IN": "INH", "YD": "YRD", "MR": "MTR", "CM": "CMT",
    "LT": "LTR", "ML": "MLT", "GA": "GLL", "QT": "QTL", "PT": "PTL", "SF": "FTK",
    "DZ": "DZN", "PR": "PR", "GS": "GRO", "ST": "SET",
    "CA": "CS", "CS": "CS", "CT": "CT", "BX": "BX", "PK": "PK", "BG": "BG", "PL": "PX",
    "RL": "RO", "BO": "BO",
}  # fmt: skip
#: Whose number it is, by X12 element 235 and EDIFACT element 7143. Not UA and U2 of X12, which are
#: codes of cases without a check digit: one in ten would pass as the GTIN of something else.
_GTIN_WORDS: Final = frozenset(("UP", "UK", "EN", "EO", "UG", "GTIN", "SRV", "UPC", "EAN", "ITF"))
_BUYER_WORDS: Final = frozenset(("IN", "CB", "BP", "PI", "SK"))
_SELLER_WORDS: Final = frozenset(("VN", "VA", "VC", "VP", "SA"))
_SCHEME_OF_AGENCY: Final = {"9": "gln", "92": "buyer", "91": "seller", "16": "duns"}
_SCHEME_OF_N103: Final = {
    "UL": "gln", "92": "buyer", "91": "seller", "9": "duns", "1": "duns",
}  # fmt: skip


class CannotRead(Exception):
    """A value cannot be read; the text is one sentence that says why and what to do."""


def decimal_of(text: str, what: str) -> Decimal:
    """Read a plain decimal number with a point, exactly.

    Raises:
        CannotRead: it is none, or has more digits than any stock.
    """
    if not (_NUMBER.fullmatch(text) or _BARE_FRACTION.fullmatch(text)):
        raise CannotRead(
            f"The quantity {clip(text)} in {what} is no decimal number of at most "
            f"{MAX_WHOLE_DIGITS} digits and {MAX_DECIMALS} decimals: ask its sender for the number."
        )
    return Decimal(text)


def checked_decimal(number: Decimal, what: str) -> Decimal:
    """Bound a number that came as one, such as 1e999999999 in JSON.

    Raises:
        CannotRead: it has more digits than any stock, or is none.
    """
    if number.is_finite() and (
        not number
        or (
            number.adjusted() < MAX_WHOLE_DIGITS
            and int(number.as_tuple().exponent) >= -MAX_DECIMALS
        )
    ):
        return number
    return decimal_of(str(number), what)


def rec20_unit(text: str | None, what: str) -> str | None:
    """Return the unit of Recommendation 20, and None for pieces.

    Raises:
        CannotRead: it is no code.
    """
    if not text or text in _PIECES:
        return None
    if not _UNIT.fullmatch(text):
        raise CannotRead(
            f"The unit {clip(text)} in {what} is no code of UN/ECE Recommendation 20 (two or three "
            "capitals or digits, such as KGM): ask its sender for one."
        )
    return text


def x12_unit(text: str, what: str) -> str | None:
    """Return the unit of Recommendation 20 for one of X12 element 355, and None for pieces.

    Raises:
        CannotRead: the code is not known here.
    """
    if not text:
        return None
    try:
        return _X12_UNITS[text]
    except KeyError:
        raise CannotRead(
            f"The unit {clip(text)} in {what} is not known here, so nothing says how much it is: "
            f"ask its sender for one of {', '.join(sorted(_X12_UNITS))}."
        ) from None


def rfc3339_of(text: str) -> str:
    """Return a date and time with its zone as RFC 3339 in UTC, at most to the microsecond.

    Raises:
        CannotRead: it is none, or has no zone and so is no instant.
    """
    found = _INSTANT.fullmatch(text)
    utc = None
    if found:
        hour, rest, fraction, zone = found.groups()
        # Neighbours are of the same hour, which is asked of a calendar once.
        begins = _utc_hour(hour, zone) if rest in _IN_AN_HOUR else None
        utc = _utc(hour + rest + zone) if begins is None else begins + rest
    if utc is None:
        raise CannotRead(
            f"The time {clip(text)} is no instant such as 2026-01-31T10:00:00+01:00, with date, "
            "time and zone: ask its sender for one."
        )
    if fraction and (fraction := fraction[:6].rstrip("0")):
        return f"{utc}.{fraction}Z"
    return f"{utc}Z"


def _utc(text: str) -> str | None:
    """Of a whole second, without the Z; None: there is no such time, or no place is so far off."""
    try:
        there = datetime.fromisoformat(text)
        # ISO would let +24:00 pass; no place is that far off.
        if abs(there.utcoffset() or there - there).total_seconds() > 14 * 3600:
            return None
        return there.astimezone(UTC).isoformat()[:19]
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=1 << 12)
def _utc_hour(local: str, zone: str) -> str | None:
    """Which hour of UTC an hour is; None: none, as where an offset is not of whole hours."""
    if (zone != "Z" and zone[4:] != "00") or local[11:] > "23":
        return None
    begins = _utc(f"{local}:00:00{zone}")
    return begins and begins[:13]


def day_of(digits: str, what: str) -> str:
    """Return YYYY-MM-DD for CCYYMMDD or YYMMDD; a year of two digits is one of this century.

    Raises:
        CannotRead: there is no such day.
    """
    full = f"20{digits}" if len(digits) == 6 else digits
    try:
        if len(full) != 8 or not (full.isascii() and full.isdigit()):
            raise ValueError
        return date(int(full[:4]), int(full[4:6]), int(full[6:])).isoformat()
    except ValueError:
        raise CannotRead(
            f"{clip(digits)} in {what} is no day (CCYYMMDD or YYMMDD): ask its sender for the day."
        ) from None


def time_of_day(digits: str, what: str) -> str:
    """Return HH:MM:SS for HHMM or HHMMSS with or without hundredths.

    Raises:
        CannotRead: there is no such time.
    """
    if (
        len(digits) in (4, 6, 7, 8)
        and digits.isascii()
        and digits.isdigit()
        and digits[:2] < "24"
        and digits[2:4] < "60"
        and digits[4:6] < "60"
    ):
        return f"{digits[:2]}:{digits[2:4]}:{digits[4:6] or '00'}"
    raise CannotRead(
        f"{clip(digits)} in {what} is no time (HHMM or HHMMSS): ask its sender for it."
    )


def gtin_name(digits: str) -> ForeignName:
    """Name an item by a GTIN in any of its lengths; its check digit is never repaired.

    Raises:
        CannotRead: it has another length, or the check digit is wrong.
    """
    if len(digits) not in (8, 12, 13, 14) or not (digits.isascii() and digits.isdigit()):
        raise CannotRead(
            f"{clip(digits)} is no GTIN, which has 8, 12, 13 or 14 digits: ask its sender for the "
            "item's number."
        )
    require_fit(digits, "GTIN")
    return ForeignName("gtin", digits.zfill(14))


def gln_name(digits: str) -> ForeignName:
    """Name a place by its GLN.

    Raises:
        CannotRead: it has not 13 digits, or the check digit is wrong.
    """
    if len(digits) != 13 or not (digits.isascii() and digits.isdigit()):
        raise CannotRead(
            f"{clip(digits)} is no GLN, which has 13 digits: ask its sender for the place's number."
        )
    require_fit(digits, "GLN")
    return ForeignName("gln", digits)


def require_fit(digits: str, what: str) -> None:
    """Refuse a number whose check digit does not fit.

    Raises:
        CannotRead: so it is; any of its digits may be the wrong one.
    """
    if check_digit(digits[:-1]) != int(digits[-1]):
        raise CannotRead(
            f"The {what} {digits} is mistyped, for its check digit does not fit: ask its sender "
            "which number it is, any digit may be the wrong one."
        )


def code_name(scheme: str, code: str) -> ForeignName:
    """Name something by a code whose meaning only its owner knows.

    Raises:
        CannotRead: it is empty, too long, or has control characters.
    """
    if not code or len(code) > MAX_CODE_CHARS or not code.isprintable():
        raise CannotRead(
            f"The code {clip(code)} is empty, longer than {MAX_CODE_CHARS} characters or not "
            "printable: ask its sender for the code."
        )
    return ForeignName(scheme, code)


def item_of(numbers: Iterable[tuple[str, str]]) -> ForeignName:
    """Choose an item's name from all numbers that a line gives it, with X12's or EDIFACT's words.

    A GTIN goes first, and of several the one of the smallest pack, since that is what a quantity
    counts unless its unit says otherwise; then the buyer's number, then the seller's, then any.

    Raises:
        CannotRead: there is no number, or the one to be taken is wrong: another is not guessed.
    """
    found = [(word, code) for word, code in numbers if code]
    gtins = sorted(
        (code.zfill(14), code)
        for word, code in found
        if word in _GTIN_WORDS and code.isascii() and code.isdigit()
    )
    if gtins:
        return gtin_name(gtins[0][1])
    for words, scheme in (
        (_GTIN_WORDS, "gtin"),
        (_BUYER_WORDS, "buyer"),
        (_SELLER_WORDS, "seller"),
    ):
        for word, code in found:
            if word in words:
                return gtin_name(code) if scheme == "gtin" else code_name(scheme, code)
    if not found:
        raise CannotRead("The line has no number of an item: ask its sender for the GTIN.")
    word, code = found[0]
    return code_name(word.lower() or "unqualified", code)


def x12_place(qualifier: str, code: str) -> ForeignName:
    """Name a place by N103 and N104, or SDQ02 and a store number.

    Raises:
        CannotRead: a GLN that is none, or a code that is none.
    """
    scheme = _SCHEME_OF_N103.get(qualifier, qualifier.lower() or "unqualified")
    return gln_name(code) if scheme == "gln" else code_name(scheme, code)


def edifact_place(code: str, agency: str) -> ForeignName:
    """Name a place by elements 3039 or 3225 and 3055.

    Raises:
        CannotRead: a GLN that is none, or a code that is none.
    """
    scheme = _SCHEME_OF_AGENCY.get(agency, agency.lower() or "unqualified")
    return gln_name(code) if scheme == "gln" else code_name(scheme, code)


def short_identity(identity: str) -> str:
    """Return the identity of a document, as a hash where its numbers are too long for one."""
    if len(identity) <= _MAX_IDENTITY_CHARS:
        return identity
    return f"long:{hashlib.sha256(identity.encode(errors='surrogatepass')).hexdigest()}"


def as_text(raw: bytes) -> str:
    """Read characters that say no more of their encoding than that ASCII is in it."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def clip(text: str) -> str:
    """Quote a text that came from outside, within reason."""
    return repr(text if len(text) <= 60 else text[:57] + "…")
