"""The schemas that Avro and Protobuf values were written with, by the number before the value.

A number names one schema for ever, so a value is read by the schema that wrote it, whatever is
registered later. Who fetches them is not known here: see `agents/learning.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from core.records import Headers, Record, TooLarge
from importers.frames.numbered import (
    Encoding,
    NoSchema,
    ReadValue,
    WriterSchema,
    numbered,
    spelt_number,
)
from importers.frames.places import NotMapped

#: How long a registry's "there is none" is believed: it may come a moment after its first record.
UNKNOWN_FOR_S: Final = 60.0


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
