"""Which SKU an item of a document is, and how many of its smallest unit one of it holds."""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from importers.documents.lists import ListReader
from importers.documents.places import foreign_name
from importers.documents.port import ForeignName
from importers.gtins import gtin_of, meaning_of, unit_of
from importers.items import ScanRefused, Setup, Unit

_COLUMNS: Final = ("scheme", "code", "gtin", "sku", "pack", "units", "counted_in")
_MAX_UNITS: Final = 10**9
_EXACT: Final = decimal.Context(prec=60)
_OURS: Final = "sku"


class CountedIn(StrEnum):
    """The smallest unit of a SKU."""

    PIECE = "piece"
    GRAM = "gram"
    MILLILITRE = "millilitre"


_PIECES: Final = ("", "C62", "EA", "H87", "NAR", "PCE", "PC", "UN")
#: Units of UN/ECE Recommendation 20, and the two letters that X12 has for some.
_MEASURES: Final = {
    "MGM": (CountedIn.GRAM, Decimal("0.001")),
    "GRM": (CountedIn.GRAM, Decimal(1)),
    "KGM": (CountedIn.GRAM, Decimal(1000)),
    "KG": (CountedIn.GRAM, Decimal(1000)),
    "TNE": (CountedIn.GRAM, Decimal(10**6)),
    "LBR": (CountedIn.GRAM, Decimal("453.59237")),
    "LB": (CountedIn.GRAM, Decimal("453.59237")),
    "ONZ": (CountedIn.GRAM, Decimal("28.349523125")),
    "OZ": (CountedIn.GRAM, Decimal("28.349523125")),
    "MLT": (CountedIn.MILLILITRE, Decimal(1)),
    "CLT": (CountedIn.MILLILITRE, Decimal(10)),
    "LTR": (CountedIn.MILLILITRE, Decimal(1000)),
}


class CatalogueEntry(msgspec.Struct, frozen=True):
    """units: of the SKU in one of the item; None: it is known by measure only."""

    sku: str
    counted_in: CountedIn
    units: Decimal | None


class OurItem(msgspec.Struct, frozen=True):
    """A SKU, and how many of its smallest unit one of a document's units is."""

    sku: str
    factor: Decimal

    def count(self, quantity: Decimal) -> int:
        """How many of the smallest unit; raises ValueError where it is no whole number."""
        found = _EXACT.multiply(quantity, self.factor)
        whole = int(found)
        if whole != found:
            raise ValueError(
                f"{quantity} of it are {found.normalize():f} of the SKU {self.sku!a}, which is "
                "counted in whole ones: nothing is rounded here. Correct the quantity, or count "
                "the SKU in a smaller unit (counted_in in the catalogue)."
            )
        return whole


class Catalogue:
    """The items that are known.

    Args:
        entries: by name in documents and unit of pack ("" for the item itself); None: there is
            no catalogue, and a GTIN is the SKU, as for `onhand scan`.
    """

    def __init__(self, entries: Mapping[tuple[ForeignName, str], CatalogueEntry] | None) -> None:
        self._entries = entries
        self._counted = {one.sku: one.counted_in for one in (entries or {}).values()}

    def find(self, item: ForeignName, unit: str | None) -> OurItem:
        """The SKU of an item that is counted in such a unit.

        Raises:
            ValueError: it is not known; the text is a sentence with the remedy.
        """
        unit = _pack(unit or "")
        measure = _MEASURES.get(unit)
        own = (self._entries or {}).get((item, unit))
        if own is not None and own.units is not None:
            return OurItem(own.sku, own.units)
        entry = (self._entries or {}).get((item, "")) or self._without(item, unit)
        if measure is not None:
            counted_in, factor = measure
            if entry.counted_in is not counted_in:
                raise ValueError(
                    f"{item.code!a} comes in {unit}, and its SKU {entry.sku!a} is counted in "
                    f"{entry.counted_in}s: set counted_in to {counted_in} in the catalogue if "
                    "that is how it is counted."
                )
            return OurItem(entry.sku, factor)
        if unit:
            raise ValueError(
                f"How many are in one {unit[:20]!a} of {item.code!a} is not known: add a row to "
                f"the catalogue (--catalogue) with pack = {unit[:20]}, and units."
            )
        if entry.units is None:
            raise ValueError(
                f"{item.code!a} is counted in {entry.counted_in}s, and the document says pieces: "
                "set units in the catalogue to how much one piece is."
            )
        return OurItem(entry.sku, entry.units)

    def _without(self, item: ForeignName, unit: str) -> CatalogueEntry:
        """What an item is that the catalogue does not have."""
        if item.scheme == _OURS:
            counted_in = self._counted.get(item.code, CountedIn.PIECE)
            return CatalogueEntry(item.code, counted_in, Decimal(1))
        if item.scheme != "gtin" or self._entries is not None:
            raise ValueError(
                f"The item {item.code[:128]!a} ({item.scheme}) is not known: add it to the "
                "catalogue (--catalogue), with the SKU that it is."
            )
        try:
            meaning = meaning_of(item.code, Setup())
        except ScanRefused:
            raise ValueError(
                f"{item.code} is no number of one item everywhere (a weight, a price, a coupon or "
                "a company's own): add it to the catalogue (--catalogue), with the SKU that it is."
            ) from None
        if meaning.unit is Unit.PACK:
            raise ValueError(
                f"{item.code} is a pack, whose number does not say what is inside: add it to the "
                "catalogue (--catalogue), with its SKU and units."
            )
        return CatalogueEntry(meaning.sku, CountedIn.PIECE, Decimal(1))


