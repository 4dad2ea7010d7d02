"""The catalogue of items and the list of places: foreign names become ours, or a remedy."""

from __future__ import annotations

from decimal import Decimal

import pytest

from importers.documents.catalogue import Catalogue, read_catalogue
from importers.documents.lists import ListError
from importers.documents.places import PlaceList, read_places
from importers.documents.port import ForeignName

CATALOGUE = b"""gtin,scheme,code,sku,pack,units,counted_in
4006381333931,,,PEN,,,
4006381333931,,,PEN,CT,12,
14006381333938,,,PEN,,144,
,buyer,0042,PEN,,10,
,buyer,77,CHEESE,,,gram
,buyer,78,CHEESE,,250,gram
,buyer,79,OIL,,,millilitre
"""
PEN = ForeignName("gtin", "04006381333931")


def named(scheme: str, code: str) -> ForeignName:
    return ForeignName(scheme, code)


@pytest.mark.parametrize(
    ("item", "unit", "quantity", "sku", "count"),
    [
        (PEN, None, "3", "PEN", 3), (PEN, "EA", "3", "PEN", 3), (PEN, "CT", "2", "PEN", 24),
        (named("gtin", "14006381333938"), None, "2", "PEN", 288),
        (named("buyer", "0042"), "C62", "1", "PEN", 10),
        (named("buyer", "77"), "KGM", "1.25", "CHEESE", 1250),
        (named("buyer", "77"), "GRM", "7", "CHEESE", 7),
        (named("buyer", "78"), None, "2", "CHEESE", 500),
        (named("buyer", "78"), "KGM", "2", "CHEESE", 2000),
        (named("buyer", "79"), "LTR", "0.75", "OIL", 750),
        (named("sku", "PEN"), None, "5", "PEN", 5),
        (named("sku", "CHEESE"), "KGM", "1", "CHEESE", 1000),
        (named("sku", "OURS"), None, "5", "OURS", 5),
    ],
)  # fmt: skip
def test_an_item_becomes_its_sku_and_so_many_of_its_smallest_unit(
    item: ForeignName, unit: str | None, quantity: str, sku: str, count: int
) -> None:
    found = read_catalogue(CATALOGUE).find(item, unit)

    assert (found.sku, found.count(Decimal(quantity))) == (sku, count)


@pytest.mark.parametrize(
    ("item", "unit", "told"),
    [
        (named("buyer", "42"), None, "The item '42' (buyer) is not known: add it to the catalogue"),
        (named("gtin", "00012345678905"), None, "is not known: add it to the catalogue"),
        (PEN, "PX", "How many are in one 'PX' of '04006381333931' is not known: add a row"),
        (
            PEN,
            "KGM",
            "comes in KGM, and its SKU 'PEN' is counted in pieces: set counted_in to gram",
        ),
        (named("buyer", "79"), "KGM", "its SKU 'OIL' is counted in millilitres"),
        (
            named("buyer", "77"),
            None,
            "is counted in grams, and the document says pieces: set units",
        ),
    ],
)
def test_an_item_that_is_not_known_is_refused_with_the_remedy(
    item: ForeignName, unit: str | None, told: str
) -> None:
    with pytest.raises(ValueError, match=r"\w") as why:
        read_catalogue(CATALOGUE).find(item, unit)

    assert told in str(why.value)


@pytest.mark.parametrize(
    ("pack", "unit", "count"),
    [("Karton", "Karton", 12), ("kt", "KT", 12), ("EA", None, 12), ("pce", "C62", 12)],
)
def test_the_word_of_a_pack_is_the_same_in_capitals_and_any_word_for_pieces_is_one(
    pack: str, unit: str | None, count: int
) -> None:
    listed = f"gtin,sku,pack,units\n4006381333931,PEN,{pack},12\n".encode()

    assert read_catalogue(listed).find(PEN, unit).count(Decimal(1)) == count


def test_a_measure_is_known_in_small_letters_too() -> None:
    found = read_catalogue(CATALOGUE).find(named("buyer", "77"), "kgm")

    assert found.count(Decimal("1.25")) == 1250


