"""One part of a workbook as XML, handed over as it is parsed. No entities, no other files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NoReturn
from xml.parsers import expat

from importers.documents.excel.archive import broken_workbook

#: Excel's own names, and those of the strict form of the standard.
MAIN_SPACES: Final = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
)
#: Of one tag or text; a cell has at most 32,767 characters.
_MAX_TOKEN_BYTES: Final = 1 << 20

StartTag = Callable[[str, dict[str, str]], None]
EndTag = Callable[[str], None]
Characters = Callable[[str], None]


def parsed(
    pieces: Iterable[bytes], what: str, start: StartTag, end: EndTag, text: Characters
) -> Iterator[None]:
    """Parse a part, and give way after each piece.

    Args:
        pieces: of the part.
        what: it is, for people.
        start: is told names, as `space name`, and attributes.
        end: is told names.
        text: is told characters.

    Raises:
        BrokenDocument: it is no XML of a workbook.
    """
    # Whatever a part says of its encoding: all of Excel's are of this one.
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text

    def declared(*_: object) -> NoReturn:
        raise broken_workbook(f"{what} has a DOCTYPE, which no workbook needs")

    # Without one there are no entities, and so neither bombs nor other files.
    parser.StartDoctypeDeclHandler = declared
    fed = 0
    try:
        for piece in pieces:
            fed += len(piece)
            parser.Parse(piece, False)
            # The parser keeps a tag or text that has not ended.
            if fed - max(parser.CurrentByteIndex, 0) > _MAX_TOKEN_BYTES:
                raise broken_workbook(f"{what} has a text of a million characters")
            yield
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, UnicodeError) as why:
        raise broken_workbook(f"{what} is no XML ({why})") from None
    yield


def elements(pieces: Iterable[bytes], what: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the start of each element: of a part where names and attributes say all."""
    found: list[tuple[str, dict[str, str]]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        found.append((local_name(tag), attributes))

    for _ in parsed(pieces, what, start, lambda tag: None, lambda text: None):
        yield from found
        found.clear()


def local_name(tag: str) -> str:
    """Drop the space of a name."""
    return tag.rpartition(" ")[2]


def is_true(word: str | None) -> bool:
    """As attributes say it."""
    return word in ("1", "true", "on")
