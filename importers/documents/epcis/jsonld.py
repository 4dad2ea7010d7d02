"""EPCIS 2.0 in JSON-LD, event by event: a file of a gigabyte is never in memory as a whole.

A bare regular expression finds where an event ends, which takes a tenth of the time of a parser
in steps, and msgspec reads it. All that stands outside of the events is kept and read last, so
that no comma goes unchecked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import msgspec

from importers.documents.epcis.events import parts_of
from importers.documents.epcis.identities import known_by, unread
from importers.documents.epcis.model import KINDS, EpcisEvent
from importers.documents.port import (
    BrokenDocument,
    Document,
    DocumentPart,
    Format,
    RefusedLine,
)

_CHUNK_BYTES: Final = 1 << 16
#: Of one event, and of all that stands outside of events (header, context, master data).
MAX_EVENT_BYTES: Final = 8 << 20
MAX_NESTING: Final = 24
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_TOKEN = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb'|[{}\[\],:]|[^\s{}\[\],:"]++)', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")
#: Where lists of events are.
_LISTS: Final = (
    (b"epcisBody", b"eventList"),
    (b"epcisBody", b"queryResults", b"resultsBody", b"eventList"),
    (b"resultsBody", b"eventList"),
)
_HEAD = re.compile(
    rb'"(?:epcisBody|eventList|resultsBody)"\s*:|"type"\s*:\s*"(?:EPCIS(?:Query)?Document|'
    + "|".join(KINDS).encode()
    + rb')"'
)
_BOM: Final = b"\xef\xbb\xbf"


def _object_of(levels: int) -> bytes:
    """Write the pattern of an object with others inside; whether it is JSON msgspec says."""
    pattern = rb"(?!)"
    for _ in range(levels):
        pattern = rb'\{(?:[^{}"]++|' + _STRING + rb"|" + pattern + rb")*+\}"
    return pattern


_OBJECT = re.compile(_object_of(MAX_NESTING), re.DOTALL)
_EVENT = msgspec.json.Decoder(EpcisEvent)


def read_epcis_json(file: BinaryIO) -> Iterator[DocumentPart]:
    """Yield each event as a document of its own.

    Raises:
        BrokenDocument: it is no JSON, or no EPCIS document.
    """
    splitter = _Splitter(file)
    for where, raw in splitter.events():
        yield from _parts(where, raw)
    yield from splitter.rest()


def _parts(where: str, raw: bytes) -> Iterator[DocumentPart]:
    try:
        event = _EVENT.decode(raw)
        fields: dict[str, Any] = {} if event.event_id else msgspec.json.decode(raw)
    except msgspec.ValidationError as problem:
        identity = f"epcis:{unread(raw)}"
        yield Document(identity=identity, where=where)
        yield RefusedLine(
            where=where,
            number="event",
            sentence=f"The event is none of EPCIS 2.0: {problem}. Ask its sender to mend it.",
        )
        return
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise _broken(f"{where} is no JSON ({problem})") from problem
    yield from parts_of(event, where, ".", known_by(event, fields))


class _Splitter:
    """Goes over the file once; `outside` is what it has without the events."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.buffer = b""
        self.at = 0
        #: Of the buffer's first byte in the file.
        self.offset = 0
        self.ended = False
        self.outside = bytearray()
        self.lists = 0

    def events(self) -> Iterator[tuple[str, bytes]]:
        keys: list[bytes | None] = []
        text: bytes | None = None
        self.fill(_CHUNK_BYTES)
        if self.buffer.startswith(_BOM):
            self.at = len(_BOM)
        while (token := self.token()) is not None:
            self.keep(token)
            if token == b"[" and tuple(keys) in _LISTS:
                self.lists += 1
                path = b".".join(key for key in keys if key).decode()
                yield from self.of_list(f"$.{path}")
                self.keep(b"]")
            elif token in (b"{", b"["):
                if len(keys) >= MAX_NESTING:
                    raise _broken(f"Byte {self.here} is nested deeper than {MAX_NESTING}")
                # An array has no key, and a list of events in it is none of the document's own.
                keys.append(b"" if token == b"[" else None)
            elif token in (b"}", b"]"):
                if not keys:
                    raise _broken(f"Byte {self.here} closes what nothing has opened")
                keys.pop()
            elif token == b":" and keys and text is not None:
                keys[-1] = text
            text = token[1:-1] if token.startswith(b'"') else None

    def of_list(self, path: str) -> Iterator[tuple[str, bytes]]:
        """Yield the objects up to the bracket that closes the list, which is passed over."""
        number = 0
        mark = self.next_mark()
        while mark != b"]":
            where = f"{path}[{number}]"
            if mark != b"{":
                raise _broken(f"{where} is no event but begins with {mark!r} (byte {self.here})")
            yield where, self.object(where)
            number += 1
            mark = self.next_mark()
            if mark == b",":
                self.at += 1
                mark = self.next_mark()
                if mark == b"{":
                    continue
            elif mark == b"]":
                break
            raise _broken(f"After {where} comes {mark!r} (byte {self.here})")
        self.at += 1

    def object(self, where: str) -> bytes:
        while True:
            found = _OBJECT.match(self.buffer, self.at)
            have = len(found[0]) if found else len(self.buffer) - self.at
            if have > MAX_EVENT_BYTES:
                raise _broken(
                    f"{where} is longer than {MAX_EVENT_BYTES >> 20} MiB, or nested deeper than "
                    f"{MAX_NESTING}"
                )
            if found:
                self.at = found.end()
                return found[0]
            # Twice as much each time: a long event is not looked at again for every piece.
            if not self.fill(max(have, _CHUNK_BYTES)):
                raise _broken(
                    f"The file ends within {where}, or that is nested deeper than {MAX_NESTING}"
                )

    def token(self) -> bytes | None:
        """Return the next token outside of events, or None at the end."""
        while True:
            found = _TOKEN.match(self.buffer, self.at)
            # What goes up to the end of the buffer may go on behind it.
            if found and (found.end() < len(self.buffer) or self.ended):
                self.at = found.end()
                return found[1]
            if not self.fill(max(len(self.buffer) - self.at, _CHUNK_BYTES)):
                if _SPACE.fullmatch(self.buffer, self.at):
                    return None
                if not _TOKEN.match(self.buffer, self.at):
                    raise _broken("The file ends within a text")
            elif len(self.buffer) - self.at > 2 * MAX_EVENT_BYTES:
                raise _broken(f"Byte {self.here} begins a text that does not end")

    def next_mark(self) -> bytes:
        """Return the next byte that is no space, without passing over it."""
        while True:
            found = _SPACE.match(self.buffer, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.buffer):
                return self.buffer[self.at : self.at + 1]
            if not self.fill(_CHUNK_BYTES):
                raise _broken("The file ends within a list of events")

    def keep(self, token: bytes) -> None:
        self.outside += token
        self.outside += b" "
        if len(self.outside) > MAX_EVENT_BYTES:
            raise _broken(
                f"What stands outside of the events is longer than {MAX_EVENT_BYTES >> 20} MiB"
            )

    def fill(self, wanted: int) -> bool:
        """Read on, forgetting what was passed over; False at the end."""
        more = b"" if self.ended else self.file.read(wanted)
        self.ended = not more
        self.offset += self.at
        self.buffer = self.buffer[self.at :] + more
        self.at = 0
        return bool(more)

    @property
    def here(self) -> int:
        return self.offset + self.at

    def rest(self) -> Iterator[DocumentPart]:
        """Check what stands outside; it is an event itself where there is no list."""
        raw = bytes(self.outside)
        try:
            document = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            raise _broken(
                f"Outside of its events the file is no JSON ({problem}), which is one document and "
                "not one in each line"
            ) from problem
        if self.lists == 1:
            return
        if self.lists:
            raise _broken("The document has more than one list of events")
        if isinstance(document, dict) and document.get("type") in KINDS:
            yield from _parts("$", raw)
            return
        raise _broken("The document has no list of events (epcisBody.eventList)")


def _looks_like(head: bytes) -> bool:
    text = head.removeprefix(_BOM).lstrip()
    return text.startswith(b"{") and _HEAD.search(text) is not None


def _broken(what: str) -> BrokenDocument:
    return BrokenDocument(f"{what}: have the file sent again as its system wrote it.")


EPCIS_JSON = Format(name="epcis-json", looks_like=_looks_like, read=read_epcis_json)
