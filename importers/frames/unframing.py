"""The frames that a value may come in, and what is inside.

| frame | the value |
|---|---|
| json | is JSON |
| connect | is `{"schema":…,"payload":…}`, as Kafka Connect's JsonConverter writes it |
| debezium | is a change event, `{"before":…,"after":…,"op":…}`, perhaps wrapped so |
| outbox | is what Debezium's event router makes of an outbox: JSON, a text of JSON, or wrapped |
| confluent | is JSON behind a schema's number, or with that number in a header |
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, TypeAlias

from core.records import Headers
from importers.frames.places import NotMapped, json_of

#: Makes a value plain. Raises NotMapped.
Unframe: TypeAlias = Callable[[bytes, Headers], Any]

VALUE_SCHEMA_ID: Final = "__value_schema_id"
#: What follows the first byte of a schema's number: 4 bytes of an id, or 16 of a GUID.
_NUMBER_BYTES: Final = {0: 4, 1: 16}


class Frame(StrEnum):
    """How a map calls it."""

    JSON = "json"
    CONNECT = "connect"
    DEBEZIUM = "debezium"
    OUTBOX = "outbox"
    CONFLUENT = "confluent"


def unframe(frame: Frame) -> Unframe:
    """How to read the values of this frame."""
    return _UNFRAME[frame]


def without_schema_id(value: bytes, headers: Headers) -> tuple[bytes, bytes]:
    """The number of the schema, with its first byte, and the value without it.

    In a header, the value is bare, and may begin with any byte.

    Raises:
        NotMapped: there is no number.
    """
    for name, raw in reversed(headers):
        if name == VALUE_SCHEMA_ID and raw is not None:
            return raw, value
    size = 1 + _NUMBER_BYTES.get(value[0] if value else -1, -1)
    if not 0 < size <= len(value):
        raise NotMapped(
            "The value begins with no schema's number, and no header has one: a plain JSON "
            "value has the frame json."
        )
    return value[:size], value[size:]


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
    event = _perhaps_wrapped(value, headers)
    if not isinstance(event, dict) or "op" not in event:
        raise NotMapped(
            "The value has no op, so it is no change event: what ExtractNewRecordState leaves of "
            "one has the frame json or connect."
        )
    return event


def _perhaps_wrapped(value: bytes, headers: Headers) -> Any:
    found = json_of(value, "The value")
    return found["payload"] if _is_wrapped(found) else found


def _confluent(value: bytes, headers: Headers) -> Any:
    return json_of(without_schema_id(value, headers)[1], "The value behind its schema's number")


def _is_wrapped(found: Any) -> bool:
    return isinstance(found, dict) and found.keys() == {"schema", "payload"}


_UNFRAME: Final[dict[Frame, Unframe]] = {
    Frame.JSON: _json,
    Frame.CONNECT: _connect,
    Frame.DEBEZIUM: _debezium,
    Frame.OUTBOX: _perhaps_wrapped,
    Frame.CONFLUENT: _confluent,
}