def read_catalogue(data: bytes) -> Catalogue:
    """Read a CSV file of `gtin`, or `scheme` and `code`; `sku`; and, where wanted, the others.

    `units`: how many of the SKU's smallest unit are in one of this, 1 by default; of a pack, and
    of a GTIN that is one, it must be said. `pack`: the unit in documents that this row is for,
    such as CT; by default for pieces. `counted_in`: piece, gram or millilitre.

    Raises:
        ListError: names every problem at once.
    """
    reader = ListReader(data, _COLUMNS, ["sku"])
    entries: dict[tuple[ForeignName, str], CatalogueEntry] = {}
    counted: dict[str, CountedIn] = {}
    for line, row in reader.rows():
        pack = _pack(row.get("pack", ""))
        try:
            name = foreign_name(row, "gtin")
            if name.scheme == "gtin":
                name = ForeignName("gtin", gtin_of(name.code))
            entry = _entry(row, name, pack)
        except (ValueError, ScanRefused) as why:
            reader.wrong(line, str(why).removesuffix("."))
            continue
        if counted.setdefault(entry.sku, entry.counted_in) is not entry.counted_in:
            reader.wrong(line, f"{entry.sku!a} is counted in another unit in a line before")
        if entries.setdefault((name, pack), entry) != entry:
            reader.wrong(line, f"{name.code!a} is something else in a line before")
    reader.fail_if_wrong()
    return Catalogue(entries)


def _pack(unit: str) -> str:
    """A unit as the entries have it: in capitals, and "" for pieces."""
    unit = unit.upper()
    return "" if unit in _PIECES else unit


def _entry(row: Mapping[str, str], name: ForeignName, pack: str) -> CatalogueEntry:
    if not row["sku"]:
        raise ValueError("sku is empty: say which it is")
    word = row.get("counted_in") or CountedIn.PIECE
    if word not in list(CountedIn):
        raise ValueError(f"counted_in is {word[:60]!a}: use one of {', '.join(CountedIn)}")
    counted_in = CountedIn(word)
    text = row.get("units", "")
    if not text:
        is_pack = pack and pack not in _MEASURES
        if is_pack or (name.scheme == "gtin" and unit_of(name.code) is Unit.PACK):
            what = f"one {pack[:20]}" if is_pack else f"{name.code}, a pack,"
            raise ValueError(f"units is empty: say how many of the SKU {what} holds")
        return CatalogueEntry(
            row["sku"], counted_in, Decimal(1) if counted_in is CountedIn.PIECE else None
        )
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:12]) <= _MAX_UNITS:
        raise ValueError(f"units is {text[:60]!a}: use a whole number from 1 to {_MAX_UNITS:,}")
    return CatalogueEntry(row["sku"], counted_in, Decimal(text))
