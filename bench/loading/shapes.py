"""The export of a till: lines that were sold, and among them what real exports have besides."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, TextIO

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
