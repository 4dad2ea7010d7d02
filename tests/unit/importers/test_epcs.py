"""What an RFID read is: one thing, however often it is read and however the tag was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importers.epcs import id_uri
from importers.items import ELEMENT_CHARACTERS, NotAnItem, ScannedItem, Setup, Unit, Why
from importers.scans import read
from importers.sessions import Session

PREFIX_BITS = {12: 40, 11: 37, 10: 34, 9: 30, 8: 27, 7: 24, 6: 20}
#: The example of the Tag Data Standard.
TAG = "3074257BF7194E4000001A85"


def item(text: str) -> ScannedItem:
    meant = read(text, Setup())
    assert isinstance(meant, ScannedItem), meant
    return meant


def sgtin_96(prefix: str, reference: str, serial: int, filter_value: int = 1) -> str:
    bits = PREFIX_BITS[len(prefix)]
    number = (0x30 << 3 | filter_value) << 3 | 12 - len(prefix)
    number = (number << bits | int(prefix)) << 44 - bits | int(reference)
    return f"{number << 38 | serial:024X}"


def sgtin_198(prefix: str, reference: str, serial: str, bits_of_all: int = 208) -> str:
    bits = PREFIX_BITS[len(prefix)]
    number = (0x36 << 3 | 1) << 3 | 12 - len(prefix)
    number = (number << bits | int(prefix)) << 44 - bits | int(reference)
    for character in serial.ljust(20, "\0"):
        number = number << 7 | ord(character)
    return f"{number << bits_of_all - 198:0{bits_of_all // 4}X}"


@st.composite
def identities(draw: st.DrawFn) -> tuple[str, str]:
    """A company prefix, none of a region's or a coupon's, and an item reference of 0 to 8."""
    length = draw(st.integers(6, 12))
    tail = draw(st.text(st.sampled_from("0123456789"), min_size=11, max_size=11))
    return "6" + tail[: length - 1], str(draw(st.integers(0, 8))) + tail[length - 1 :]


@pytest.mark.parametrize(
    ("text", "epc", "sku"),
    [
        (TAG, "urn:epc:id:sgtin:0614141.812345.6789", "80614141123458"),
        (
            "urn:epc:tag:sgtin-96:3.0614141.812345.6789",
            "urn:epc:id:sgtin:0614141.812345.6789",
            "80614141123458",
        ),
        (
            "3674257BF6B7A659B2C2BF1000000000000000000000000000",
            "urn:epc:id:sgtin:0614141.712345.32a%2Fb",
            "70614141123451",
        ),
    ],
)
def test_the_examples_of_the_standard_are_what_it_says(text: str, epc: str, sku: str) -> None:
    found = item(text)

    assert found.once == f"(01){sku}(21){found.beside['serial']}"
    assert (found.beside["epc"], found.sku) == (epc, sku)
    assert (found.quantity, found.unit) == (1, Unit.PACK)


@given(identities(), st.integers(0, (1 << 38) - 1), st.integers(0, 7))
def test_the_filter_and_the_form_of_a_tag_are_not_the_thing(
    identity: tuple[str, str], serial: int, filter_value: int
) -> None:
    prefix, reference = identity
    found = [
        item(sgtin_96(*identity, serial, filter_value)),
        item(sgtin_96(*identity, serial, filter_value).lower() + "0000"),
        item(f"urn:epc:tag:sgtin-96:{filter_value}.{prefix}.{reference}.{serial}"),
        item(sgtin_198(*identity, str(serial))),
        item(sgtin_198(*identity, str(serial), 200)),
    ]

    assert {one.beside["epc"] for one in found} == {id_uri(prefix, reference, str(serial))}
    assert len({(one.sku, one.once) for one in found}) == 1


@given(identities(), st.text(st.sampled_from(ELEMENT_CHARACTERS), min_size=1, max_size=20))
def test_a_serial_is_unescaped_once_and_escaped_once(
    identity: tuple[str, str], serial: str
) -> None:
    from_tag = item(sgtin_198(*identity, serial))
    from_uri = item(from_tag.beside["epc"])

    assert from_tag.beside["serial"] == from_uri.beside["serial"] == serial
    assert from_uri.once == from_tag.once


@pytest.mark.parametrize(
    ("text", "why", "says"),
    [
        ("3174257BF4499602D2000000", Why.NO_ITEM, "SSCC"),
        ("3274257BF460720000000190", Why.NO_ITEM, "SGLN"),
        ("3374257BF40C0E400000162E", Why.NO_ITEM, "GRAI"),
        ("3474257BF40000000000162E", Why.NO_ITEM, "GIAI"),
        ("000000000000000000000000", Why.NO_ITEM, "nothing was written"),
        ("E2801160600002054E1A1B2C", Why.NO_ITEM, "header E2"),
        ("F70109521234000013F70AB1", Why.UNREADABLE, "F70109521234000013F70AB1"),
        ("307C257BF7194E4000001A85", Why.UNREADABLE, "read the tag again"),  # partition 7
        ("3077FFFFF7194E4000001A85", Why.UNREADABLE, "read the tag again"),  # prefix too large
        (f"{TAG}0001", Why.UNREADABLE, "read the tag again"),
        ("3674257BF6B7A659B2C2BF10", Why.UNREADABLE, "read the tag again"),  # cut off
        ("urn:epc:id:sscc:0614141.1234567890", Why.NO_ITEM, "SSCC"),
        ("urn:epc:id:sgln:0614141.12345.400", Why.NO_ITEM, "SGLN"),
        ("urn:epc:id:grai:0614141.12345.400", Why.NO_ITEM, "GRAI"),
        ("urn:epc:tag:sscc-96:3.0614141.1234567890", Why.NO_ITEM, "SSCC"),
        ("urn:epc:idpat:sgtin:0614141.812345.*", Why.NO_ITEM, "a kind of things"),
        ("urn:epc:class:lgtin:0614141.812345.A-1", Why.NO_ITEM, "a kind of things"),
        ("urn:epc:id:sgtin:0614141.12345.6789", Why.UNREADABLE, "no SGTIN"),  # 12 digits
        ("urn:epc:id:sgtin:0614141.812345.", Why.UNREADABLE, "no SGTIN"),
        ("urn:epc:id:sgtin:0614141.812345.a/b", Why.UNREADABLE, "no SGTIN"),
        ("urn:epc:tag:sgtin-96:3.0614141.812345.0007", Why.UNREADABLE, "no SGTIN"),
        ("urn:epc:id:sgtin:9521234.900001.1", Why.MEASURE, "310n"),
        ("urn:epc:id:sgtin:2312345.001750.1", Why.LOCAL_NUMBER, "shop"),
    ],
)
def test_what_is_no_item_says_what_it_is(text: str, why: Why, says: str) -> None:
    meant = read(text, Setup())

    assert isinstance(meant, NotAnItem)
    assert meant.why is why
    assert says in meant.sentence


def test_a_tag_counts_once_in_a_session_and_its_id_names_both() -> None:
    session = Session("count-7")
    reads = [TAG, TAG.lower(), f"{TAG}0000", "urn:epc:tag:sgtin-96:0.0614141.812345.6789"]

    taken = [session.take(item(text)) for text in reads]

    first = taken[0]
    assert isinstance(first, ScannedItem)
    assert first.event_id == "count-7:(01)80614141123458(21)6789"
    assert [one.why for one in taken[1:] if isinstance(one, NotAnItem)] == [Why.REPEATED] * 3
    assert isinstance(Session("count-8").take(item(TAG)), ScannedItem)


def test_a_symbol_with_the_serial_of_a_tag_is_the_same_thing() -> None:
    session = Session()
    session.take(item("(01)80614141123458(21)6789"))

    assert isinstance(session.take(item(TAG)), NotAnItem)
    assert isinstance(session.take(item("(01)80614141123458(21)06789")), ScannedItem)


def test_a_thing_has_one_sku_and_one_id_whatever_it_is_read_from() -> None:
    reads = [
        TAG,
        "urn:epc:id:sgtin:0614141.812345.6789",
        "urn:epc:id:sgtin:061414112.8345.6789",  # written with a longer prefix of the company
        "(01)80614141123458(21)6789",
        "]C1018061414112345810A-1\x1d216789",
        "https://id.gs1.org/01/80614141123458/21/6789",
    ]
    # Each by a device of its own, which has seen none of the others.
    taken = [Session("count-7").take(item(text)) for text in reads]

    assert {(one.sku, one.event_id) for one in taken if isinstance(one, ScannedItem)} == {
        ("80614141123458", "count-7:(01)80614141123458(21)6789")
    }


def test_an_item_without_a_serial_counts_at_each_scan() -> None:
    session = Session()

    assert all(isinstance(session.take(item("9521234000013")), ScannedItem) for _ in range(3))


def test_grams_and_pieces_of_one_sku_are_not_added_up() -> None:
    session = Session()
    session.take(item("9521234000013"))

    refused = session.take(item("(01)09521234000013(3103)001750"))

    assert isinstance(refused, NotAnItem)
    assert refused.why is Why.MEASURE
