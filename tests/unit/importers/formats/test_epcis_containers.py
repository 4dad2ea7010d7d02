"""EPCIS: what events say of containers, in each form: what goes in, and what moves in them."""

from __future__ import annotations

from typing import Any

import pytest

from importers.documents.port import ContainedLine, PackedLine, RefusedLine
from tests.unit.importers.formats import writing
from tests.unit.importers.formats.writing import (
    CLASS,
    CONTAINER,
    EPCIS_WRITERS,
    LOT,
    PIECE,
    SGTIN,
    SSCC,
    STORE,
    STORE_GLN,
    epcis_json,
    event,
    quantity,
)

HERE = {"bizLocation": {"id": STORE}, "readPoint": None}
CRATE = "urn:epc:id:grai:9521234.12345.1"
#: Another container, which may hold the first.
OUTER = "urn:epc:id:sscc:9521234.1123456789"
TRAPS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "things and goods are packed": (
        event(type="AggregationEvent", action="ADD", bizStep="packing", epcList=None,
              parentID=SSCC, childEPCs=[f"{SGTIN}01", f"{SGTIN}a%2Fb", OUTER],
              childQuantityList=[quantity(CLASS, 2), quantity(f"{LOT}L1", 0.5, "KGM")]),
        [f"into container {CONTAINER}: /00/195212341234567898, /01/{PIECE}/21/01, "
         f"/01/{PIECE}/21/a%2Fb, 2 {PIECE}, 0.5 KGM {PIECE}"],
    ),
    "all is unpacked": (
        event(type="AggregationEvent", action="DELETE", bizStep="unpacking", epcList=None,
              parentID=SSCC),
        [f"out of container {CONTAINER}: all"],
    ),
    "what was seen in a container need not be all of it": (
        event(type="AggregationEvent", bizStep="inspecting", epcList=None, parentID=SSCC,
              childEPCs=[f"{SGTIN}1"]),
        ["other: The business step inspecting brings nothing in or out of stock."],
    ),
    "a crate that has no number of its own is not remembered": (
        event(type="AggregationEvent", action="ADD", bizStep="packing", epcList=None,
              parentID=CRATE, childEPCs=[f"{SGTIN}1"]),
        ["other: The business step packing brings nothing in or out of stock."],
    ),
    "a pallet alone means what is in it": (
        event(epcList=[SSCC]), [f"dispatched 1 container {CONTAINER} at {STORE_GLN}"],
    ),
    "a pallet alone as a link": (
        event(epcList=[f"https://id.gs1.org/00/{CONTAINER}"]),
        [f"dispatched 1 container {CONTAINER} at {STORE_GLN}"],
    ),
    "a shipment of a pallet is void": (
        event(bizStep="void_shipping", epcList=[SSCC]),
        [f"adjusted 1 container {CONTAINER} at {STORE_GLN}"],
    ),
    "a parent alone means what is in it": (
        event(type="AggregationEvent", action="DELETE", bizStep="receiving", epcList=None,
              parentID=SSCC, **HERE),
        [f"received 1 container {CONTAINER} at {STORE_GLN}", f"out of container {CONTAINER}: all"],
    ),
    "goods are packed and shipped at once": (
        event(type="AggregationEvent", action="ADD", epcList=None, parentID=SSCC,
              childEPCs=[f"{SGTIN}1"]),
        [f"dispatched 1 {PIECE} at {STORE_GLN}",
         f"into container {CONTAINER}: /01/{PIECE}/21/1"],
    ),
}  # fmt: skip
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a pallet that is destroyed": (
        event(bizStep="destroying", epcList=[SSCC]), "what is inside stands nowhere",
    ),
    "a pallet with a wrong check digit": (
        event(epcList=["https://id.gs1.org/00/095212341234567892"]), "check digit does not fit",
    ),
    "a pallet that is too short": (
        event(epcList=["https://id.gs1.org/00/09521234"]), "18 digits of an SSCC",
    ),
    "something is packed, and not said what": (
        event(type="AggregationEvent", action="ADD", bizStep="packing", epcList=None,
              parentID=SSCC), "nothing says what",
    ),
    "what is packed cannot be read": (
        event(type="AggregationEvent", action="ADD", bizStep="packing", epcList=None,
              parentID=SSCC, childEPCs=[f"{SGTIN}1", CRATE]),
        "comes back (GRAI)",
    ),
    "a parent alone that is no pallet": (
        event(type="AggregationEvent", epcList=None, parentID=f"{SGTIN}1"), "names no goods",
    ),
}  # fmt: skip


@pytest.mark.parametrize("writer", EPCIS_WRITERS)
@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_of_containers_is_read_right_in_each_form(trap: str, writer: str) -> None:
    fields, expected = TRAPS[trap]
    write, name = EPCIS_WRITERS[writer]

    parts = writing.read(write(fields), name)

    assert sorted(writing.brief(parts)) == sorted(expected)
    for line in writing.lines(parts):
        if isinstance(line, ContainedLine | PackedLine):
            assert line.time == "2026-01-31T09:00:00Z"


@pytest.mark.parametrize("writer", EPCIS_WRITERS)
@pytest.mark.parametrize("trap", REFUSED)
def test_what_cannot_be_read_of_a_container_is_one_refused_line_that_says_why(
    trap: str, writer: str
) -> None:
    fields, says = REFUSED[trap]
    write, name = EPCIS_WRITERS[writer]

    (line,) = writing.lines(writing.read(write(fields), name))

    assert isinstance(line, RefusedLine)
    assert says in line.sentence
    assert "ask " in line.sentence


def test_a_container_knows_what_is_named_beside_it() -> None:
    fields = event(
        epcList=[f"{SGTIN}1", SSCC, OUTER, CRATE], quantityList=[quantity(CLASS, 2, "KGM")],
        bizTransactionList=[{"type": "po", "bizTransaction": "urn:x:po:7"}],
    )  # fmt: skip

    found = writing.lines(writing.read(epcis_json(fields), "epcis-json"))

    contained = [line for line in found if isinstance(line, ContainedLine)]
    beside = {
        f"/01/{PIECE}", f"/01/{PIECE}/21/1", f"/00/{CONTAINER}", "/00/195212341234567898",
    }  # fmt: skip
    assert [line.beside for line in contained] == [beside, beside]
    assert [line.where for line in contained] == [
        "$.epcisBody.eventList[0].epcList[1]",
        "$.epcisBody.eventList[0].epcList[2]",
    ]
    assert [line.number for line in contained] == [
        f"sscc/{CONTAINER}",
        "sscc/195212341234567898",
    ]
    assert {line.reference for line in contained} == {"urn:x:po:7"}


def test_a_container_that_is_listed_twice_is_one() -> None:
    again = f"https://id.gs1.org/00/{CONTAINER}"

    found = writing.lines(writing.read(epcis_json(event(epcList=[SSCC, again])), "epcis-json"))

    assert len(found) == 1


def test_what_is_in_a_container_is_bounded() -> None:
    def packed(count: int) -> type:
        children = [f"{SGTIN}{n:060}" for n in range(count)]
        fields = event(
            type="AggregationEvent", action="ADD", bizStep="packing", epcList=None,
            parentID=SSCC, childEPCs=children,
        )  # fmt: skip
        (line,) = writing.lines(writing.read(epcis_json(fields), "epcis-json"))
        return type(line)

    assert packed(4_000) is PackedLine
    assert packed(6_000) is RefusedLine
