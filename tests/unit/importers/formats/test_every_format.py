"""What holds for every format: whatever is cut off, cut up or broken, nothing is half read."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importers.documents.known import (
    FIRST_BYTES,
    KNOWN,
    UnknownFormat,
    draft_table,
    format_of,
    table_format,
)
from importers.documents.port import (
    BrokenDocument,
    Document,
    DocumentPart,
    MovedLine,
    Movement,
)
from importers.documents.sheets.maps import read_sheet_map
from importers.documents.values import MAX_DECIMALS, MAX_WHOLE_DIGITS
from tests.support.inputs.sheets import SALES
from tests.unit.importers.formats import writing
from tests.unit.importers.formats.writing import (
    CLASS,
    SGTIN,
    SSCC,
    activity,
    despatch,
    edifact,
    epcis_json,
    epcis_xml,
    event,
    quantity,
    sales,
    ship_notice,
    x12,
)

EAN = writing.PIECE[1:]
HL = ["HL*3*2*I", f"LIN**EN*{EAN}", "SN1**4*EA"]
EVENTS = [
    event(eventID=None, epcList=[f"{SGTIN}1", SSCC], quantityList=[quantity(CLASS, 2.5, "KGM")]),
    event(errorDeclaration={"declarationTime": "2026-02-01T00:00:00Z"}),
    event(eventID="urn:uuid:3", bizStep="packing", **{"example:ö": 'ö{}[]"\\'}),
]
#: Each whole; a file may have several.
INTERCHANGES = {
    "x12": [
        x12(ship_notice(*HL), activity(f"LIN**EN*{EAN}", "ZA*QS", "SDQ*EA*92*1*2*3*4")),
        x12(["846", "BIA*00"], signs="^>!", control="000000018"),
    ],
    "edifact": [
        edifact(
            despatch(f"LIN+1++{EAN}:EN", "QTY+12:20"),
            sales("LOC+162+A?+?'??::92", "LIN+1", "QTY+153:1"),
            una=":+,? '",
        ),
        edifact(sales(f"LIN+1++{EAN}:EN", "QTY+153:1"), test=True),
    ],
}
FILES = {
    "epcis-json": epcis_json(*EVENTS).replace(
        b'"schemaV', b'"example:n": [123456, true], "schemaV'
    ),
    "epcis-xml": epcis_xml(*EVENTS[:2]),
    **{name: b"\n".join(pieces) for name, pieces in INTERCHANGES.items()},
}
READ = {one.name: one.read for one in KNOWN}


class InPieces(io.RawIOBase):
    """A file that gives less than it is asked for, as pipes do."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes = io.BytesIO(data), cycle(sizes)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, next(self._sizes)) if size >= 0 else size)


def parts_of(data: bytes, name: str) -> list[DocumentPart]:
    return list(READ[name](io.BytesIO(data)))


def test_each_format_has_a_word_of_its_own_and_a_file_here() -> None:
    assert len(READ) == len(KNOWN)
    assert READ.keys() == FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_recognised_by_its_first_bytes_and_by_one_format_only(name: str) -> None:
    head = FILES[name][:FIRST_BYTES]

    assert [one.name for one in KNOWN if one.looks_like(head)] == [name]
    assert [one.name for one in KNOWN if one.looks_like(b"\r\n " + head)] == [name]
    assert not any(one.looks_like(head[:0]) for one in KNOWN)


def test_what_is_of_no_format_is_recognised_as_none() -> None:
    for head in (
        b"sku;location;quantity\n",
        b"PK\x03\x04",
        b"{}",
        b"<html>",
        b"ISA",
        b"UN",
        b"\xff",
    ):
        with pytest.raises(UnknownFormat):
            format_of(head, None)


@pytest.mark.parametrize("name", FILES)
def test_a_document_stands_before_its_lines_and_no_two_have_one_number(name: str) -> None:
    numbers: set[str] = set()
    found = parts_of(FILES[name], name)
    assert isinstance(found[0], Document)
    for part in found:
        if isinstance(part, Document):
            assert 1 <= len(part.identity) <= 512
            numbers = set()
        else:
            assert 1 <= len(part.number) <= 64
            assert part.number not in numbers
            numbers.add(part.number)
            if isinstance(part, MovedLine):
                assert (part.quantity > 0) != (part.movement is Movement.ADJUSTED)


@pytest.mark.parametrize("name", FILES)
@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_how_a_file_comes_in_pieces_makes_no_difference(name: str, sizes: list[int]) -> None:
    in_pieces = READ[name](InPieces(FILES[name], sizes))  # type: ignore[arg-type]  # a RawIOBase reads bytes, too

    assert list(in_pieces) == parts_of(FILES[name], name)


@pytest.mark.parametrize("name", FILES)
@given(st.data())
def test_a_file_that_is_cut_off_is_broken_as_a_whole(name: str, data: st.DataObject) -> None:
    whole = FILES[name].rstrip()
    # Between two interchanges a file may well end.
    first = len(INTERCHANGES[name][0]) if name in INTERCHANGES else -9
    ends = {first, first + 1}
    cut = data.draw(st.integers(0, len(whole) - 1).filter(lambda end: end not in ends))

    with pytest.raises(BrokenDocument):
        parts_of(whole[:cut], name)


@pytest.mark.parametrize("name", FILES)
@given(st.data())
def test_no_change_of_a_file_does_anything_but_break_or_change_it(
    name: str, data: st.DataObject
) -> None:
    raw = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))

    with suppress(BrokenDocument):
        for part in parts_of(bytes(raw), name):
            if isinstance(part, MovedLine):
                assert abs(part.quantity) < 10 ** (MAX_WHOLE_DIGITS + 1)
                assert int(part.quantity.as_tuple().exponent) >= -MAX_DECIMALS


