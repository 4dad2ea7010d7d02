"""Workbooks as archives: what is damaged, cut, far too large or something else, as a whole."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importers.documents.excel import workbook
from importers.documents.excel.archive import PartArchive
from importers.documents.known import UnknownFormat, draft_table, table_format
from importers.documents.port import BrokenDocument
from importers.documents.sheets.maps import read_sheet_map
from tests.support.inputs.sheets import SALES, moved
from tests.unit.importers.excel.workbooks import HEAD, SHEET, a_book, lines_of, with_part

BOOK = a_book([HEAD, ("A", 1), ("B", 2)])
TEXTS = "xl/sharedStrings.xml"


def an_archive(**parts: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return data.getvalue()


@pytest.mark.parametrize("end", range(0, len(BOOK), 97))
def test_a_workbook_that_is_cut_off_is_broken_as_a_whole(end: int) -> None:
    with pytest.raises(BrokenDocument):
        lines_of(BOOK[:end])


@settings(deadline=None)
@given(st.integers(0, len(BOOK) - 1), st.integers(0, 255))
def test_a_workbook_with_any_byte_changed_is_read_or_is_broken_as_a_whole(
    at: int, byte: int
) -> None:
    with suppress(BrokenDocument):
        lines_of(BOOK[:at] + bytes([byte]) + BOOK[at + 1 :])


@pytest.mark.parametrize(
    ("part", "before", "after", "told"),
    [
        (SHEET, '<row r="3"', '<row r="2"', "Behind row 2 comes row '2'"),
        (SHEET, '<row r="3"', '<row r="9999999"', "It has more than 1,048,576 rows"),
        (SHEET, 'r="B3"', 'r="A3"', "The cell A3 comes twice, or not in its place"),
        (SHEET, 'r="B3"', 'r="B4"', "In row 3 stands a cell 'B4'"),
        (SHEET, 'r="B3"', 'r="ZZZ3"', "It has more than 16,384 columns"),
        (SHEET, 't="s"><v>2', 't="s"><v>99', "A cell names a text that there is not"),
        (SHEET, 't="s"><v>2', 't="s"><v>x', "A cell of row 2 names no text"),
        (SHEET, 't="s"><v>2', 't="z"><v>2', "A cell of row 2 is of the kind 'z'"),
        (SHEET, 'r="B3"', 'r="B3" s="99"', "A cell names a style that there is not"),
        (SHEET, "</worksheet>", "", "The sheet 'Sales' is no XML"),
        (SHEET, "<worksheet ", "<!DOCTYPE x><worksheet ", "has a DOCTYPE, which no workbook needs"),
        (TEXTS, "<sst ", '<!DOCTYPE x [<!ENTITY y "z">]><sst ', "has a DOCTYPE"),
        ("xl/_rels/workbook.xml.rels", "worksheets/sheet1", "worksheets/no", "It has no part"),
        ("_rels/.rels", "xl/workbook.xml", "xl/workbook.bin", "It is a binary workbook (.xlsb)"),
    ],
)
def test_a_workbook_that_contradicts_itself_is_broken_as_a_whole(
    part: str, before: str, after: str, told: str
) -> None:
    with pytest.raises(BrokenDocument) as why:
        lines_of(with_part(BOOK, part, before, after))

    assert told in str(why.value)
    assert str(why.value).endswith("open it in Excel and save it again, as .xlsx.")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (an_archive(**{"a.txt": "x"}), "It is an archive, and no workbook"),
        (an_archive(mimetype="application/vnd.oasis"), "It is an OpenDocument file"),
        (b"PK\x03\x04rest", "Its archive has no end, so it is cut off or something else"),
    ],
)
def test_another_archive_is_said_to_be_none(data: bytes, told: str) -> None:
    with pytest.raises(BrokenDocument, match=told):
        lines_of(data)


def test_a_part_is_not_unpacked_beyond_its_bound_whatever_it_says_of_its_size() -> None:
    data = an_archive(part="x" * 200_000)
    archive = PartArchive(io.BytesIO(data), most_bytes=100_000)

    with pytest.raises(BrokenDocument, match="'part' has more than 100,000 bytes when it is unp"):
        sum(map(len, archive.pieces("part")))
    enough = PartArchive(io.BytesIO(data), most_bytes=200_000)
    assert sum(map(len, enough.pieces("PART"))) == 200_000


def test_texts_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_TEXT_BYTES", 40)

    with pytest.raises(BrokenDocument, match="Its texts have more than 40 bytes"):
        lines_of(BOOK)


def test_names_of_elements_may_have_a_prefix_and_the_form_of_the_strict_standard() -> None:
    data = BOOK
    text = zipfile.ZipFile(io.BytesIO(data)).read(SHEET).decode()
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    strict = text.replace(space, "http://purl.oclc.org/ooxml/spreadsheetml/main")
    prefixed = text.replace("<", "<x:").replace("<x:/", "</x:").replace("<x:?", "<?")
    prefixed = prefixed.replace(f'xmlns="{space}"', f'xmlns:x="{space}"')

    for changed in (strict, prefixed):
        lines = lines_of(with_part(data, SHEET, text, changed))
        assert [moved(line).quantity for line in lines] == [1, 2]


def test_the_format_of_a_table_is_known_by_its_content() -> None:
    by = read_sheet_map(SALES)

    assert table_format(BOOK[:4096], by, "x", None).name == "excel"
    assert table_format(b"sku,qty\n", by, "x", None).name == "csv"
    assert table_format(BOOK[:4096], by, "x", "csv").name == "csv"
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    with pytest.raises(UnknownFormat, match=r"before 2007 \(.xls\), or one with a password"):
        table_format(old, by, "x", None)
    with pytest.raises(UnknownFormat, match="or one with a password: save it as"):
        draft_table(io.BytesIO(old), "x.xls")
