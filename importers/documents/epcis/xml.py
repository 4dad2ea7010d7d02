"""EPCIS 1.2 and 2.0 in XML, event by event, by the parser that comes with Python.

An event is brought into the shape that it has in JSON, so that both are read by one code. Version
1.2 hides newer fields in `extension` and `baseExtension`: what is in those counts as if it stood
outside. Order and schema are not checked; names and values are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
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
        for line, name, event in reader.events:
            yield from _parts(f"line {line}, {name}", name, event, reader.name)
        reader.events.clear()
    if not reader.lists:
        raise _broken("The document has no EventList")


def _parts(
    where: str, name: str, node: Element, names: Callable[[str], str]
) -> Iterator[DocumentPart]:
    fields = _Fields(names).of_event(node)
    fields["type"] = name
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


def _text(node: Element) -> str:
    """All text that is directly in an element, also behind others in it."""
    text = node.text or ""
    if len(node):
        text += "".join([child.tail for child in node if child.tail])
    return text.strip()


class _Fields:
    """Brings events into the shape that they have in JSON; names: of tags."""

    def __init__(self, names: Callable[[str], str]) -> None:
        self._names = names

    def of_event(self, node: Element) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        self._add(node, fields)
        return fields

    def _add(self, node: Element, fields: dict[str, Any]) -> None:
        names = self._names
        for child in node:
            name = names(child.tag)
            if name in _WRAPPERS:
                self._add(child, fields)
            elif (kind := _SPECIAL.get(name)) is not None:
                kind(self, name, child, fields)
            elif len(child) or child.attrib or name in fields:
                fields.setdefault(f"{name}/", []).append(self._whole(child))
            else:
                fields[name] = (child.text or "").strip()

    def put_list(self, name: str, node: Element, fields: dict[str, Any]) -> None:
        wanted, elements = _LISTS[name], fields.setdefault(name, [])
        for one in node:
            if (of := self._names(one.tag)) == wanted:
                elements.append(self._element(of, one))
            else:
                fields.setdefault(f"{name}/{of}", []).append(self._whole(one))

    def put_object(self, name: str, node: Element, fields: dict[str, Any]) -> None:
        fields[name] = self._object(node)

    def put_dispositions(self, name: str, node: Element, fields: dict[str, Any]) -> None:
        fields[name] = {
            which: [_text(one) for one in node if self._names(one.tag) == which]
            for which in ("set", "unset")
        }

    def _element(self, name: str, node: Element) -> Any:
        if name in _TYPED:
            typed = {name: _text(node)}
            if "type" in node.attrib:
                typed["type"] = node.attrib["type"]
            return typed
        return self._object(node) if len(node) else (node.text or "").strip()

    def _object(self, node: Element) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for child in self._unwrapped(node):
            name = self._names(child.tag)
            if len(child) or child.attrib or name in fields:
                fields[f"{name}/"] = self._whole(child)
            else:
                fields[name] = (child.text or "").strip()
        return fields

    def _unwrapped(self, node: Element) -> Iterator[Element]:
        for child in node:
            if self._names(child.tag) in _WRAPPERS:
                yield from self._unwrapped(child)
            else:
                yield child

    def _whole(self, node: Element) -> list[Any]:
        inside = [self._whole(child) for child in node]
        return [self._names(node.tag), node.attrib, _text(node), inside]


_SPECIAL: Final[dict[str, Callable[[_Fields, str, Element, dict[str, Any]], None]]] = {
    **dict.fromkeys(_LISTS, _Fields.put_list),
    **dict.fromkeys(_OBJECTS, _Fields.put_object),
    "persistentDisposition": _Fields.put_dispositions,
}


class _Reader:
    """Feeds the parser and keeps the events that have ended.

    What is in an event is put together by ElementTree's builder, whose methods the parser calls
    without Python between them; only tags that end, and all that is outside of events, come here.
    """

    def __init__(self) -> None:
        #: Line of their first tag, their names, and the events.
        self.events: list[tuple[int, str, Element]] = []
        self.lists = 0
        self._open: list[str] = []
        #: Depth of an open list of events.
        self._list_depth = 0
        #: The event that is open, and its name.
        self._event: Element | None = None
        self._event_name = ""
        #: Of tags that came before.
        self._names: dict[str, str] = {}
        self._line = self._began = self._fed = 0
        self._builder = TreeBuilder()
        self._root = self._builder.start("events", {})
        self._end_built = self._builder.end
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        self._outside()
        # A DOCTYPE alone is harmless, and GS1's own samples have one; entities can be a bomb or
        # another file.
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._entity
        parser.ExternalEntityRefHandler = self._entity

    def _outside(self) -> None:
        """From here on what comes is not of an event."""
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = None

    def _inside(self, tag: str, attributes: dict[str, str]) -> None:
        """Its first tag has come: from here on all is of an event."""
        self._event = self._builder.start(tag, attributes)
        self._parser.StartElementHandler = self._builder.start
        self._parser.EndElementHandler = self._end_inside
        self._parser.CharacterDataHandler = self._builder.data

    def feed(self, chunk: bytes) -> None:
        self._fed += len(chunk)
        try:
            self._parser.Parse(chunk, not chunk)
        except (expat.ExpatError, LookupError, ValueError) as problem:
            raise _broken(f"The file is no XML ({problem})") from problem
        # Not asked at each tag, which cost more than all else of it: an event may be a piece of
        # the file longer.
        if self._event is not None and self._fed - self._began > MAX_XML_BYTES + len(chunk):
            raise self._too_long()
        # The parser keeps a tag or text that has not ended.
        if self._fed - max(self._parser.CurrentByteIndex, 0) > MAX_XML_BYTES:
            raise self._too_long()

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = self.name(tag)
        if not self._open and name not in _ROOTS:
            raise _broken(f"The file begins with {name}, and an EPCIS file with {_ROOTS[0]}")
        if len(self._open) >= MAX_DEPTH_OF_XML:
            raise self._too_deep()
        if self._list_depth and name not in _WRAPPERS:
            self._line, self._began = self._parser.CurrentLineNumber, self._parser.CurrentByteIndex
            self._event_name = name
            self._inside(tag, attributes)
        else:
            self._open.append(name)
            if name == "EventList" and not self._list_depth:
                self._list_depth = len(self._open)
                self.lists += 1

    def name(self, tag: str) -> str:
        """What a tag is called."""
        return self._names.get(tag) or self._name(tag)

    def _name(self, tag: str) -> str:
        name = _local(tag)
        if len(self._names) < _MOST_NAMES and len(tag) < _LONG_NAME:
            self._names[tag] = name
        return name

    def _end(self, tag: str) -> None:
        if len(self._open) == self._list_depth:
            self._list_depth = 0
        self._open.pop()

    def _end_inside(self, tag: str) -> None:
        if (event := self._end_built(tag)) is self._event:
            if _is_deeper(event, MAX_DEPTH_OF_XML - len(self._open)):
                raise self._too_deep()
            self.events.append((self._line, self._event_name, event))
            self._root.clear()
            self._event = None
            self._outside()

    def _entity(self, *_: object) -> NoReturn:
        raise BrokenDocument(
            f"{self._at()} declares or uses an entity, which no EPCIS file needs and which can "
            "stand for other files or for gigabytes: ask its sender for the file without."
        )

    def _too_deep(self) -> BrokenDocument:
        return _broken(f"{self._at()} is nested deeper than {MAX_DEPTH_OF_XML}")

    def _at(self) -> str:
        return f"Line {self._parser.CurrentLineNumber}"

    def _too_long(self) -> BrokenDocument:
        return _broken(f"{self._at()}: an event or a text is longer than {MAX_XML_BYTES >> 20} MiB")


def _is_deeper(node: Element, levels: int) -> bool:
    """Whether elements lie in it at more levels than these, of which it is the first."""
    if sum(1 for _ in node.iter()) <= levels:  # all of them, one in the other, would not
        return False
    inside = [node]
    while inside and levels:
        inside, levels = [child for one in inside for child in one], levels - 1
    return bool(inside)


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
