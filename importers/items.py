"""What a scan means: an item with its quantity, or why it is none."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import msgspec

#: Of numbers 02 and 20–29: where rules for what is inside are known (ISO 3166, lower case).
REGIONS: Final = ("de", "dk", "ee", "fi", "gb", "lt", "lv", "no", "se")
#: What may stand in the value of a GS1 element, and so cannot be the sign for GS as well.
ELEMENT_CHARACTERS: Final = (
    "!\"%&'()*+,-./0123456789:;<=>?_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_CHAIN = re.compile(r"[A-Za-z0-9_-]{1,32}")


class Unit(StrEnum):
    """In what an item is counted. One SKU has one unit, for good."""

    PIECE = "piece"
    #: A case or another level that has a number of its own; what is inside stands nowhere.
    PACK = "pack"
    GRAM = "gram"


class Why(StrEnum):
    """Why a text is no item; each with another remedy."""

    UNREADABLE = "unreadable"
    AMBIGUOUS = "ambiguous"
    CHECK_DIGIT = "check_digit"
    NO_ITEM = "no_item"
    LOCAL_NUMBER = "local_number"
    PRICE = "price"
    MEASURE = "measure"
    REPEATED = "repeated"


class ScannedItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item.

    `text` is what came, to be kept beside the fact. `sku`: a GTIN is 14 digits; a number that
    a region or a chain gives has that in front. `quantity`: whole, at least 1, in `unit`.
    `once`: the thing itself, where it can be told from its like (by its serial, or as a pallet); a
    tag and a symbol of one thing have the same. A second scan of it is the same thing.
    `event_id`: of the fact, from `once` and a session.
    `beside`: what is never part of the SKU, as text and unchanged: `lot`, `serial`, `expiry`
    (YYMMDD), …, and by its GS1 number what has no name here.
    """

    text: str
    symbology: str | None
    sku: str
    quantity: int
    unit: Unit
    once: str | None
    event_id: str | None
    beside: dict[str, str]


class NotAnItem(msgspec.Struct, frozen=True, kw_only=True):
    """No item. `sentence` says why and what to do."""

    text: str
    why: Why
    sentence: str


class Meaning(msgspec.Struct, frozen=True):
    """An item while it is being read; fields as in `ScannedItem`."""

    sku: str
    quantity: int
    unit: Unit
    beside: dict[str, str] = {}
    once: str | None = None


class ScanRefused(Exception):
    """Ends the reading of one text; `read` makes a `NotAnItem` of it."""

    def __init__(self, why: Why, sentence: str) -> None:
        super().__init__(sentence)
        self.why = why


class SetupError(ValueError):
    """A setting that cannot be; its text is a sentence with the remedy."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """How this shop reads. Nothing has a default that could be wrong somewhere.

    Args:
        region: whose rules numbers 02 and 20–29 follow, one of `REGIONS`, in any case.
        chain: whose own numbers are those of 04 and the 8-digit ones that begin with 0 or 2;
            becomes part of the SKU.
        gs: the printable sign that the scanner sends in place of the control character GS.

    Raises:
        SetupError: one of them cannot be.
    """

    region: str | None = None
    chain: str | None = None
    gs: str | None = None

    def __post_init__(self) -> None:
        if self.region is not None and self.region.lower() not in REGIONS:
            raise SetupError(
                f"For the region {self.region!r} no rules are known here: take one of "
                f"{', '.join(REGIONS).upper()}, or leave it out."
            )
        if self.chain is not None and not _CHAIN.fullmatch(self.chain):
            raise SetupError(
                f"The chain {self.chain!r} becomes part of a SKU: take 1 to 32 letters A–Z, "
                "digits, - and _."
            )
        if self.gs is not None and (
            len(self.gs) != 1
            or not self.gs.isascii()
            or not self.gs.isprintable()
            or self.gs in ELEMENT_CHARACTERS
            or self.gs in " ]"
        ):
            raise SetupError(
                f"The sign {self.gs!r} cannot stand for GS: take one that no GS1 value can "
                "have, such as | ~ ^ or @, in the scanner and here."
            )
