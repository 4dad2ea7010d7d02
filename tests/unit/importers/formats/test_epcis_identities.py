"""What tells an event from all others where it has no eventID: what it says, however written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.importers.formats import writing
from tests.unit.importers.formats.writing import (
    CLASS,
    LOT,
    SGTIN,
    SSCC,
    STORE,
    STORE_GLN,
    epcis_json,
    epcis_xml,
    event,
    quantity,
)

FULL = event(
    eventID=None,
    recordTime="2026-01-31T12:00:00Z",
    disposition="in_transit",
    epcList=[f"{SGTIN}1", f"{SGTIN}a%2Fb", SSCC],
    quantityList=[quantity(CLASS, 3), quantity(f"{LOT}L1", 200.5, "KGM")],
    bizLocation={"id": STORE},
    bizTransactionList=[
        {"type": "po", "bizTransaction": "urn:x:po:7"},
        {"type": "desadv", "bizTransaction": "urn:x:da:8"},
    ],
    sourceList=[{"type": "location", "source": STORE}],
    destinationList=[{"type": "location", "destination": "urn:epc:id:sgln:9521234.00002.0"}],
)


def identity(data: bytes, name: str = "epcis-json") -> str:
    (document,) = writing.documents(writing.read(data, name))
    return document.identity


SAME: dict[str, dict[str, Any]] = {
    "another order": {"epcList": [SSCC, f"{SGTIN}a%2Fb", f"{SGTIN}1"]},
    "the same instant without fractions": {"eventTime": "2026-01-31T10:00:00+01:00"},
    "the same instant of another clock": {"eventTime": "2026-01-31T04:00:00.000-05:00"},
    "recorded later": {"recordTime": "2026-02-28T00:00:00Z"},
    "a step as a URN": {"bizStep": "urn:epcglobal:cbv:bizstep:shipping"},
    "a step as a web URI": {"bizStep": "https://ref.gs1.org/cbv/BizStep-shipping"},
    "a disposition as a URN": {"disposition": "urn:epcglobal:cbv:disp:in_transit"},
    "items as links": {
        "epcList": [
            "https://id.gs1.org/01/09521234123453/21/1",
            "https://example.com/01/09521234123453/21/a%2Fb",
            "https://id.gs1.org/00/095212341234567891",
        ]
    },
    "a place as a link": {"readPoint": {"id": f"https://id.gs1.org/414/{STORE_GLN}"}},
    "a quantity with more zeros": {
        "quantityList": [quantity(f"{LOT}L1", "200.500", "KGM"), quantity(CLASS, "3.0")]
    },
    "transactions in another order": {
        "bizTransactionList": [
            {"type": "urn:epcglobal:cbv:btt:desadv", "bizTransaction": "urn:x:da:8"},
            {"type": "https://ref.gs1.org/cbv/BTT-po", "bizTransaction": "urn:x:po:7"},
        ]
    },
    "declared wrong": {},
}
OTHER: dict[str, dict[str, Any]] = {
    "another local clock": {"eventTimeZoneOffset": "-05:00"},
    "another second": {"eventTime": "2026-01-31T10:00:01+01:00"},
    "another step": {"bizStep": "receiving"},
    "another action": {"action": "ADD"},
    "another serial": {"epcList": [f"{SGTIN}2", f"{SGTIN}a%2Fb", SSCC]},
    "a serial with a zero before it": {"epcList": [f"{SGTIN}01", f"{SGTIN}a%2Fb", SSCC]},
    "another lot": {"quantityList": [quantity(CLASS, 3), quantity(f"{LOT}L2", 200.5, "KGM")]},
    "another unit": {"quantityList": [quantity(CLASS, 3), quantity(f"{LOT}L1", 200.5, "LBR")]},
    "another amount": {"quantityList": [quantity(CLASS, 4), quantity(f"{LOT}L1", 200.5, "KGM")]},
    "another type of transaction": {
        "bizTransactionList": [
            {"type": "inv", "bizTransaction": "urn:x:po:7"},
            {"type": "desadv", "bizTransaction": "urn:x:da:8"},
        ]
    },
    "an extension": {"example:till": "17"},
    "an extension of a place": {"readPoint": {"id": STORE, "example:till": "17"}},
    "source and destination changed": {
        "sourceList": [{"type": "location", "source": "urn:epc:id:sgln:9521234.00002.0"}],
        "destinationList": [{"type": "location", "destination": STORE}],
    },
}


@pytest.mark.parametrize("way", SAME)
def test_one_event_that_is_written_otherwise_is_known_by_the_same(way: str) -> None:
    assert identity(epcis_json(FULL | SAME[way])) == identity(epcis_json(FULL))


@pytest.mark.parametrize("way", OTHER)
def test_another_event_is_known_by_something_else(way: str) -> None:
    assert identity(epcis_json(FULL | OTHER[way])) != identity(epcis_json(FULL))


@pytest.mark.parametrize("version", ["1.2", "2.0"])
@pytest.mark.parametrize("way", SAME)
def test_the_form_is_not_the_event(way: str, version: str) -> None:
    written = epcis_xml(FULL | SAME[way], version=version)

    assert identity(written, "epcis-xml") == identity(epcis_json(FULL))


def test_a_declaration_names_the_event_that_it_revokes_also_without_an_id() -> None:
    declared = FULL | {"errorDeclaration": {"declarationTime": "2026-02-01T00:00:00Z"}}

    parts = writing.read(epcis_json(FULL, declared), "epcis-json")

    first, second = writing.documents(parts)
    revoking = writing.lines(parts)[-1]
    assert revoking.document == first.identity != second.identity  # type: ignore[attr-defined]  # a RevokingLine


def test_an_extension_that_is_sorted_otherwise_is_the_same() -> None:
    some = FULL | {"example:a": {"x": 1, "y": [{"p": 1}, {"q": 2}]}}
    same = FULL | {"example:a": {"y": [{"q": 2}, {"p": 1}], "x": 1}}

    assert identity(epcis_json(some)) == identity(epcis_json(same))


def test_an_event_is_known_by_its_id_whatever_it_says() -> None:
    assert identity(epcis_json(event())) == identity(epcis_json(event(bizStep="receiving")))


@pytest.mark.parametrize("length", [400, 600, 5000])
def test_an_id_of_any_length_tells_events_apart(length: int) -> None:
    found = {identity(epcis_json(event(eventID="u" * length + end))) for end in "ab"}

    assert len(found) == 2
    assert all(len(one) <= 512 for one in found)


@given(st.permutations([f"{SGTIN}{n}" for n in range(5)]), st.integers(0, 13))
def test_lines_are_numbered_alike_in_whatever_order_things_are_listed(
    epcs: list[str], hour: int
) -> None:
    more = [quantity(f"{LOT}{n}", n, "KGM") for n in range(1, 4)]
    parts = writing.read(
        epcis_json(
            event(eventID=None, epcList=epcs, quantityList=more[hour % 3 :] + more[: hour % 3])
        ),
        "epcis-json",
    )

    assert {line.number for line in writing.lines(parts)} == {
        "09521234123453",
        "09521234123453/KGM",
    }
    assert identity(epcis_json(event(eventID=None, epcList=epcs))) == identity(
        epcis_json(event(eventID=None, epcList=sorted(epcs)))
    )
