"""A map for a sheet, drafted from the file itself.

What the file shows beyond doubt is filled in. What it does not is a question: a `?`, which no map
may have, with what was seen beside it. So a draft is never used unread.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from importers.documents.port import BrokenDocument
from importers.documents.sheets.cells import MOMENT
from importers.documents.sheets.maps import ITEM_FIELDS, PLACE_FIELDS, QUESTION
from importers.documents.sheets.times import EXCEL_TIME, SERIAL, time_reader
from importers.gtins import gtin_of
from importers.items import ScanRefused

#: Of the file, so many bytes are looked at.
LOOKED_AT_BYTES: Final = 2**20
_DELIMITERS: Final = (",", ";", "\t", "|")
_ROWS: Final = 1000
_SHOWN: Final = 3
#: Headings as programs write them, without signs between and in lower case; a part will do.
_HEADINGS: Final = {
    "gtin": ("gtin", "ean", "upc", "barcode"),
    "sku": ("sku", "stockcode", "itemno", "itemid", "article", "artikel", "product", "item"),
    "quantity": ("quantity", "qty", "menge", "anzahl", "units", "pieces", "stück"),
    "gln": ("gln", "iln"),
    "location": ("location", "store", "shop", "branch", "filiale", "markt", "warehouse", "lager"),
    "time": (
        *("datetime", "timestamp", "invoicedate", "createdat", "created", "date", "datum"),
        *("time", "zeit", "day"),
    ),
    "clock": ("timeofday", "uhrzeit", "clock", "time", "zeit"),
    "unit": ("uom", "unitofmeasure", "einheit", "unit"),
    "kind": ("movement", "transactiontype", "kind", "vorgang", "type"),
    "reference": ("invoiceno", "invoice", "receipt", "orderno", "order", "bon", "reference"),
}
_FORMS: Final = (
    "rfc3339",
    *(
        f"{day}{time}"
        for day in ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y%m%d")
        for time in (
            "",
            " %H:%M",
            " %H:%M:%S",
            "T%H:%M:%S",
            " %H:%M:%S %z",
            " %I:%M %p",
            " %I:%M:%S %p",
        )
    ),
    EXCEL_TIME,
)


_WITH_ZONE: Final = [form for form in _FORMS if form == "rfc3339" or "%z" in form]
_CLOCK: Final = re.compile(r"\d\d?:\d\d(?::\d\d)?(?: [AaPp][Mm])?", re.ASCII)


#: As TOML writes a text, too.
_text = partial(json.dumps, ensure_ascii=False)


class LookedAt(msgspec.Struct, frozen=True):
    """What was seen of a table.

    written: lines of the map that say how the file is written. columns: the cells of each heading.
    texts: those of them that are texts; in a CSV file, all are.
    """

    written: list[str]
    header: list[str]
    columns: dict[str, list[str]]
    texts: dict[str, list[str]]


def draft_map(head: bytes, name: str) -> str:
    """A map for a CSV file, as TOML text.

    Args:
        head: the first bytes of the file.
        name: of the file, for a comment.

    Raises:
        BrokenDocument: it is no table.
    """
    return drafted(_look(head), name)


def drafted(seen: LookedAt, name: str) -> str:
    """A map as TOML text; name: of the file, for a comment."""
    found = _fields(seen)
    moments = _moments(found, seen)
    lines = [
        f"# What is what in {_text(name)}. Each {QUESTION} is a question that it leaves open.",
        *seen.written,
        *_of_quantity(seen.texts.get(found.get("quantity", ""), ())),
        *_of_heading(seen.header),
        *_of_time(moments, "time" in found),
        *_of_constants(found),
        "",
        "[columns]",
        *(
            f"{field} = {_text(heading)}{_examples(seen.columns[heading])}"
            f"{_hint(field, seen.columns[heading])}"
            for field, heading in found.items()
        ),
        *_missing(found),
    ]
    lines += _of_words(found, seen)
    lines += _of_rest(found, seen)
    return "\n".join(lines) + "\n"


def _look(head: bytes) -> LookedAt:
    encoding, text = _decoded(head)
    whole = text.rpartition("\n")[0] or text  # the last line may be cut
    delimiter = max(_DELIMITERS, key=lambda one: _evenness(whole, one))
    try:
        above, rows = _table(whole, delimiter)
    except csv.Error as error:
        raise BrokenDocument(
            f"It is no table that can be read ({error}): look for a quote that is not closed, or "
            "not doubled inside of a text."
        ) from None
    if len(rows) < 2 or len(rows[0]) < 2:
        raise BrokenDocument(
            "It is no table: at least a heading, a row and two columns are needed."
        )
    header = [cell.strip() for cell in rows[0]]
    columns = {
        heading: [row[at].strip() for row in rows[1:] if len(row) == len(header)]
        for at, heading in enumerate(header)
        if header.count(heading) == 1 and heading
    }
    written = [f"encoding = {_text(encoding)}", f"delimiter = {_text(delimiter)}"]
    if above:
        written.append(f"skip = {above}")
    return LookedAt(written, header, columns, columns)


def _table(text: str, delimiter: str) -> tuple[int, list[list[str]]]:
    """How many lines stand above the first row of more than one cell; the rows from that on."""
    reader, above = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 0
    rows: list[list[str]] = []
    for row in reader:
        if rows or sum(map(bool, map(str.strip, row))) > 1:
            rows += [row] if row else []
        else:
            above = reader.line_num
        if len(rows) == _ROWS:
            break
    return (above, rows) if any(text.splitlines()[:above]) else (0, rows)


def _decoded(head: bytes) -> tuple[str, str]:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16", head[: len(head) // 2 * 2].decode("utf-16", "replace")
    for cut in range(4):  # a character may be cut in two
        try:
            return "utf-8", head[: len(head) - cut].decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
    return "cp1252", head.decode("cp1252", "replace")


def _evenness(text: str, delimiter: str) -> tuple[int, int]:
    """How many rows have as many columns as the heading, and how many these are."""
    try:
        widths = [len(row) for row in _table(text, delimiter)[1][:200]]
    except csv.Error:
        return 0, 0
    wide = widths[0] if widths else 0
    return (sum(width == wide for width in widths), wide) if wide > 1 else (0, 0)


def _fields(seen: LookedAt) -> dict[str, str]:
    """The heading of each field that was found; each heading once."""
    plain = {heading: re.sub(r"[\W_]", "", heading.lower()) for heading in seen.columns}
    found: dict[str, str] = {}
    for exact in (True, False):
        for field, words in _HEADINGS.items():
            if field in found or _has_one_like(field, found):
                continue
            for word in words:
                fits = [
                    heading
                    for heading, text in plain.items()
                    if heading not in found.values() and (text == word if exact else word in text)
                ]
                if fits:
                    found[field] = fits[0]
                    break
    if "gtin" in found and not _are_gtins(seen.columns[found["gtin"]]):
        found["item"] = found.pop("gtin")
    if "clock" in found and not _is_beside(found, seen):
        del found["clock"]
    return found


def _is_beside(found: dict[str, str], seen: LookedAt) -> bool:
    """Whether there is a day, without a time of its own, and times of day beside it."""
    days = seen.columns.get(found.get("time", ""), ())
    clocks = [cell for cell in seen.columns[found["clock"]] if cell]
    return (
        any(days)
        and not any(":" in day for day in days)
        and bool(clocks)
        and all(map(_CLOCK.fullmatch, clocks))
    )


def _moments(found: dict[str, str], seen: LookedAt) -> list[str]:
    """Cells of the time, as they are read."""
    days = seen.columns.get(found.get("time", ""), [])
    if "clock" not in found:
        return list(days)
    both = zip(days, seen.columns[found["clock"]], strict=True)
    return [f"{day} {clock}".strip() for day, clock in both]


def _of_heading(header: Sequence[str]) -> list[str]:
    if not any(re.fullmatch(r"[\d.,:+-]*\d[\d.,:+-]*", heading) for heading in header):
        return []
    return [
        "# The first row has numbers in it. If it is no heading: header = false, and columns are "
        "named by their",
        "# numbers, from 1.",
    ]


def _hint(field: str, cells: Sequence[str]) -> str:
    if field not in ("sku", "item") or not _are_gtins([cell for cell in cells if cell]):
        return ""
    return "; most are GTINs: as gtin they are one with those of other documents"


def _has_one_like(field: str, found: dict[str, str]) -> bool:
    return any(field in alike and {*alike} & {*found} for alike in (ITEM_FIELDS, PLACE_FIELDS))


def _are_gtins(cells: Sequence[str]) -> bool:
    """Most of them: a broken one among them is to be refused, not taken for another number."""
    return 2 * sum(map(_is_gtin, cells)) > len(cells)


def _is_gtin(cell: str) -> bool:
    try:
        return bool(gtin_of(cell))
    except ScanRefused:
        return False


def _of_quantity(cells: Sequence[str]) -> list[str]:
    marked = [cell for cell in cells if "," in cell or "." in cell]
    if not marked:
        return ['decimal = "."']
    # Behind the last sign are decimals where both signs are used, or three digits are impossible.
    both = {_last_sign(cell) for cell in marked if "," in cell and "." in cell}
    if len(both) == 1:
        decimal = both.pop()
        return [f'decimal = "{decimal}"', f'thousands = "{"," if decimal == "." else "."}"']
    signs = {_last_sign(cell) for cell in marked}
    if len(signs) == 1 and {len(re.split("[,.]", cell)[-1]) for cell in marked} != {3}:
        return [f'decimal = "{signs.pop()}"']
    return [f'decimal = "{QUESTION}"  # of {_text(marked[0])}: "." or ","; see thousands too']


def _last_sign(cell: str) -> str:
    return max(",.", key=cell.rfind)


def _of_time(cells: Sequence[str], is_there: bool) -> list[str]:
    if not is_there:
        return []
    filled = [cell for cell in cells if cell][:_ROWS]
    fits = [form for form in _FORMS if filled and _reads_all(form, filled)]
    zone = f'zone = "{QUESTION}"  # such as "Europe/Berlin"; without this line, that of the place'
    if len(fits) == 1:
        return [f"time_form = {_text(fits[0])}", *([] if fits[0] in _WITH_ZONE else [zone])]
    example = _text(filled[0].removeprefix(MOMENT)) if filled else "nothing"
    if filled and all(map(SERIAL.fullmatch, filled)):
        told = "a spreadsheet's number of a date: give the column that format, and export it again"
        return [f'time_form = "{QUESTION}"  # {example} is {told}']
    which = " or ".join(_text(form) for form in fits) or 'such as "%d.%m.%Y %H:%M"'
    return [f'time_form = "{QUESTION}"  # of {example}: {which}', zone]


def _reads_all(form: str, cells: Sequence[str]) -> bool:
    read = time_reader(form, None)
    try:
        return all(read(cell) for cell in cells)
    except ValueError:
        return False


def _of_constants(found: dict[str, str]) -> list[str]:
    lines = []
    if "kind" not in found:
        lines.append(
            f'kind = "{QUESTION}"  # sold, returned, received, dispatched, adjusted or counted'
        )
    if not {*PLACE_FIELDS} & {*found}:
        lines.append(f'location = "{QUESTION}"  # no column looks like one: which is it?')
    return ["", "[constants]", *lines] if lines else []


def _missing(found: dict[str, str]) -> list[str]:
    missing = [] if {*ITEM_FIELDS} & {*found} else ["sku"]
    missing += [] if "quantity" in found else ["quantity"]
    told = "the heading of its column, or its number from 1"
    return [f'{field} = "{QUESTION}"  # {told}' for field in missing]


def _of_words(found: dict[str, str], seen: LookedAt) -> list[str]:
    lines: list[str] = []
    if "kind" in found:
        words = sorted({*seen.columns[found["kind"]]})[:20]
        lines += ["", "[words.kind]", *(f'{_text(word)} = "{QUESTION}"' for word in words)]
    if "unit" in found:
        words = sorted({*seen.columns[found["unit"]]})[:20]
        lines += [
            "",
            '[words.unit]  # "" for pieces; KGM, GRM, LTR …; or what a catalogue calls a pack',
        ]
        lines += [f'{_text(word)} = "{QUESTION}"' for word in words]
    if any(cell.startswith("-") for cell in seen.columns.get(found.get("quantity", ""), ())):
        lines += [
            "",
            "[negative]",
            f'sold = "{QUESTION}"  # there are quantities below 0: returned?',
        ]
    return lines


def _of_rest(found: dict[str, str], seen: LookedAt) -> list[str]:
    rest = [heading for heading in seen.header if heading not in found.values()]
    lines = [f"# Not used: {', '.join(map(_text, rest))}."] if rest else []
    if "time" not in found:
        lines.append(
            "# No column looks like a time: without one, facts happen when they are loaded."
        )
    return ["", *lines] if lines else []


def _examples(cells: Sequence[str]) -> str:
    some = list(dict.fromkeys(cell for cell in cells if cell))[:_SHOWN]
    shown = (_text(one.removeprefix(MOMENT)[:30]) for one in some)
    return f"  # {', '.join(shown)}" if some else ""
