"""Writes documents in the shapes that senders use; each test says what is odd about its own."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from importers.documents.known import FIRST_BYTES, format_of
from importers.documents.port import (
    AnyLine,
    ContainedLine,
    Document,
    DocumentPart,
    LevelLine,
    MovedLine,
    OtherLine,
    PackedLine,
    RefusedLine,
)

#: Made up, with check digits that fit: an item, its case, and an item of another maker.
PIECE, CASE, OTHER_PIECE = "09521234123453", "19521234123450", "00614141123452"
SGTIN = "urn:epc:id:sgtin:9521234.012345."
CLASS = "urn:epc:idpat:sgtin:9521234.012345.*"
LOT = "urn:epc:class:lgtin:9521234.012345."
SSCC = "urn:epc:id:sscc:9521234.0123456789"
CONTAINER = "095212341234567891"
STORE, DEPOT = "urn:epc:id:sgln:9521234.00001.0", "urn:epc:id:sgln:9521234.00002.0"
STORE_GLN, DEPOT_GLN = "9521234000013", "9521234000020"
DAY = "20260131"


def read(data: bytes, name: str) -> list[DocumentPart]:
    """All parts of a file that is recognised as this format."""
    found = format_of(data[:FIRST_BYTES], None)
    assert found.name == name
    return list(found.read(io.BytesIO(data)))


def lines(parts: Iterable[DocumentPart]) -> list[AnyLine]:
    return [part for part in parts if isinstance(part, AnyLine)]


def documents(parts: Iterable[DocumentPart]) -> list[Document]:
    return [part for part in parts if isinstance(part, Document)]


def brief(parts: Iterable[DocumentPart]) -> list[str]:
    """What each line says, short enough for a table."""
    return [_brief(line) for line in lines(parts)]


def _brief(line: AnyLine) -> str:
    match line:
        case MovedLine():
            said = f"{line.movement} {line.quantity}{_unit(line.unit)} {line.item.code}"
            return f"{said} at {line.place.code}"
        case LevelLine():
            said = f"level {line.quantity}{_unit(line.unit)} {line.item.code}"
            return f"{said} at {line.place.code}"
        case ContainedLine():
            return f"{line.movement} {line.sign} container {line.container} at {line.place.code}"
        case PackedLine():
            goods = [f"{one.quantity}{_unit(one.unit)} {one.item.code}" for one in line.goods]
            said = ", ".join([*line.things, *goods]) or "all"
            return f"{'into' if line.is_in else 'out of'} container {line.container}: {said}"
        case OtherLine():
            return f"other: {line.rule}"
        case RefusedLine():
            return f"refused: {line.sentence}"
        case _:
            return "revoked"


def _unit(unit: str | None) -> str:
    return f" {unit}" if unit else ""


# EPCIS: an event is a dict in the shape of JSON, and both writers write it.


def event(**fields: Any) -> dict[str, Any]:
    """An ObjectEvent that ships one piece, with some fields otherwise; None leaves one out."""
    usual = {
        "type": "ObjectEvent",
        "eventID": "urn:uuid:6f0a1d2e-0000-4000-8000-000000000001",
        "eventTime": "2026-01-31T10:00:00.000+01:00",
        "eventTimeZoneOffset": "+01:00",
        "action": "OBSERVE",
        "bizStep": "shipping",
        "readPoint": {"id": STORE},
        "epcList": [f"{SGTIN}1"],
    }
    return {key: value for key, value in (usual | fields).items() if value is not None}


def quantity(epc_class: str, amount: Any = None, uom: str | None = None) -> dict[str, Any]:
    element = {"epcClass": epc_class, "quantity": amount, "uom": uom}
    return {key: value for key, value in element.items() if value is not None}


def epcis_json(*events: dict[str, Any], query: bool = False) -> bytes:
    body: dict[str, Any] = {"eventList": list(events)}
    if query:
        body = {"queryResults": {"queryName": "all", "resultsBody": body}}
    document = {
        "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
        "type": "EPCISQueryDocument" if query else "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-02-01T00:00:00Z",
        "epcisBody": body,
    }
    return json.dumps(document, indent=1).encode()


_ELEMENTS = {
    "epcList": "epc", "childEPCs": "epc", "inputEPCList": "epc", "outputEPCList": "epc",
    "quantityList": "quantityElement", "childQuantityList": "quantityElement",
    "inputQuantityList": "quantityElement", "outputQuantityList": "quantityElement",
}  # fmt: skip
#: Where 1.2 puts fields that 1.0 had not.
_EXTENSIONS = ("quantityList", "childQuantityList", "sourceList", "destinationList")
_BASE_EXTENSIONS = ("eventID", "errorDeclaration")


def epcis_xml(*events: dict[str, Any], version: str = "2.0", doctype: str = "") -> bytes:
    written = "".join(_xml_event(one, version) for one in events)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{doctype}'
        f'<epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:{version[0]}" '
        f'schemaVersion="{version}" creationDate="2026-02-01T00:00:00Z"><EPCISBody><EventList>'
        f"{written}</EventList></EPCISBody></epcis:EPCISDocument>"
    ).encode()


#: Each form of an event, and the format that it is.
EPCIS_WRITERS: dict[str, tuple[Callable[..., bytes], str]] = {
    "json": (epcis_json, "epcis-json"),
    "xml-2.0": (epcis_xml, "epcis-xml"),
    "xml-1.2": (lambda *events: epcis_xml(*events, version="1.2"), "epcis-xml"),
}


def _xml_event(fields: dict[str, Any], version: str) -> str:
    parts: dict[str, list[str]] = {"": [], "baseExtension": [], "extension": []}
    for key, value in fields.items():
        if key == "type":
            continue
        where = ""
        if version == "1.2":
            where = "extension" if key in _EXTENSIONS else ""
            where = "baseExtension" if key in _BASE_EXTENSIONS else where
        parts[where].append(_xml_field(key, value))
    inner = "".join(parts[""])
    for wrapper in ("baseExtension", "extension"):
        if parts[wrapper]:
            inner += f"<{wrapper}>{''.join(parts[wrapper])}</{wrapper}>"
    kind = fields["type"]
    written = f"<{kind}>{inner}</{kind}>"
    late = version == "1.2" and kind == "TransformationEvent"
    return f"<extension>{written}</extension>" if late else written


def _xml_field(key: str, value: Any) -> str:
    if key in _ELEMENTS:
        inner = "".join(_xml_field(_ELEMENTS[key], one) for one in value)
    elif key in ("sourceList", "destinationList", "bizTransactionList"):
        name = key.removesuffix("List")
        inner = "".join(
            f"<{name} type={quoteattr(one['type'])}>{escape(one[name])}</{name}>" for one in value
        )
    elif isinstance(value, dict):
        inner = "".join(_xml_field(*pair) for pair in value.items())
    else:
        inner = escape(str(value))
    return f"<{key}>{inner}</{key}>"


# X12 and EDIFACT: a message is a list of segments as they stand in it.


def x12(
    *sets: Sequence[str],
    signs: str = "*>~",
    control: str = "000000017",
    test: bool = False,
    group: str = "SH",
    date: str = "260201",
) -> bytes:
    """An interchange of transaction sets, each without ST and SE, written with `*`.

    signs: between elements, between components, and at the end of a segment.
    """
    isa = (
        f"ISA*00*{'':10}*00*{'':10}*ZZ*{'SUPPLIER':15}*ZZ*{'RETAILER':15}*{date}*0900*U*00401*"
        f"{control}*0*{'T' if test else 'P'}*>"
    )
    segments = [isa, f"GS*{group}*SUPPLIER*RETAILER*20{date}*0900*5*X*004010"]
    for number, (kind, *inside) in enumerate(sets, 1):
        segments += [f"ST*{kind}*{number:04}", *inside, f"SE*{len(inside) + 2}*{number:04}"]
    segments += [f"GE*{len(sets)}*5", f"IEA*1*{control}"]
    table = str.maketrans("*>~", signs)
    return "".join(segment.translate(table) + signs[2] for segment in segments).encode()


def edifact(
    *messages: Sequence[str],
    una: str | None = None,
    reference: str = "I17",
    test: bool = False,
    version: str = "D:96A:UN:EAN005",
) -> bytes:
    """An interchange of messages, each its kind and its segments without UNH and UNT.

    una: six signs; the segments are written with the usual ones.
    """
    tail = "++++++1" if test else ""
    segments = [f"UNB+UNOA:3+{STORE_GLN}:14+{DEPOT_GLN}:14+260201:0900+{reference}{tail}"]
    for number, (kind, *inside) in enumerate(messages, 1):
        segments += [f"UNH+M{number}+{kind}:{version}", *inside]
        segments.append(f"UNT+{len(inside) + 2}+M{number}")
    segments.append(f"UNZ+{len(messages)}+{reference}")
    text = "".join(f"{segment}'" for segment in segments)
    if una is not None:
        text = f"UNA{una}" + text.translate(
            str.maketrans(":+?'", una[0] + una[1] + una[3] + una[5])
        )
    return text.encode()


def ship_notice(*items: str, purpose: str = "00", number: str = "SHIP1") -> list[str]:
    """A set 856 of one shipment and one order; items are segments."""
    return [
        "856",
        f"BSN*{purpose}*{number}*{DAY}*0900",
        "HL*1**S",
        f"DTM*011*{DAY}",
        f"N1*SF*DEPOT*UL*{DEPOT_GLN}",
        "HL*2*1*O",
        "PRF*PO1",
        *items,
    ]


def activity(*segments: str) -> list[str]:
    """A set 852 of one day, of one store."""
    return ["852", f"XQ*H*{DAY}", f"N1*ST*STORE*UL*{STORE_GLN}", *segments]


def despatch(*segments: str, function: str = "9", number: str = "D1") -> list[str]:
    """A DESADV from the depot."""
    return [
        "DESADV",
        f"BGM+351+{number}+{function}",
        f"DTM+11:{DAY}:102",
        f"NAD+SU+{STORE_GLN}::9",
        f"NAD+SF+{DEPOT_GLN}::9",
        "CPS+1",
        *segments,
    ]


def sales(*segments: str, function: str = "9") -> list[str]:
    """A SLSRPT whose first store is the store."""
    return [
        "SLSRPT",
        f"BGM+73E+R1+{function}",
        "DTM+137:20260201:102",
        f"LOC+162+{STORE_GLN}::9",
        f"DTM+356:{DAY}:102",
        *segments,
    ]
