"""A value that names its writer's schema by a number: which number, and what it stands for."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, TypeAlias

from msgspec import Struct

from core.records import Headers
from importers.frames.places import NotMapped

VALUE_SCHEMA_ID: Final = "__value_schema_id"
#: What follows the first byte of a schema's number: 4 bytes of an id, or 16 of a GUID.
_NUMBER_BYTES: Final = {0: 4, 1: 16}


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
