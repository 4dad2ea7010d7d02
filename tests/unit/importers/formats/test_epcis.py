"""EPCIS: each trap of real events, written as JSON-LD, as XML 2.0 and as XML 1.2, read alike."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import Any

import pytest

from importers.documents.epcis.jsonld import MAX_EVENT_BYTES, read_epcis_json
from importers.documents.epcis.xml import read_epcis_xml
from importers.documents.port import (
    BrokenDocument,
    LevelLine,
    MovedLine,
    Movement,
    RefusedLine,
    RevokingLine,
)
from tests.unit.importers.formats import writing
from tests.unit.importers.formats.writing import (
    CASE,
    CLASS,
    CONTAINER,
    DEPOT,
    DEPOT_GLN,
    EPCIS_WRITERS,
    LOT,
    PIECE,
    SGTIN,
    SSCC,
    STORE,
    STORE_GLN,
    epcis_json,
    epcis_xml,
    event,
    quantity,
)

URN, WEB = "urn:epcglobal:cbv:bizstep:", "https://ref.gs1.org/cbv/BizStep-"
CRATE = "urn:epc:id:grai:9521234.12345.1"
HERE = {"bizLocation": {"id": STORE}, "readPoint": None}
TRAPS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a step as a bare word": (event(), [f"dispatched 1 {PIECE} at {STORE_GLN}"]),
    "a step as a URN": (
        event(bizStep=f"{URN}shipping"), [f"dispatched 1 {PIECE} at {STORE_GLN}"],
    ),
    "a step as a web URI": (
        event(bizStep=f"{WEB}shipping"), [f"dispatched 1 {PIECE} at {STORE_GLN}"],
    ),
    "OBSERVE while inspecting moves nothing": (
        event(bizStep="inspecting"),
        ["other: The business step inspecting brings nothing in or out of stock."],
    ),
    "DELETE of an ObjectEvent ends things whatever the step": (
        event(action="DELETE", bizStep="inspecting"),
        [f"adjusted -1 {PIECE} at {STORE_GLN}"],
    ),
    "a sale with DELETE is one sale": (
        event(action="DELETE", bizStep="retail_selling"), [f"sold 1 {PIECE} at {STORE_GLN}"],
    ),
    "DELETE of an AggregationEvent only unpacks": (
        event(type="AggregationEvent", action="DELETE", bizStep="unpacking", epcList=None,
              parentID=SSCC, childEPCs=[f"{SGTIN}1"]),
        [f"out of container {CONTAINER}: /01/{PIECE}/21/1"],
    ),
    "destroyed": (event(bizStep="destroying"), [f"adjusted -1 {PIECE} at {STORE_GLN}"]),
    "a shipment is void": (event(bizStep="void_shipping"), [f"adjusted 1 {PIECE} at {STORE_GLN}"]),
    "EPCs and quantities of one item add up": (
        event(epcList=[f"{SGTIN}1", f"{SGTIN}2"],
              quantityList=[quantity(CLASS, 3), quantity(f"{LOT}L1", 4)]),
        [f"dispatched 9 {PIECE} at {STORE_GLN}"],
    ),
    "a weight stays apart from pieces, and exact": (
        event(quantityList=[quantity(CLASS, 200.5, "KGM"), quantity(f"{LOT}L2", 0.1, "KGM")]),
        [f"dispatched 1 {PIECE} at {STORE_GLN}", f"dispatched 200.6 KGM {PIECE} at {STORE_GLN}"],
    ),
    "a unit that is pieces": (
        event(epcList=None, quantityList=[quantity(CLASS, 2, "EA"), quantity(CLASS, 3)]),
        [f"dispatched 5 {PIECE} at {STORE_GLN}"],
    ),
    "a thing that is listed twice is one": (
        event(epcList=[f"{SGTIN}1", "https://example.com/01/9521234123453/21/1", f"{SGTIN}01"]),
        [f"dispatched 2 {PIECE} at {STORE_GLN}"],
    ),
    "a case is another item than its pieces": (
        event(epcList=["urn:epc:id:sgtin:9521234.112345.1"]),
        [f"dispatched 1 {CASE} at {STORE_GLN}"],
    ),
    "of a received pallet the children count": (
        event(type="AggregationEvent", bizStep="receiving", epcList=None, parentID=SSCC,
              childEPCs=[f"{SGTIN}1"], childQuantityList=[quantity(CLASS, 2)], **HERE),
        [f"received 3 {PIECE} at {STORE_GLN}"],
    ),
    "of a received transaction its parent does not count": (
        event(type="TransactionEvent", bizStep="receiving", parentID=SSCC,
              bizTransactionList=[{"type": "po", "bizTransaction": "urn:x:po:7"}], **HERE),
        [f"received 1 {PIECE} at {STORE_GLN}"],
    ),
    "goods are received where they are afterwards, not where they were read": (
        event(bizStep="receiving", readPoint={"id": DEPOT}, bizLocation={"id": STORE}),
        [f"received 1 {PIECE} at {STORE_GLN}"],
    ),
    "goods are received at a destination of type location": (
        event(bizStep="receiving", readPoint={"id": DEPOT}, destinationList=[
            {"type": "owning_party", "destination": "urn:epc:id:pgln:9521234.00009"},
            {"type": "urn:epcglobal:cbv:sdt:location", "destination": STORE}]),
        [f"received 1 {PIECE} at {STORE_GLN}"],
    ),
    "goods are shipped from where they were read, not where they are afterwards": (
        event(readPoint={"id": STORE}, bizLocation={"id": DEPOT}),
        [f"dispatched 1 {PIECE} at {STORE_GLN}"],
    ),
    "goods are shipped from a source of type location": (
        event(readPoint=None, sourceList=[
            {"type": "https://ref.gs1.org/cbv/SDT-location", "source": STORE}]),
        [f"dispatched 1 {PIECE} at {STORE_GLN}"],
    ),
    "goods are never shipped from a bizLocation": (
        event(readPoint=None, bizLocation={"id": STORE}),
        ["refused: The event does not say where: ask its sender for readPoint or source of type "
         "location."],
    ),
    "GLN as a link with extension 0": (
        event(readPoint={"id": f"https://id.gs1.org/414/{DEPOT_GLN}/254/0"}),
        [f"dispatched 1 {PIECE} at {DEPOT_GLN}"],
    ),
    "an extension is a place within": (
        event(readPoint={"id": "urn:epc:id:sgln:9521234.00001.back"}),
        [f"dispatched 1 {PIECE} at {STORE_GLN}.back"],
    ),
    "a count is a level": (
        event(bizStep="stock_taking", epcList=None, quantityList=[quantity(CLASS, 12)], **HERE),
        [f"level 12 {PIECE} at {STORE_GLN}"],
    ),
    "a count of nothing is a level": (
        event(bizStep="cycle_counting", epcList=None, quantityList=[quantity(CLASS, 0)], **HERE),
        [f"level 0 {PIECE} at {STORE_GLN}"],
    ),
    "a quantity of 0 moves nothing": (
        event(epcList=None, quantityList=[quantity(CLASS, 0)]),
        ["other: A quantity of 0 moves nothing."],
    ),
    "of a transformation the inputs go and the outputs come": (
        event(type="TransformationEvent", action=None, bizStep="repackaging", epcList=None,
              readPoint=None, bizLocation={"id": STORE}, inputQuantityList=[quantity(CLASS, 6)],
              outputEPCList=["urn:epc:id:sgtin:9521234.112345.1"]),
        [f"adjusted -6 {PIECE} at {STORE_GLN}", f"adjusted 1 {CASE} at {STORE_GLN}"],
    ),
    "the deprecated QuantityEvent": (
        event(type="QuantityEvent", action=None, bizStep=f"{URN}receiving", epcList=None,
              epcClass=CLASS, quantity=5, **HERE),
        [f"received 5 {PIECE} at {STORE_GLN}"],
    ),
}  # fmt: skip
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a crate": (event(epcList=[CRATE]), "comes back (GRAI)"),
    "a class among single things": (event(epcList=[CLASS]), "a kind of things"),
    "a link without a serial": (
        event(epcList=["https://id.gs1.org/01/09521234123453"]), "a kind of things",
    ),
    "a wrong check digit": (
        event(epcList=["https://id.gs1.org/01/09521234123454/21/1"]), "check digit does not fit",
    ),
    "a prefix and item of 12 digits": (
        event(epcList=["urn:epc:id:sgtin:9521234.12345.1"]), "13 digits",
    ),
    "a weighed thing alone": (event(epcList=["urn:epc:id:sgtin:9521234.912345.1"]), "by measure"),
    "an unknown quantity": (event(epcList=None, quantityList=[quantity(CLASS)]), "how much"),
    "a quantity below 0": (event(epcList=None, quantityList=[quantity(CLASS, -1)]), "below 0"),
    "a unit that is a word": (
        event(epcList=None, quantityList=[quantity(CLASS, 1, "kilos")]), "Recommendation 20",
    ),
    "a quantity with a billion digits": (
        event(epcList=None, quantityList=[quantity(CLASS, "1E+999999999")]), "no decimal number",
    ),
    "no number": (event(epcList=None, quantityList=[quantity(CLASS, "NaN")]), "no decimal number"),
    "an action that nearly is one": (event(action="OBSERVED"), "none of ADD, OBSERVE, DELETE"),
    "a private step": (event(bizStep="https://example.com/step/sold"), "came or went"),
    "no step": (event(bizStep=None), "no business step"),
    "yesterday": (event(eventTime="yesterday"), "no instant"),
    "a time without a zone": (event(eventTime="2026-01-31T10:00:00"), "no instant"),
    "the 30th of February": (event(eventTime="2026-02-30T10:00:00Z"), "no instant"),
    "no time": (event(eventTime=None), "The event is none of EPCIS"),
    "papers of a shipment are withdrawn": (
        event(type="TransactionEvent", action="DELETE"), "or only their papers",
    ),
    "no goods": (event(epcList=None), "names no goods"),
    "two sources": (
        event(readPoint=None, sourceList=[{"type": "location", "source": STORE},
                                          {"type": "location", "source": DEPOT}]),
        "more than one source",
    ),
}  # fmt: skip


@pytest.mark.parametrize("writer", EPCIS_WRITERS)
@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_of_events_is_read_right_in_each_form(trap: str, writer: str) -> None:
    fields, expected = TRAPS[trap]
    write, name = EPCIS_WRITERS[writer]

    parts = writing.read(write(fields), name)

    assert sorted(writing.brief(parts)) == sorted(expected)
    for line in writing.lines(parts):
        if isinstance(line, MovedLine | LevelLine):
            assert line.time == "2026-01-31T09:00:00Z"


@pytest.mark.parametrize("writer", EPCIS_WRITERS)
@pytest.mark.parametrize("trap", REFUSED)
def test_what_cannot_be_read_is_one_refused_line_that_says_why(trap: str, writer: str) -> None:
    fields, says = REFUSED[trap]
    write, name = EPCIS_WRITERS[writer]

    (line,) = writing.lines(writing.read(write(fields), name))

    assert isinstance(line, RefusedLine)
    assert says in line.sentence
    assert any(remedy in line.sentence for remedy in ("ask ", "Ask ", "belongs"))


@pytest.mark.parametrize("writer", EPCIS_WRITERS)
def test_an_event_that_is_sent_again_as_an_error_revokes_and_is_not_counted(writer: str) -> None:
    wrong = event()
    declared = event(
        errorDeclaration={"declarationTime": "2026-02-01T09:00:00Z", "reason": "incorrect_data"}
    )
    again = event(errorDeclaration={"declarationTime": "2026-02-02T09:00:00Z"})
    right = event(eventID="urn:uuid:2", epcList=[f"{SGTIN}2"])
    write, name = EPCIS_WRITERS[writer]

    parts = writing.read(write(wrong, declared, again, right), name)

    first, *declarations, corrective = writing.documents(parts)
    one, revoking, repeated, other = writing.lines(parts)
    assert isinstance(one, MovedLine)
    assert isinstance(other, MovedLine)
    assert isinstance(revoking, RevokingLine)
    assert (revoking.document, revoking.revoked) == (first.identity, None)
    assert isinstance(repeated, RevokingLine)
    # One declaration, whenever it was made; and never the event itself.
    assert declarations[0].identity == declarations[1].identity
    assert len({first.identity, declarations[0].identity, corrective.identity}) == 3


def test_a_count_of_which_something_cannot_be_read_counts_nothing() -> None:
    counted = event(bizStep="stock_taking", epcList=[f"{SGTIN}1", SSCC], **HERE)

    found = writing.lines(writing.read(epcis_json(counted), "epcis-json"))

    assert [type(line) for line in found] == [RefusedLine, RefusedLine]


def test_goods_beside_what_cannot_be_read_count() -> None:
    found = writing.brief(
        writing.read(epcis_json(event(epcList=[f"{SGTIN}1", CRATE])), "epcis-json")
    )

    assert found[1:] == [f"dispatched 1 {PIECE} at {STORE_GLN}"]


def test_a_refused_line_says_where_by_path() -> None:
    odd = event(eventID="urn:uuid:2", epcList=[f"{SGTIN}1", CRATE])

    in_json = writing.lines(writing.read(epcis_json(event(), odd), "epcis-json"))
    in_xml = writing.lines(writing.read(epcis_xml(event(), odd), "epcis-xml"))

    assert in_json[1].where == "$.epcisBody.eventList[1].epcList[1]"
    assert in_xml[1].where == "line 1, ObjectEvent/epcList[2]"


def test_reason_and_reference_are_those_of_the_event() -> None:
    void = event(
        bizStep="void_shipping",
        bizTransactionList=[{"type": "po", "bizTransaction": "urn:x:po:7"}],
    )

    (line,) = writing.lines(writing.read(epcis_json(void), "epcis-json"))

    assert isinstance(line, MovedLine)
    assert (line.movement, line.reason) == (Movement.ADJUSTED, "correction")
    assert line.reference == "urn:x:po:7"


def test_a_number_in_json_never_is_a_float() -> None:
    raw = epcis_json(event(epcList=None, quantityList=[quantity(CLASS, 1, "KGM")]))
    exact = raw.replace(b'"quantity": 1', b'"quantity": 12345678901.000000001')

    (line,) = writing.lines(writing.read(exact, "epcis-json"))

    assert isinstance(line, MovedLine)
    assert line.quantity == Decimal("12345678901.000000001")


def test_events_are_found_in_a_query_result_and_bare() -> None:
    for data in (epcis_json(event(), query=True), json.dumps(event()).encode()):
        assert len(writing.lines(writing.read(data, "epcis-json"))) == 1
    asked = epcis_xml(event()).replace(b"EPCISDocument", b"EPCISQueryDocument")
    asked = asked.replace(b"EPCISBody>", b"EPCISBody><QueryResults><resultsBody>", 1)
    asked = asked.replace(b"</EPCISBody>", b"</resultsBody></QueryResults></EPCISBody>")
    assert len(writing.lines(writing.read(asked, "epcis-xml"))) == 1


def test_the_key_of_a_list_elsewhere_and_braces_in_texts_mislead_nobody() -> None:
    note = {"eventList": [{"eventList": []}], 'a } " \\ {': '{["}'}
    odd = event(**{"example:note": note})

    data = json.dumps({"example:other": note, **json.loads(epcis_json(odd))}).encode()

    assert len(writing.lines(writing.read(data, "epcis-json"))) == 1


@pytest.mark.parametrize(
    "odd",
    [
        '{"type": "EPCISDocument", "epcisBody": {"eventList": [EVENT,]}}',
        '{"type": "EPCISDocument", "epcisBody": {"eventList": [EVENT EVENT]}}',
        '{"type": "EPCISDocument", "epcisBody": {"eventList": [EVENT], }}',
        '{"type": "EPCISDocument", "epcisBody": {"eventList": [EVENT]}} x',
        '{"type": "EPCISDocument", "epcisBody": {"eventList": [EVENT]}}]',
        '{"type": "EPCISDocument", "epcisBody": {"eventList": [1]}}',
        '{"type": "EPCISDocument", "epcisBody": {"eventList": [{"a": 1,}]}}',
        '{"type": "EPCISDocument", "epcisBody": {"eventList": [EVENT], "eventList": [EVENT]}}',
        '{"type": "EPCISDocument", "epcisBody": {}}',
        '{"type": "EPCISDocument" "epcisBody": {"eventList": [EVENT]}}',
    ],
)
def test_no_comma_of_json_goes_unchecked(odd: str) -> None:
    data = odd.replace("EVENT", json.dumps(event())).encode()

    with pytest.raises(BrokenDocument, match="sent again"):
        list(read_epcis_json(io.BytesIO(data)))


def test_json_that_is_too_deep_or_too_long_is_refused_as_a_whole() -> None:
    deep = epcis_json(event(**{"x:y": json.loads("{" + '"a":{' * 30 + "}" * 31)}))
    long = epcis_json(event(**{"x:y": "a" * (MAX_EVENT_BYTES + 1)}))

    for data in (deep, long):
        with pytest.raises(BrokenDocument, match="nested deeper"):
            list(read_epcis_json(io.BytesIO(data)))


def test_a_doctype_is_harmless() -> None:
    data = epcis_xml(event(), doctype="<!DOCTYPE project>")

    assert len(writing.lines(writing.read(data, "epcis-xml"))) == 1


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE a [<!ENTITY b "bb">]>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "b.txt">]>',
        '<!DOCTYPE a [<!ENTITY % b "bb">]>',
    ],
)
def test_an_entity_is_refused_where_it_is_declared(doctype: str) -> None:
    with pytest.raises(BrokenDocument, match="entity"):
        list(read_epcis_xml(io.BytesIO(epcis_xml(event(), doctype=doctype))))


def test_an_entity_of_another_file_is_refused_where_it_is_used() -> None:
    data = epcis_xml(event(), doctype='<!DOCTYPE a SYSTEM "a.dtd">')

    with pytest.raises(BrokenDocument, match="entity"):
        list(read_epcis_xml(io.BytesIO(data.replace(b"OBSERVE", b"&b;"))))


def test_xml_that_is_too_deep_or_of_another_root_is_refused_as_a_whole() -> None:
    deep = epcis_xml(event()).replace(b"OBSERVE", b"<a>" * 70 + b"</a>" * 70)
    for data, says in ((deep, "nested deeper"), (b"<html/>", "begins with html")):
        with pytest.raises(BrokenDocument, match=says):
            list(read_epcis_xml(io.BytesIO(data)))


def test_xml_may_be_utf_16_and_have_a_default_namespace() -> None:
    text = epcis_xml(event()).decode()
    wide = text.replace("UTF-8", "UTF-16").encode("utf-16")
    spaced = text.replace("epcis:EPCISDocument", "EPCISDocument").replace("xmlns:epcis", "xmlns")

    for data in (wide, spaced.encode()):
        assert len(writing.lines(writing.read(data, "epcis-xml"))) == 1
