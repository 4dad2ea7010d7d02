"""The frames that a value may come in, and what is inside.

| frame | the value |
|---|---|
| json | is JSON |
| connect | is `{"schema":…,"payload":…}`, as Kafka Connect's JsonConverter writes it |
| debezium | is a change event, `{"before":…,"after":…,"op":…}`, perhaps wrapped so |
| outbox | is what Debezium's event router makes of an outbox: JSON, a text of JSON, or wrapped |
| confluent | is behind a schema's number, or has that number in a header |

Written as Avro or Protobuf, a value always has the number of its schema, and no wrapping.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, TypeAlias

from core.records import Headers
from importers.frames.numbered import numbered
from importers.frames.places import NOTHING, FieldsOf, NotMapped, json_of
from importers.frames.schemabook import SchemaBook

#: Makes a value plain. Raises NotMapped.
Unframe: TypeAlias = Callable[[bytes, Headers], Any]


class Frame(StrEnum):
    """How a map calls it."""

    JSON = "json"
    CONNECT = "connect"
    DEBEZIUM = "debezium"
    OUTBOX = "outbox"
    CONFLUENT = "confluent"


#: Frames whose values may be Avro or Protobuf.
WITH_SCHEMAS: Final = (Frame.CONFLUENT, Frame.DEBEZIUM, Frame.OUTBOX)


def unframe(frame: Frame, book: SchemaBook | None = None) -> Unframe:
    """How to read the values of this frame; by the schemas of a book, if they are not JSON."""
    if book is None:
        return _UNFRAME[frame]
    if frame is Frame.DEBEZIUM:
        read = book.read
        return lambda value, headers: _change_event(read(value, headers))
    return book.read


def _json(value: bytes, headers: Headers) -> Any:
    return json_of(value, "The value")


def _connect(value: bytes, headers: Headers) -> Any:
    wrapped = json_of(value, "The value")
    if not _is_wrapped(wrapped):
        raise NotMapped(
            "The value has no schema and payload: with schemas.enable=false it has the frame json."
        )
    return wrapped["payload"]


def _debezium(value: bytes, headers: Headers) -> Any:
    return _change_event(_perhaps_wrapped(value, headers))


def _change_event(event: Any) -> Any:
    if not isinstance(event, dict | FieldsOf) or event.get("op", NOTHING) is NOTHING:
        raise NotMapped(
            "The value has no op, so it is no change event: what ExtractNewRecordState leaves of "
            "one has the frame json or connect."
        )
    return event


def _perhaps_wrapped(value: bytes, headers: Headers) -> Any:
    found = json_of(value, "The value")
    return found["payload"] if _is_wrapped(found) else found


def _confluent(value: bytes, headers: Headers) -> Any:
    return json_of(numbered(value, headers).value, "The value behind its schema's number")


def _is_wrapped(found: Any) -> bool:
    return isinstance(found, dict) and found.keys() == {"schema", "payload"}


_UNFRAME: Final[dict[Frame, Unframe]] = {
    Frame.JSON: _json,
    Frame.CONNECT: _connect,
    Frame.DEBEZIUM: _debezium,
    Frame.OUTBOX: _perhaps_wrapped,
    Frame.CONFLUENT: _confluent,
}