@pytest.mark.parametrize("name", FILES)
@given(st.binary(max_size=400))
def test_rubbish_is_broken(name: str, rubbish: bytes) -> None:
    with pytest.raises(BrokenDocument):
        parts_of(rubbish, name)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=30))
def test_the_sum_of_the_lines_is_the_sum_in_the_file(quantities: list[int]) -> None:
    lin = f"LIN+1++{EAN}:EN"
    files = [
        ("x12", x12(activity(f"LIN**EN*{EAN}", *(f"ZA*QS*{n}*EA" for n in quantities)))),
        ("x12", x12(activity(f"LIN**EN*{EAN}", f"ZA*QS*{sum(quantities)}", *_pairs(quantities)))),
        ("edifact", edifact(sales(*(s for n in quantities for s in (lin, f"QTY+153:{n}"))))),
        ("edifact", edifact(despatch(*(s for n in quantities for s in (lin, f"QTY+12:{n}"))))),
        *((name, write(event(quantityList=[quantity(CLASS, n) for n in quantities], epcList=None)))
          for name, write in (("epcis-json", epcis_json), ("epcis-xml", epcis_xml))),
    ]  # fmt: skip
    for name, data in files:
        found = [part.quantity for part in parts_of(data, name) if isinstance(part, MovedLine)]
        assert sum(found) == sum(quantities)


def _pairs(quantities: list[int]) -> Iterator[str]:
    for first in range(0, len(quantities), 10):
        ten = quantities[first : first + 10]
        yield "SDQ*EA*92*" + "*".join(f"S{first + i}*{n}" for i, n in enumerate(ten))


class Endless(io.RawIOBase):
    """A file as long as wanted that is nowhere as a whole."""

    def __init__(
        self, head: bytes, middle: Callable[[int], bytes], count: int, tail: bytes
    ) -> None:
        self._pieces = iter([head, *([b""] * count), tail])
        self._middle, self._number = middle, 0
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._left) < size and (piece := next(self._pieces, None)) is not None:
            if not piece:
                self._number += 1
                piece = self._middle(self._number)
            self._left += piece
        piece, self._left = self._left[:size], self._left[size:]
        return piece


@pytest.mark.parametrize("name", FILES)
def test_memory_does_not_grow_with_the_file(name: str) -> None:
    marker = "6f0a1d2e-0000-4000-8000-000000000001"

    def peak(count: int) -> int:
        head, middle, tail = _parts_of_file(name, count)
        file = Endless(head, lambda n: middle.replace(marker, f"{n}").encode(), count, tail)
        tracemalloc.start()
        try:
            for _ in READ[name](file):  # type: ignore[arg-type]  # a RawIOBase reads bytes, too
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # what is made once
    assert peak(1500) < peak(300) + 200_000


def _parts_of_file(name: str, count: int) -> tuple[bytes, str, bytes]:
    """Head, what is repeated, and tail of a valid file."""
    if name == "epcis-json":
        one = epcis_json(event(epcList=[f"{SGTIN}{n}" for n in range(5)])).decode()
        begin, end = one.index("{", one.index('"eventList"')), one.rindex("]")
        body = one[begin:end].rstrip()
        return one[:begin].encode() + body.encode(), "," + body, one[end:].encode()
    if name == "epcis-xml":
        one = epcis_xml(event(epcList=[f"{SGTIN}{n}" for n in range(5)])).decode()
        begin, end = one.index("<ObjectEvent>"), one.index("</EventList>")
        return one[:begin].encode(), one[begin:end], one[end:].encode()
    if name == "x12":
        middle = [f"LIN**EN*{EAN}", "ZA*QS*7", "SDQ*EA*92*1*2*2*5"]
        one = x12(activity("MIDDLE")).decode().replace("SE*5*", f"SE*{4 + 3 * count}*")
        mark = "~"
    else:
        middle = [f"LIN+1++{EAN}:EN", "QTY+153:1", "PRI+NTP:12"]
        one = edifact(sales("MIDDLE")).decode().replace("UNT+7+", f"UNT+{6 + 3 * count}+")
        mark = "'"
    first, _, last = one.partition(f"MIDDLE{mark}")
    return first.encode(), "".join(f"{part}{mark}" for part in middle), last.encode()


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"", "It is empty: export it again."),
        (b" \r\n", "It is empty: export it again."),
        (b'[{"type": "ObjectEvent"}]', "It is JSON, of which EPCIS 2.0 is read: one document with"),
        (b"<?xml version='1.0'?><Workbook/>", "It is XML, of which EPCIS is read: a document that"),
        (b"ISA*00**00**ZZ*S*ZZ*R*260131*1000*U*00401*1*0*P*>~", "with an ISA of 106 characters"),
    ],
)
def test_a_file_that_nearly_is_of_a_format_says_what_to_do(head: bytes, told: str) -> None:
    with pytest.raises(UnknownFormat) as why:
        format_of(head, None)

    assert told in str(why.value)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "before 2007 (.xls)"),
        (b"\x1f\x8b\x08", "packed by gzip: unpack it"),
        (b"%PDF-1.4", "It is a PDF file"),
        (b"\xef\xbb\xbf\r\n<HTML><table>", "It is a web page"),
        (b"<!DOCTYPE html>", "It is a web page"),
        (b"<table><tr>", "It is a web page"),
    ],
)
def test_what_is_no_table_whatever_its_name_says_is_told_by_map_by_draft_and_without(
    head: bytes, told: str
) -> None:
    by = read_sheet_map(SALES)
    for read in (
        lambda: format_of(head, None),
        lambda: table_format(head, by, "a", None),
        lambda: draft_table(io.BytesIO(head), "a.xls"),
    ):
        with pytest.raises(UnknownFormat) as why:
            read()
        assert told in str(why.value)