@pytest.mark.parametrize("quantity", ["0.0001", "1.23456", "0.5"])
def test_a_rest_is_refused_and_never_rounded(quantity: str) -> None:
    unit = "KGM" if quantity != "0.5" else None
    item = named("buyer", "77") if unit else PEN

    with pytest.raises(ValueError, match="nothing is rounded"):
        read_catalogue(CATALOGUE).find(item, unit).count(Decimal(quantity))


def test_without_a_catalogue_a_gtin_is_the_sku_that_a_scanner_makes_of_it() -> None:
    assert Catalogue(None).find(PEN, None).sku == "04006381333931"
    for code, told in (
        ("14006381333938", "is a pack, whose number does not say what is inside"),
        ("02012345678905", "no number of one item everywhere"),
    ):
        with pytest.raises(ValueError, match=told):
            Catalogue(None).find(named("gtin", code), None)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"gtin,units\n", "Line 1 has no column sku"),
        (b"gtin,sku\n4006381333932,A\n", "Line 2: The number 4006381333932 is misread or mistyped"),
        (b"gtin,sku\n,A\n", "Line 2: gtin is empty: fill it in, or both scheme and code."),
        (b"gtin,sku\n4006381333931,\n", "Line 2: sku is empty"),
        (b"gtin,sku,units\n4006381333931,A,0\n", "Line 2: units is '0': use a whole number"),
        (b"gtin,sku,units\n4006381333931,A,1.5\n", "Line 2: units is '1.5'"),
        (
            b"gtin,sku,pack\n4006381333931,A,CT\n",
            "Line 2: units is empty: say how many of the SKU one CT holds",
        ),
        (
            b"gtin,sku\n14006381333938,A\n",
            "Line 2: units is empty: say how many of the SKU 14006381333938, a pack, holds",
        ),
        (b"gtin,sku,counted_in\n4006381333931,A,kg\n", "counted_in is 'kg': use one of piece"),
        (b"gtin,sku\n4006381333931,A\n04006381333931,B\n", "Line 3: '04006381333931' is something"),
        (b"gtin,sku,counted_in\n4006381333931,A,gram\n12345678905,A,\n", "Line 3: '12345678905'"),
        (b"gtin,sku\n4006381333931,A,7\n", "Line 2: there are 3 columns, and 2 in line 1."),
        (b"gtin,sku\n\xff,A\n", "The file is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_catalogue_is_told_by_line(data: bytes, told: str) -> None:
    with pytest.raises(ListError) as wrong:
        read_catalogue(data)

    assert any(told in problem for problem in wrong.value.problems), wrong.value.problems


PLACES = b"\xef\xbb\xbfgln;scheme;code;location;zone\n4012345000009;;;store-7;Europe/Berlin\n"
MORE = PLACES + b";buyer;0007;store-7;Europe/Berlin\n;;;store-8;Asia/Tokyo\n"


def test_a_place_becomes_a_location_with_the_zone_of_its_clocks() -> None:
    places = read_places(MORE)

    for name in (
        named("gln", "4012345000009"),
        named("buyer", "0007"),
        named("location", "store-7"),
    ):
        found = places.find(name)
        assert (found.location, str(found.zone)) == ("store-7", "Europe/Berlin")
    assert str(places.find(named("location", "store-8")).zone) == "Asia/Tokyo"
    assert places.find(named("location", "ours")).zone is None


def test_a_place_that_is_not_known_is_refused_with_the_remedy() -> None:
    for places in (read_places(MORE), PlaceList({})):
        with pytest.raises(ValueError, match="add it to the list of places"):
            places.find(named("buyer", "7"))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (b"4012345000016;;;store-9;Mars/Base\n", "Line 3: 'Mars/Base' is no time zone"),
        (b"4012345000016;;;store-7;Asia/Tokyo\n", "Line 3: 'store-7' has another zone in a line"),
        (b"4012345000009;;;store-9;\n", "Line 3: '4012345000009' is another location in a line"),
        (b";buyer;;store-9;\n", "Line 3: gln is empty: fill it in, or both scheme and code."),
        (b"4012345000016;;;;\n", "Line 3: location is empty"),
    ],
)
def test_what_is_wrong_with_a_list_of_places_is_told_by_line(row: bytes, told: str) -> None:
    with pytest.raises(ListError) as wrong:
        read_places(PLACES + row)

    assert any(told in problem for problem in wrong.value.problems), wrong.value.problems
