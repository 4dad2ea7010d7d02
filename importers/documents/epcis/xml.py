"""EPCIS 1.2 and 2.0 in XML, event by event, by the parser that comes with Python.

An event is brought into the shape that it has in JSON, so that both are read by one code. Version
1.2 hides newer fields in `extension` and `baseExtension`: what is in those counts as if it stood
outside. Order and schema are not checked; names and values are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NoReturn
from xml.parsers import expat

import msgspec

from importers.documents.epcis.events import parts_of
from importers.documents.epcis.identities import known_by, unread
from importers.documents.epcis.model import EpcisEvent
from importers.documents.port import (
    BrokenDocument,
    Document,
    DocumentPart,
    Format,
    RefusedLine,
)

_CHUNK_BYTES: Final = 1 << 16
#: Of one event, and of one tag or text anywhere.
MAX_XML_BYTES: Final = 8 << 20
MAX_DEPTH_OF_XML: Final = 64
#: Of tags whose name is kept, how many, and from how many characters on none is.
_MOST_NAMES: Final = 1_000
_LONG_NAME: Final = 100
_ROOTS: Final = ("EPCISDocument", "EPCISQueryDocument")
_OURS: Final = tuple(
    f"urn:epcglobal:{of}:xsd:{n}" for of in ("epcis", "epcis-query") for n in (1, 2)
)
_WRAPPERS: Final = ("extension", "baseExtension")
#: Lists, and what their elements are called.
_LISTS: Final = {
    "epcList": "epc",
    "childEPCs": "epc",
    "inputEPCList": "epc",
    "outputEPCList": "epc",
    "quantityList": "quantityElement",
    "childQuantityList": "quantityElement",
    "inputQuantityList": "quantityElement",
    "outputQuantityList": "quantityElement",
    "bizTransactionList": "bizTransaction",
    "sourceList": "source",
    "destinationList": "destination",
}
#: Elements of those lists that are text with a type as an attribute.
_TYPED: Final = ("bizTransaction", "source", "destination")
_OBJECTS: Final = ("readPoint", "bizLocation", "errorDeclaration")


class _Node:
    """An element of an event. `text` in pieces, as the parser hands it over."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes = name, attributes
        self.text: list[str] = []
        self.children: list[_Node] = []

    @property
    def value(self) -> str:
        return "".join(self.text).strip()


def read_epcis_xml(file: BinaryIO) -> Iterator[DocumentPart]:
    """Yield each event as a document of its own.

    Raises:
        BrokenDocument: it is no XML, no EPCIS document, or has entities of its own.
    """
    reader = _Reader()
    more = True
    while more:
        chunk = file.read(_CHUNK_BYTES)
        more = bool(chunk)
        reader.feed(chunk)
        for line, event in reader.events:
            yield from _parts(f"line {line}, {event.name}", event)
        reader.events.clear()
    if not reader.lists:
        raise _broken("The document has no EventList")


def _parts(where: str, node: _Node) -> Iterator[DocumentPart]:
    fields = _fields(node)
    fields["type"] = node.name
    try:
        event = msgspec.convert(fields, EpcisEvent, strict=False)
    except msgspec.ValidationError as problem:
        yield Document(
            identity=f"epcis:{unread(msgspec.json.encode(fields, order='sorted'))}", where=where
        )
        yield RefusedLine(
            where=where,
            number="event",
            sentence=f"The event is none of EPCIS: {problem}. Ask its sender to mend it.",
        )
        return
    yield from parts_of(event, where, "/", known_by(event, fields))


def _fields(node: _Node) -> dict[str, Any]:
    """Bring an event into the shape that it has in JSON."""
    fields: dict[str, Any] = {}
    for child in _unwrapped(node):
        name = child.name
        if name in _LISTS:
            elements = [_element(one) for one in child.children if one.name == _LISTS[name]]
            fields.setdefault(name, []).extend(elements)
            for one in child.children:
                if one.name != _LISTS[name]:
                    fields.setdefault(f"{name}/{one.name}", []).append(_whole(one))
        elif name in _OBJECTS:
            fields[name] = _object(child)
        elif name == "persistentDisposition":
            fields[name] = {
                which: [one.value for one in child.children if one.name == which]
                for which in ("set", "unset")
            }
        elif child.children or child.attributes or name in fields:
            fields.setdefault(f"{name}/", []).append(_whole(child))
        else:
            fields[name] = child.value
    return fields


def _unwrapped(node: _Node) -> Iterator[_Node]:
    for child in node.children:
        if child.name in _WRAPPERS:
            yield from _unwrapped(child)
        else:
            yield child


