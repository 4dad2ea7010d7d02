"""What is weighed becomes whole grams, or is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importers.elements import net_grams
from importers.gtins import check_digit
from importers.items import NotAnItem, ScannedItem, ScanRefused, Setup, Unit, Why
from importers.scans import read

WEIGHED = "99521234000016"
NORWAY, GERMANY, DENMARK = (Setup(region=region) for region in ("NO", "de", "DK"))


def checked(payload: str) -> str:
    return payload + str(check_digit(payload))


def meant(text: str, setup: Setup | None = None) -> tuple[str, int, Unit] | Why:
    found = read(text, setup or Setup())
    if isinstance(found, NotAnItem):
        return found.why
    return found.sku, found.quantity, found.unit


@given(st.integers(1, 999_999), st.integers(0, 5))
def test_grams_are_exact_or_refused(digits: int, decimals: int) -> None:
    element = [(f"310{decimals}", f"{digits:06}")]
    if digits * 1000 % 10**decimals:
        with pytest.raises(ScanRefused, match="not a whole number of grams"):
            net_grams(element)
    else:
        grams = net_grams(element)
        assert grams is not None
        assert grams * 10**decimals == digits * 1000


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ("3103001750", (WEIGHED, 1750, Unit.GRAM)),
        ("3100000002", (WEIGHED, 2000, Unit.GRAM)),
        ("3104017500", (WEIGHED, 1750, Unit.GRAM)),
        ("31030017503102000175", (WEIGHED, 1750, Unit.GRAM)),
        ("3104017505", Why.MEASURE),
        ("3103000000", Why.MEASURE),
        ("31030017503103001751", Why.AMBIGUOUS),
        ("31030017503102000176", Why.MEASURE),
        ("3203001750", Why.MEASURE),  # pounds
        ("3303001750", Why.MEASURE),  # gross
        ("306", (WEIGHED, 6, Unit.PIECE)),
        ("", Why.MEASURE),
    ],
)
def test_a_net_weight_in_kilograms_is_the_quantity(
    beside: str, expected: tuple[str, int, Unit] | Why
) -> None:
    assert meant(f"]C101{WEIGHED}{beside}") == expected


@pytest.mark.parametrize(
    ("prefix", "setup", "expected"),
    [
        ("23", NORWAY, ("NO-2312345000002", 1_750, Unit.GRAM)),
        ("24", NORWAY, ("NO-2412345000009", 17_500, Unit.GRAM)),
        ("25", NORWAY, ("NO-2512345000006", 175_000, Unit.GRAM)),
        ("25", GERMANY, Why.CHECK_DIGIT),
        ("21", DENMARK, Why.PRICE),
        ("27", DENMARK, ("DK-2712345000000", 1_750, Unit.GRAM)),
        ("20", NORWAY, Why.PRICE),
        ("29", NORWAY, Why.LOCAL_NUMBER),
        ("02", NORWAY, Why.LOCAL_NUMBER),
        ("23", Setup(), Why.LOCAL_NUMBER),
        ("04", NORWAY, Why.LOCAL_NUMBER),
    ],
)
def test_a_weighed_number_means_what_its_region_says(
    prefix: str, setup: Setup, expected: tuple[str, int, Unit] | Why
) -> None:
    thirteen = checked(f"{prefix}1234501750")

    assert meant(thirteen, setup) == expected
    assert meant(f"]E0{thirteen}", setup) == expected
    assert meant(f"(01)0{thirteen}", setup) == expected


@given(st.integers(1, 9999), st.integers(1, 9999))
def test_two_weights_of_one_item_are_one_sku(one: int, other: int) -> None:
    found = [meant(checked(f"23123456{grams:04}"), NORWAY) for grams in (one, other)]

    sku = "NO-" + checked("231234560000")
    assert found == [(sku, one, Unit.GRAM), (sku, other, Unit.GRAM)]


def test_a_german_weight_has_a_check_digit_of_its_own() -> None:
    taken = [
        found
        for inner in range(10)
        if isinstance(found := read(checked(f"281234{inner}01750"), GERMANY), ScannedItem)
    ]

    (only,) = taken
    assert (only.sku, only.quantity, only.unit) == ("DE-2812340000002", 1_750, Unit.GRAM)
    assert only.beside["number"] == only.text


def test_a_german_count_is_pieces() -> None:
    found = {meant(checked(f"251234{inner}00012"), GERMANY) for inner in range(10)}

    assert found == {Why.CHECK_DIGIT, ("DE-2512340000001", 12, Unit.PIECE)}


@pytest.mark.parametrize("digits", ["]E402345673", "0412345678903"])
def test_a_companys_own_number_has_the_company_in_its_sku(digits: str) -> None:
    text = checked(digits[:-1]) if digits[0] != "]" else "]E4" + checked(digits[3:-1])

    assert meant(text) is Why.LOCAL_NUMBER
    sku = f"nordmarkt-{text.removeprefix(']E4')}"
    assert meant(text, Setup(chain="nordmarkt")) == (sku, 1, Unit.PIECE)


def test_a_measure_beside_a_regions_number_is_refused() -> None:
    assert meant(f"]C1010{checked('231234501750')}3103001750", NORWAY) is Why.MEASURE
