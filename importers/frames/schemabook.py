"""The schemas that Avro and Protobuf values were written with, by the number before the value.

A number names one schema for ever, so a value is read by the schema that wrote it, whatever is
registered later. Who fetches them is not known here: see `agents/learning.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, Final, TypeAlias

from msgspec import Struct

from core.records import Headers, Record, TooLarge
from importers.frames.places import NotMapped

VALUE_SCHEMA_ID: Final = "__value_schema_id"
#: What follows the first byte of a schema's number: 4 bytes of an id, or 16 of a GUID.
_NUMBER_BYTES: Final = {0: 4, 1: 16}
#: How long a registry's "there is none" is believed: it may come a moment after its first record.
UNKNOWN_FOR_S: Final = 60.0


class Encoding(StrEnum):
    """How a map calls what a value is written in."""

    JSON = "json"
    AVRO = "avro"
    PROTOBUF = "protobuf"


class WriterSchema(Struct, frozen=True):
    """A schema as a registry has it.

    kind: `AVRO` or `PROTOBUF`. text: Avro's JSON, or a FileDescriptorProto in Base64.
    name: of the file, where another one imports it. imports: what it refers to.
    """

    kind: str
    text: str
    name: str = ""
    imports: tuple[WriterSchema, ...] = ()


class NoSchema(Struct, frozen=True):
    """Why there is none for a number; `told` is the end of a sentence."""

    told: str


class Numbered(Struct, frozen=True):
    """A value and the number of its schema.

    number: with its first byte. more: what follows the number in its header; None where the
    number stands before the value.
    """

    number: bytes
    more: bytes | None
    value: bytes


#: Reads values of one schema. Raises NotMapped.
ReadValue: TypeAlias = Callable[[Numbered], Any]


def numbered(value: bytes, headers: Headers) -> Numbered:
    """Tell the number from the value. In a header, the value is bare, and may begin with any byte.

    Raises:
        NotMapped: there is no number.
    """
    for name, raw in reversed(headers):
        if name == VALUE_SCHEMA_ID and raw is not None:
            size = 1 + _NUMBER_BYTES.get(raw[0] if raw else -1, len(raw))
            if size > len(raw):
                raise NotMapped(f"The header {VALUE_SCHEMA_ID} has no schema's number.")
            return Numbered(raw[:size], raw[size:], value)
    size = 1 + _NUMBER_BYTES.get(value[0] if value else -1, -1)
    if not 0 < size <= len(value):
        raise NotMapped(
            "The value begins with no schema's number, and no header has one: a plain JSON "
            "value has the frame json."
        )
    return Numbered(value[:size], None, value[size:])


def spelt_number(number: bytes) -> str:
    """As registries and files call it: `7`, or a GUID."""
    if number[0] == 0:
        return str(int.from_bytes(number[1:], "big"))
    return str(uuid.UUID(bytes=number[1:]))


class SchemaBook:
    """The schemas that are known so far.

    Args:
        encoding: Avro or Protobuf.

    Raises:
        ImportError: its library is not installed.
    """

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        if encoding is Encoding.AVRO:
            from importers.frames.avro import avro_reader as reader_of
        else:
            from importers.frames.protobuf import protobuf_reader as reader_of
        self._reader_of: Callable[[WriterSchema], ReadValue] = reader_of
        self._readers: dict[bytes, ReadValue] = {}
        self._missing: dict[bytes, tuple[str, float]] = {}

    def wanted(self, records: Iterable[Record], now_s: float) -> set[bytes]:
        """Numbers of schemas to be fetched before these records can be read."""
        found = {number for record in records if (number := _number_of(record)) is not None}
        return {number for number in found - self._readers.keys() if self._is_open(number, now_s)}

    def _is_open(self, number: bytes, now_s: float) -> bool:
        missing = self._missing.get(number)
        return missing is None or now_s >= missing[1]

    def add(self, number: bytes, found: WriterSchema | NoSchema, now_s: float) -> None:
        """Keep what a number means, or that nobody knows it."""
        try:
            if isinstance(found, NoSchema):
                raise NotMapped(found.told)
            if found.kind.lower() != self.encoding:
                raise NotMapped(f"is of {found.kind}, and the map says {self.encoding}")
            self._readers[number] = self._reader_of(found)
            self._missing.pop(number, None)
        except NotMapped as why:
            self._missing[number] = str(why), now_s + UNKNOWN_FOR_S

    def read(self, value: bytes, headers: Headers) -> Any:
        """A value by the schema that wrote it.

        Raises:
            NotMapped: there is none, or it does not fit.
        """
        framed = numbered(value, headers)
        reader = self._readers.get(framed.number)
        if reader is None:
            told = self._missing.get(framed.number, ("is not known", 0.0))[0]
            raise NotMapped(f"Its schema {spelt_number(framed.number)} {told}.")
        return reader(framed)


def _number_of(record: Record) -> bytes | None:
    value = record[3]
    if value is None or isinstance(value, TooLarge):
        return None
    try:
        return numbered(value, record[4]).number
    except NotMapped:
        return None
