"""One item is one SKU, whatever read it; nothing is guessed and nothing repaired."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importers.gtins import check_digit, is_local
from importers.items import (
    ELEMENT_CHARACTERS,
    REGIONS,
    NotAnItem,
    ScannedItem,
    Setup,
    SetupError,
    Unit,
    Why,
)
from importers.scans import read
from tests.unit.importers.shapes import GS, SHAPES, SHOP, SKU

PLAIN = Setup()
values = st.text(st.sampled_from(ELEMENT_CHARACTERS), min_size=1, max_size=20)


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text(st.sampled_from("0123456789"), min_size=count, max_size=count)


def checked(payload: str) -> str:
    return payload + str(check_digit(payload))


def item(text: str, setup: Setup = PLAIN) -> ScannedItem:
    meant = read(text, setup)
    assert isinstance(meant, ScannedItem), meant
    return meant


def refusal(text: str, setup: Setup = PLAIN) -> NotAnItem:
    meant = read(text, setup)
    assert isinstance(meant, NotAnItem), meant
    return meant


@pytest.mark.parametrize("shape", SHAPES)
def test_one_item_in_all_its_shapes_is_one_piece_of_one_sku(shape: str) -> None:
    found = item(SHAPES[shape], SHOP)

    assert (found.sku, found.quantity, found.unit) == (SKU, 1, Unit.PIECE)
    assert found.text == SHAPES[shape]
    assert found.beside.get("lot", "A-1") == "A-1"
    assert found.beside.get("expiry", "271231") == "271231"


@given(digits(11))
def test_twelve_thirteen_and_fourteen_digits_are_one_item_or_refused_alike(payload: str) -> None:
    upc = checked(payload)
    read_as = [read(text, PLAIN) for text in (upc, f"0{upc}", f"00{upc}", f"]E0{upc}")]

    if isinstance(read_as[0], ScannedItem):
        assert {one.sku for one in read_as if isinstance(one, ScannedItem)} == {f"00{upc}"}
    assert len({type(one) for one in read_as}) == 1


@given(digits(12), values)
def test_a_gtin_is_never_two_items(payload: str, serial: str) -> None:
    gtin = checked("0" + payload)
    shapes = [gtin, f"]C101{gtin}", f"{GS}01{gtin}21{serial}", f"]e001{gtin}", f"(01){gtin}"]
    if not is_local(gtin):
        escaped = "".join(f"%{ord(c):02X}" if c in '"%&/<>?' else c for c in serial)
        shapes.append(f"urn:epc:id:sgtin:{payload[:7]}.0{payload[7:]}.{escaped}")
        shapes.append(f"https://x.example/01/{gtin[1:]}")

    meant = [read(text, PLAIN) for text in shapes]

    kinds = {one.sku if isinstance(one, ScannedItem) else one.why for one in meant}
    assert len(kinds) == 1
    assert kinds <= {gtin, Why.NO_ITEM, Why.LOCAL_NUMBER}


@given(digits(12))
def test_two_indicators_are_never_one_item(payload: str) -> None:
    found = [read(checked(f"{indicator}{payload}"), PLAIN) for indicator in "012345678"]
    skus = [one.sku for one in found if isinstance(one, ScannedItem)]

    assert len(set(skus)) == len(skus)
    assert [one.unit for one in found[1:] if isinstance(one, ScannedItem)] == [Unit.PACK] * 8


@given(digits(12), st.integers(0, 12), st.integers(1, 9))
def test_one_wrong_digit_is_refused_and_never_repaired(payload: str, at: int, by: int) -> None:
    right = checked(payload)
    wrong = right[:at] + str((int(right[at]) + by) % 10) + right[at + 1 :]

    for text in (wrong, f"]E0{wrong}", f"]C1010{wrong}", f"(01)0{wrong}"):
        told = refusal(text)
        assert told.why is Why.CHECK_DIGIT
        assert "scan it again" in told.sentence
        assert right not in told.sentence


@given(values, values)
def test_lots_and_serials_come_out_as_they_went_in(lot: str, serial: str) -> None:
    found = item(f"]C101{SKU}10{lot}{GS}21{serial}")

    assert (found.sku, found.beside) == (SKU, {"lot": lot, "serial": serial})


@given(st.text() | values.map("]C101{}".format) | values.map("urn:epc:id:sgtin:{}".format))
def test_whatever_comes_there_is_an_answer(text: str) -> None:
    meant = read(text, SHOP)

    assert isinstance(meant, ScannedItem) or meant.sentence.endswith(".")


@pytest.mark.parametrize(
    ("text", "sku"),
    [
        ("]E496385074", "00000096385074"),
        ("]E40000096385074", "00000096385074"),
        ("00000096385074", "00000096385074"),
        ("]E004252614", "00042100005264"),
        ("]E00042100005264", "00042100005264"),
        ("0 42100 00526 4", "00042100005264"),
        ("9780201379624", "09780201379624"),
    ],
)
def test_eight_digits_are_an_ean_8_or_a_upc_e_by_their_symbology(text: str, sku: str) -> None:
    assert item(text).sku == sku


@pytest.mark.parametrize(
    ("text", "why", "says"),
    [
        ("96385074", Why.AMBIGUOUS, "]E4"),
        ("04252614", Why.AMBIGUOUS, "]E0"),
        ("0425261", Why.AMBIGUOUS, "all digits"),
        ("425261", Why.AMBIGUOUS, "all digits"),
        ("0201379624", Why.AMBIGUOUS, "13 below the bars"),
        ("]E0425261", Why.UNREADABLE, "all digits"),
        ("]E004252615", Why.CHECK_DIGIT, "scan it again"),
        ("]E105", Why.NO_ITEM, "]E3"),
        ("]C0010952123400001310A-1", Why.NO_ITEM, "]C0"),
        ("010952123400001310A-1", Why.NO_ITEM, "symbology identifier"),
        ("0109521234000013", Why.AMBIGUOUS, "]C1"),
        ("00106141412345678908020952123400001337120", Why.AMBIGUOUS, "pallet"),
        ("SKU-000042", Why.NO_ITEM, "book it as it is"),
        ("", Why.UNREADABLE, "scan it again"),
        ("]C101٠٩٥٠٦٠٠٠١٣٤٣٥٢", Why.UNREADABLE, "keyboard language"),
        ("(01)09521234000013(10)A(B)C", Why.AMBIGUOUS, "Brackets"),
        ("(01)09521234000013(10)A(1)2", Why.UNREADABLE, "cannot be split"),
        ("]C1010952123400001310A B", Why.UNREADABLE, "--gs"),
        ("]C1 0109521234000013", Why.UNREADABLE, "--gs"),
        ("https://shop.example/products/4711", Why.NO_ITEM, "link"),
        ("https://x.example/01/09521234000013/10/A?10=B", Why.AMBIGUOUS, "(10)"),
        ("https://x.example/01/09521234000013?17=271231&17=281231", Why.AMBIGUOUS, "(17)"),
        ("9810000000006", Why.NO_ITEM, "coupon"),
        ("]C100106141412345678908", Why.NO_ITEM, "SSCC"),
        ("]C100106141412345678907", Why.CHECK_DIGIT, "SSCC"),
        ("]C180030952123400001312", Why.NO_ITEM, "GRAI"),
        ("]C14149521234000013", Why.NO_ITEM, "GLN"),
        ("]C110A-1", Why.NO_ITEM, "(10) alone"),
        (f"]C1010952123400001310A{GS}10B", Why.AMBIGUOUS, "(10)"),
        ("]C101095212340000130209521234000013", Why.AMBIGUOUS, "contents of a pallet"),
        ("]C101095212340000133712", Why.MEASURE, "(02)"),
        ("]C10209521234000013", Why.MEASURE, "(37)"),
        ("]C10209521234000013370", Why.MEASURE, "(37)"),
        ("]C10109521234000013306", Why.MEASURE, "(30)"),
    ],
)
def test_what_is_no_item_or_could_be_two_says_so_with_the_remedy(
    text: str, why: Why, says: str
) -> None:
    told = refusal(text)

    assert told.why is why
    assert says in told.sentence


def test_an_add_on_is_a_field_of_its_own() -> None:
    assert item("]E3977123456789805").beside == {"add_on": "05"}
    assert item("]E3977123456789850499").sku == item("]E3977123456789805").sku


def test_contents_of_a_pallet_are_counted_once_for_its_number() -> None:
    found = item("]C10010614141234567890802095212340000133712")

    assert (found.sku, found.quantity, found.unit) == (SKU, 12, Unit.PIECE)
    assert found.once == "(00)106141412345678908"


@pytest.mark.parametrize("sign", ["~", "|", "^", "@", "{", "#"])
def test_a_sign_stands_for_gs_only_where_it_is_set(sign: str) -> None:
    text = f"]C1010952123400001310A-1{sign}17271231"

    assert item(text, Setup(gs=sign)).beside == {"lot": "A-1", "expiry": "271231"}
    assert refusal(text).why is Why.UNREADABLE


@pytest.mark.parametrize("sign", ["", "||", "A", "7", "-", "(", "]", " ", "é", "\x1e"])
def test_a_sign_that_a_value_may_have_cannot_stand_for_gs(sign: str) -> None:
    with pytest.raises(SetupError, match="cannot stand for GS: take one"):
        Setup(gs=sign)


def test_regions_and_chains_that_cannot_be_are_one_sentence() -> None:
    with pytest.raises(SetupError, match="take one of DE, DK"):
        Setup(region="US")
    with pytest.raises(SetupError, match="letters"):
        Setup(chain="a/b")


def test_the_settings_know_the_regions_and_characters_that_biip_knows() -> None:
    from biip import ParseError
    from biip.checksums import gs1_standard_check_digit
    from biip.gs1_messages import GS1Message
    from biip.rcn import _RCN_RULES, RcnRegion

    assert set(REGIONS) == {region.value for region in RcnRegion}
    # Whole grams, whatever the digits are.
    assert all(rule.num_decimals <= 3 for rules in _RCN_RULES.values() for rule in rules.values())
    assert len(set(ELEMENT_CHARACTERS)) == 82
    for character in map(chr, range(0x20, 0x7F)):
        try:
            taken = GS1Message.parse(f"10A{character}A").value == f"10A{character}A"
        except ParseError:
            taken = False
        assert taken is (character in ELEMENT_CHARACTERS), character
    for payload in ("952123400001", "10614141234567890", "9638507"):
        assert check_digit(payload) == gs1_standard_check_digit(payload)


def test_what_needs_no_library_does_not_wait_for_it() -> None:
    code = (
        "import sys; from importers.items import Setup; from importers.scans import read; "
        "read('9521234000013', Setup()); read('303645214800004000000007', Setup()); "
        "sys.exit(any(m in sys.modules for m in ('biip', 'aiohttp', 'faust')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
