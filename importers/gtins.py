"""A GTIN becomes a SKU: 14 digits, as text, its check digit verified and never repaired."""

from __future__ import annotations

import re
from typing import NoReturn

from importers.items import Meaning, ScanRefused, Setup, Unit, Why

_DIGITS = re.compile(r"[0-9]+")
#: GS1 prefixes of 13 digits: refunds (980), coupons (981–984, 99).
_COUPONS = ("980", "981", "982", "983", "984", "99")


def check_digit(payload: str) -> int:
    """Of all GS1 numbers: weights 3 and 1 from the right, up to the next ten.

    Written here, not taken from biip: it is these lines, and biip takes as long to import
    as the whole `onhand` command to start.
    """
    weighed = (int(digit) * (3, 1)[i % 2] for i, digit in enumerate(reversed(payload)))
    return -sum(weighed) % 10


def require_check_digit(digits: str, what: str) -> None:
    """Refuse `digits` if the last does not fit the others; `what` begins the sentence."""
    if check_digit(digits[:-1]) != int(digits[-1]):
        raise ScanRefused(
            Why.CHECK_DIGIT,
            f"{what} {digits} is misread or mistyped, for its check digit does not fit: scan it "
            "again. Do not change the last digit, any other may be the wrong one.",
        )


def gtin_of(digits: str) -> str:
    """Pad to 14 digits.

    Args:
        digits: 8, 12, 13 or 14. That eight are an EAN-8, and not a UPC-E, the caller knows.

    Raises:
        ScanRefused: another length, or the check digit is wrong.
    """
    if len(digits) not in (8, 12, 13, 14) or not _DIGITS.fullmatch(digits):
        raise ScanRefused(
            Why.UNREADABLE,
            f"{digits!r} is no GTIN, which has 8, 12, 13 or 14 digits: scan it again.",
        )
    require_check_digit(digits, "The number")
    return digits.zfill(14)


def meaning_of(gtin: str, setup: Setup) -> Meaning:
    """One of the item with this GTIN, or what the number itself says of its weight.

    Args:
        gtin: 14 digits, verified.
        setup: of the shop, for numbers that mean something only there.

    Raises:
        ScanRefused: the number is no item, of no item here, or says nothing about how many.
    """
    if gtin.startswith("000000"):  # a GTIN-8; those of 0 and 2 are a company's own
        if gtin[6] in "02":
            return _of_chain(gtin[6:], setup)
    elif gtin[0] == "0":
        thirteen = gtin[1:]
        if thirteen.startswith("04"):
            return _of_chain(thirteen, setup)
        if thirteen.startswith(("02", "2")):
            return _of_region(thirteen, setup)
        if thirteen.startswith(_COUPONS):
            raise ScanRefused(
                Why.NO_ITEM,
                f"{thirteen} is a coupon or a refund, which moves no stock: leave it out.",
            )
    elif gtin[0] == "9":
        raise ScanRefused(
            Why.MEASURE,
            f"{gtin} is sold by measure (it begins with 9), and nothing says how much this is: "
            "scan a symbol that has its net weight in kilograms (310n) beside it.",
        )
    return Meaning(gtin, 1, unit_of(gtin))


def serial_name(gtin: str, serial: str) -> str:
    """The name of one single thing, whatever it was read from.

    A tag has more: how long the company's prefix is. No symbol says that, so it cannot be part
    of a name that both have.
    """
    return f"(01){gtin}(21){serial}"


def is_local(gtin: str) -> bool:
    """Tell whether a region or a company gives this number, so that it is no GTIN."""
    if gtin.startswith("000000"):
        return gtin[6] in "02"
    return gtin[0] == "0" and gtin[1:].startswith(("02", "04", "2"))


def unit_of(gtin: str) -> Unit:
    """Of one of it: indicators 1 to 8 are packs with a number of their own."""
    return Unit.PACK if gtin[0] in "12345678" else Unit.PIECE


def _of_chain(digits: str, setup: Setup) -> Meaning:
    if setup.chain is None:
        raise ScanRefused(
            Why.LOCAL_NUMBER,
            f"{digits} is a number that a company gave itself and others have too: say whose "
            "with the chain's name (--chain), which becomes part of the SKU.",
        )
    return Meaning(f"{setup.chain}-{digits}", 1, Unit.PIECE)


def _of_region(digits: str, setup: Setup) -> Meaning:
    """Read a number of 02 or 20–29: the same digits are kilograms here and a price there."""
    if setup.region is None:
        raise ScanRefused(
            Why.LOCAL_NUMBER,
            f"What {digits} means is national (a weight, a price, a count): say whose rules "
            "hold with the region (--region), such as NO or DE.",
        )
    from biip import ParseConfig, ParseError
    from biip.gtin import Gtin
    from biip.rcn import Rcn, RcnRegion

    region = setup.region.upper()
    try:
        rcn = Gtin.parse(digits, config=ParseConfig(rcn_region=RcnRegion(region.lower())))
    except ParseError as error:
        # The number's own check digit fits, so it is the second one, of the measure.
        raise ScanRefused(
            Why.CHECK_DIGIT,
            f"The measure inside of {digits} has a check digit of its own in {region}, which does "
            "not fit: scan it again, and if it stays so, weigh the item anew.",
        ) from error
    if not isinstance(rcn, Rcn) or all(one is None for one in (rcn.weight, rcn.price, rcn.count)):
        # biip's without_variable_measure() gives the number back as it is: each weight would
        # be a SKU of its own.
        raise ScanRefused(
            Why.LOCAL_NUMBER,
            f"No rule of {region} for numbers like {digits} is known here: book it by the number "
            "that the shop has for this item.",
        )
    if rcn.price is not None:
        raise ScanRefused(
            Why.PRICE,
            f"{digits} says a price in {region} and no weight: work the grams out from the price "
            "per kilogram of the label's day, or have a person book it.",
        )
    # In whole grams or pieces for every rule: none has more than three decimals.
    quantity = int(rcn.weight * 1000) if rcn.weight is not None else rcn.count
    if not quantity:
        _nothing(digits)
    unit = Unit.PIECE if rcn.weight is None else Unit.GRAM
    sku = f"{region}-{rcn.without_variable_measure().as_gtin_13()}"
    return Meaning(sku, quantity, unit, {"number": digits})


def _nothing(digits: str) -> NoReturn:
    raise ScanRefused(
        Why.MEASURE, f"{digits} says a weight or count of nothing: weigh the item anew."
    )
