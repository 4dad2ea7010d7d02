"""Files that are loaded: exports of tills with what real ones have besides, and EPCIS events."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TextIO

from importers.gtins import check_digit

HEADING = "Artikel;Warengruppe;Sorte;Filiale;Menge;Zeit;Vorgang;Bon"
#: Of a map: what its columns and words are.
TILL_COLUMNS = """[columns]
sku = "Artikel"
location = "Filiale"
quantity = "Menge"
time = "Zeit"
kind = "Vorgang"
reference = "Bon"
[words.kind]
Verkauf = "sold"
[negative]
sold = "returned"
"""
_NOT_GOODS = ("COUPON", "FUEL", "POSTAL CENTER")
#: Counted in thousandths of a gallon, and in groups of several names.
_PETROL = "GASOLINE-REG UNLEADED"


#: Of EPCIS events.
_SHOPS = 50


class Odd(StrEnum):
    """What a line has to become."""

    FACT = "fact"
    NOT_FOR_STOCK = "not for stock"
    REFUSED = "refused"


class Sold(NamedTuple):
    """A line of a receipt. group, kind: of goods; None: the data does not say."""

    item: str
    shop: str
    quantity: int
    at: datetime
    receipt: str
    group: str | None
    kind: str | None


class Line(NamedTuple):
    """A line as it is written; text: of its quantity where that is no plain number."""

    sold: Sold
    quantity: str
    becomes: Odd


def a_year(path: Path, lines: int, first: int) -> None:
    """Sales of a chain: 5,000 articles, 50 shops, five lines a receipt, returns; first: receipt."""
    chance = random.Random(1)
    with path.open("w") as file:
        file.write("Artikel;Filiale;Menge;Zeit;Vorgang;Bon\n")
        for n in range(lines):
            minute = n * 525_600 // lines
            day, minute = divmod(minute, 1440)
            quantity = -1 if chance.random() < 0.01 else chance.choice((1, 1, 1, 2, 3))
            file.write(
                f"ART-{chance.randrange(5_000):05d};{chance.randrange(50):03d};{quantity};"
                f"{1 + day % 28:02d}.{1 + day // 31:02d}.2026 {minute // 60:02d}:{minute % 60:02d};"
                f"Verkauf;{first + n // 5}\n"
            )


def epcis_json(path: Path, events: int, first: int) -> None:
    """Sales of one thing each, with all that a repository writes; first: of their numbers."""
    with path.open("w") as file:
        file.write(
            '{"@context":["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],"type":'
            '"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-02-01T00:00:00Z",'
            '"epcisBody":{"eventList":[\n'
        )
        for n in range(first, first + events):
            file.write(",\n" if n > first else "")
            file.write(
                f'{{"type":"ObjectEvent","eventID":"urn:uuid:{n:032x}","eventTime":"{_moment(n)}",'
                '"eventTimeZoneOffset":"+01:00","recordTime":"2026-02-01T00:00:00Z","action":'
                f'"OBSERVE","bizStep":"retail_selling","disposition":"retail_sold",'
                f'"epcList":["{_sgtin(n)}"],"readPoint":{{"id":"{_sgln(n)}"}}}}'
            )
        file.write("]}}\n")


def epcis_xml(path: Path, events: int, first: int) -> None:
    """The same events as version 1.2 writes them."""
    with path.open("w") as file:
        file.write(
            '<?xml version="1.0" encoding="UTF-8"?>\n<epcis:EPCISDocument xmlns:epcis='
            '"urn:epcglobal:epcis:xsd:1" schemaVersion="1.2" creationDate="2026-02-01T00:00:00Z">'
            "<EPCISBody><EventList>\n"
        )
        for n in range(first, first + events):
            file.write(
                f"<ObjectEvent><eventTime>{_moment(n)}</eventTime><recordTime>2026-02-01T00:00:00Z"
                "</recordTime><eventTimeZoneOffset>+01:00</eventTimeZoneOffset><baseExtension>"
                f"<eventID>urn:uuid:{n:032x}</eventID></baseExtension><epcList><epc>{_sgtin(n)}"
                "</epc></epcList><action>OBSERVE</action><bizStep>"
                "urn:epcglobal:cbv:bizstep:retail_selling</bizStep><disposition>"
                "urn:epcglobal:cbv:disp:retail_sold</disposition><readPoint><id>"
                f"{_sgln(n)}</id></readPoint></ObjectEvent>\n"
            )
        file.write("</EventList></EPCISBody></epcis:EPCISDocument>\n")


def places() -> str:
    """The list of places of these events."""
    numbers = [f"9521234{n:05d}" for n in range(_SHOPS)]
    rows = [f"{number}{check_digit(number)},shop-{n}" for n, number in enumerate(numbers)]
    return "\n".join(["gln,location", *rows])


def _moment(n: int) -> str:
    minute = n % 1440
    return f"2026-01-{1 + n // 1440 % 31:02d}T{minute // 60:02d}:{minute % 60:02d}:00.000+01:00"


def _sgtin(n: int) -> str:
    return f"urn:epc:id:sgtin:9521234.0{n * 7 % 5_000:05d}.{n}"


def _sgln(n: int) -> str:
    return f"urn:epc:id:sgln:9521234.{n % _SHOPS:05d}.0"


def odd_lines(lines: Iterable[Sold], chance: random.Random) -> Iterator[Line]:
    """The same lines, and beside them, of about each:

    100 one comes back the next day; 200 one is scanned twice, and is two sales; 500 a deposit or
    postage is charged; 20,000 one cannot be read: its quantity has a comma where goods are
    counted in pieces, or is not there.
    """
    for sold in lines:
        if sold.group in _NOT_GOODS or sold.kind == _PETROL or not sold.quantity:
            yield Line(sold, str(sold.quantity), Odd.NOT_FOR_STOCK)
            continue
        yield Line(sold, str(sold.quantity), Odd.FACT)
        if chance.random() < 1 / 200:
            yield Line(sold, str(sold.quantity), Odd.FACT)
        if chance.random() < 1 / 100:
            back = sold._replace(at=sold.at + timedelta(days=1), quantity=-1)
            yield Line(back, "-1", Odd.FACT)
        if chance.random() < 1 / 500:
            service = sold._replace(item=chance.choice(("PFAND", "VERSAND", "")))
            yield Line(service, "1", Odd.NOT_FOR_STOCK)
        if chance.random() < 1 / 20_000:
            yield Line(sold, chance.choice(("0,5", "", "1 Stück", "1e3")), Odd.REFUSED)


def till_export(
    file: TextIO, lines: Iterable[Line], expected: Counter[tuple[str, str]]
) -> Iterator[Odd]:
    """Write them as a till does, a total at the end; adds up what has to be on hand."""
    file.write(f"{HEADING}\r\n")
    for sold, quantity, becomes in lines:
        if becomes is Odd.FACT:
            expected[sold.item, sold.shop] -= sold.quantity
        file.write(
            f"{sold.item};{sold.group or ''};{sold.kind or ''};{sold.shop};{quantity};"
            f"{sold.at:%d.%m.%Y %H:%M:%S};Verkauf;{sold.receipt}\r\n"
        )
        yield becomes
    file.write(";;;;;;Summe;\r\n")
    yield Odd.NOT_FOR_STOCK
