"""What a workbook says before its rows: its sheets, how cells show numbers, and its texts."""

from __future__ import annotations

import posixpath
import re
from array import array
from collections.abc import Iterator
from typing import Final

import msgspec

from core.lately import Lately
from importers.documents.excel.archive import PartArchive, broken_workbook
from importers.documents.excel.forms import CellForm, form_of
from importers.documents.excel.parts import elements, is_true, local_name, parsed

#: Of the parts that are small in every workbook.
_SMALL_BYTES: Final = 32 << 20
#: Of all texts together; they are kept, for cells name them by number.
MAX_TEXT_BYTES: Final = 64 << 20
_MAX_SHEETS: Final = 1000
_MAX_FORMATS: Final = 100_000
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


class NamedSheet(msgspec.Struct, frozen=True):
    """A sheet of rows: its name, the part that it is, and whether people see it."""

    name: str
    part: str
    is_hidden: bool


class SharedTexts:
    """Texts by number: all in one piece, since a million of them by themselves fill the memory."""

    def __init__(self) -> None:
        self._bytes, self._ends = bytearray(), array("L", [0])
        self._lately = Lately(self._text)

    def add(self, text: str) -> None:
        """Take in the next one; raises BrokenDocument."""
        self._bytes += text.encode(errors="surrogatepass")
        self._ends.append(len(self._bytes))
        if len(self._bytes) + 8 * len(self._ends) > MAX_TEXT_BYTES:
            raise broken_workbook(
                f"Its texts have more than {MAX_TEXT_BYTES:,} bytes, and are kept while it is "
                "read. Save the sheet as CSV (UTF-8)"
            )

    def __getitem__(self, number: int) -> str:
        return self._lately[number]

    def _text(self, number: int) -> str:
        if not 0 <= number < len(self._ends) - 1:
            raise broken_workbook("A cell names a text that there is not")
        found = self._bytes[self._ends[number] : self._ends[number + 1]]
        return found.decode(errors="surrogatepass")


class Workbook:
    """A workbook, open as long as its file is.

    sheets: those of rows. is_1904: its days are counted from 1904. is_calculated: values of
    formulas are those that Excel would show; some programs write formulas and no or any values,
    and ask for a calculation.

    Raises:
        BrokenDocument: it is none that can be read.
    """

    def __init__(self, archive: PartArchive) -> None:
        self.archive = archive
        self.is_1904, self.is_calculated = False, True
        self._base = _base_of(archive)
        self._related = _related(archive, self._base)
        self.sheets = list(self._sheets())
        self.forms: list[CellForm] = self._forms()

    def form(self, style: int) -> CellForm:
        """How cells of a style show a number."""
        if 0 <= style < len(self.forms):
            return self.forms[style]
        if style or self.forms:
            raise broken_workbook("A cell names a style that there is not")
        return CellForm()

    def texts(self) -> SharedTexts:
        """Read all texts that cells name by number."""
        found = SharedTexts()
        part = self._part_of("sharedStrings")
        if part is None:
            return found
        of_text: list[str] = []
        depth_of_reading = 0
        is_open = False

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal depth_of_reading, is_open
            name = local_name(tag)
            if name == "rPh":  # how a Japanese text is read aloud: no part of it
                depth_of_reading += 1
            is_open = name == "t" and not depth_of_reading

        def end(tag: str) -> None:
            nonlocal depth_of_reading, is_open
            name, is_open = local_name(tag), False
            if name == "rPh":
                depth_of_reading -= 1
            elif name == "si":
                found.add(unescaped("".join(of_text)))
                of_text.clear()

        def text(characters: str) -> None:
            if is_open:
                of_text.append(characters)

        for _ in parsed(self.archive.pieces(part), "Its list of texts", start, end, text):
            if sum(map(len, of_text)) > 1 << 20:
                raise broken_workbook("It has a text of a million characters")
        return found

    def _sheets(self) -> Iterator[NamedSheet]:
        targets = {
            rel_id: part for rel_id, (kind, part) in self._related.items() if kind == "worksheet"
        }
        count = 0
        for name, found in elements(self.archive.pieces(self._base, _SMALL_BYTES), "The workbook"):
            if name == "workbookPr":
                self.is_1904 = is_true(found.get("date1904"))
            elif name == "calcPr":
                self.is_calculated = not is_true(found.get("fullCalcOnLoad"))
            elif name == "sheet":
                count += 1
                if count > _MAX_SHEETS:
                    raise broken_workbook(f"It has more than {_MAX_SHEETS:,} sheets")
                rel_id = next((v for key, v in found.items() if local_name(key) == "id"), "")
                if rel_id in targets:
                    is_hidden = found.get("state", "visible") != "visible"
                    yield NamedSheet(found.get("name", ""), targets[rel_id], is_hidden)

    def _forms(self) -> list[CellForm]:
        part = self._part_of("styles")
        if part is None:
            return []
        codes: dict[int, str] = {}
        numbers: list[int] = []
        is_of_cells = False
        for name, found in elements(self.archive.pieces(part, _SMALL_BYTES), "Its list of styles"):
            if name == "numFmt":
                codes[_number(found.get("numFmtId"))] = found.get("formatCode", "")
            elif name in ("cellXfs", "cellStyleXfs", "cellStyles", "dxfs"):
                is_of_cells = name == "cellXfs"
            elif name == "xf" and is_of_cells:
                numbers.append(_number(found.get("numFmtId", "0")))
            if len(numbers) + len(codes) > _MAX_FORMATS:
                raise broken_workbook(f"It has more than {_MAX_FORMATS:,} styles")
        forms = {number: form_of(number, codes.get(number)) for number in {*numbers}}
        return [forms[number] for number in numbers]

    def _part_of(self, kind: str) -> str | None:
        return next((part for found, part in self._related.values() if found == kind), None)


def _base_of(archive: PartArchive) -> str:
    """The part that is the workbook itself."""
    if archive.has("mimetype"):
        raise broken_workbook("It is an OpenDocument file")
    if not archive.has("_rels/.rels"):
        raise broken_workbook("It is an archive, and no workbook")
    for kind, part in _relations(archive, "_rels/.rels", "").values():
        if kind == "officeDocument":
            if part.lower().endswith(".bin"):
                raise broken_workbook("It is a binary workbook (.xlsb)")
            return part
    raise broken_workbook("It is an archive, and no workbook")


def _related(archive: PartArchive, base: str) -> dict[str, tuple[str, str]]:
    folder, name = posixpath.split(base)
    return _relations(archive, posixpath.join(folder, "_rels", f"{name}.rels"), folder)


def _relations(archive: PartArchive, part: str, folder: str) -> dict[str, tuple[str, str]]:
    """Kind and part, by id."""
    found = {}
    for name, one in elements(archive.pieces(part, _SMALL_BYTES), "Its list of parts"):
        if name == "Relationship" and one.get("TargetMode") != "External":
            kind = one.get("Type", "").rpartition("/")[2]
            target = posixpath.normpath(posixpath.join("/", folder, one.get("Target", "")))
            found[one.get("Id", "")] = kind, target.lstrip("/")
            if len(found) > _MAX_FORMATS:
                raise broken_workbook("It has more parts than any workbook")
    return found


def unescaped(text: str) -> str:
    """Read _x000D_ as Excel means it: a character that XML cannot hold."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _number(text: str | None) -> int:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise broken_workbook("It has a style without a number")
    return int(text)