def _element(node: _Node) -> Any:
    if node.name in _TYPED:
        typed = {node.name: node.value}
        if "type" in node.attributes:
            typed["type"] = node.attributes["type"]
        return typed
    return _object(node) if node.children else node.value


def _object(node: _Node) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for child in _unwrapped(node):
        plain = not child.children and not child.attributes and child.name not in fields
        fields[child.name if plain else f"{child.name}/"] = child.value if plain else _whole(child)
    return fields


def _whole(node: _Node) -> list[Any]:
    return [node.name, node.attributes, node.value, [_whole(child) for child in node.children]]


class _Reader:
    """Feeds the parser and keeps the events that have ended."""

    def __init__(self) -> None:
        #: Line of their first tag, and the events.
        self.events: list[tuple[int, _Node]] = []
        self.lists = 0
        self._open: list[str] = []
        #: Depth of an open list of events, then of what is open in an event.
        self._list_depth = 0
        self._nodes: list[_Node] = []
        #: Of tags that came before.
        self._names: dict[str, str] = {}
        self._line = self._began = self._fed = 0
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        # A DOCTYPE alone is harmless, and GS1's own samples have one; entities can be a bomb or
        # another file.
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._entity
        parser.ExternalEntityRefHandler = self._entity

    def feed(self, chunk: bytes) -> None:
        self._fed += len(chunk)
        try:
            self._parser.Parse(chunk, not chunk)
        except (expat.ExpatError, LookupError, ValueError) as problem:
            raise _broken(f"The file is no XML ({problem})") from problem
        # Not asked at each tag, which cost more than all else of it: an event may be a piece of
        # the file longer.
        if self._nodes and self._fed - self._began > MAX_XML_BYTES + len(chunk):
            raise self._too_long()
        # The parser keeps a tag or text that has not ended.
        if self._fed - max(self._parser.CurrentByteIndex, 0) > MAX_XML_BYTES:
            raise self._too_long()

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = self._names.get(tag) or self._name(tag)
        if not self._open and name not in _ROOTS:
            raise _broken(f"The file begins with {name}, and an EPCIS file with {_ROOTS[0]}")
        if len(self._open) + len(self._nodes) >= MAX_DEPTH_OF_XML:
            raise _broken(f"{self._at()} is nested deeper than {MAX_DEPTH_OF_XML}")
        if self._nodes:
            node = _Node(name, attributes)
            self._nodes[-1].children.append(node)
            self._nodes.append(node)
        elif self._list_depth and name not in _WRAPPERS:
            self._line, self._began = self._parser.CurrentLineNumber, self._parser.CurrentByteIndex
            self._nodes.append(_Node(name, attributes))
        else:
            self._open.append(name)
            if name == "EventList" and not self._list_depth:
                self._list_depth = len(self._open)
                self.lists += 1

    def _name(self, tag: str) -> str:
        name = _local(tag)
        if len(self._names) < _MOST_NAMES and len(tag) < _LONG_NAME:
            self._names[tag] = name
        return name

    def _end(self, tag: str) -> None:
        if self._nodes:
            node = self._nodes.pop()
            if not self._nodes:
                self.events.append((self._line, node))
            return
        if len(self._open) == self._list_depth:
            self._list_depth = 0
        self._open.pop()

    def _characters(self, text: str) -> None:
        if self._nodes:
            self._nodes[-1].text.append(text)

    def _entity(self, *_: object) -> NoReturn:
        raise BrokenDocument(
            f"{self._at()} declares or uses an entity, which no EPCIS file needs and which can "
            "stand for other files or for gigabytes: ask its sender for the file without."
        )

    def _at(self) -> str:
        return f"Line {self._parser.CurrentLineNumber}"

    def _too_long(self) -> BrokenDocument:
        return _broken(f"{self._at()}: an event or a text is longer than {MAX_XML_BYTES >> 20} MiB")


def _local(tag: str) -> str:
    """Drop EPCIS' own namespaces, which senders write or leave away; others are part of a name."""
    space, _, name = tag.rpartition(" ")
    return name if not space or space in _OURS else tag


def _looks_like(head: bytes) -> bool:
    # UTF-16 has a NUL beside each letter.
    plain = head.replace(b"\0", b"")
    return plain.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"<") and any(
        root.encode() in plain for root in _ROOTS
    )


def _broken(what: str) -> BrokenDocument:
    return BrokenDocument(f"{what}: have the file sent again as its system wrote it.")


EPCIS_XML = Format(name="epcis-xml", looks_like=_looks_like, read=read_epcis_xml)
