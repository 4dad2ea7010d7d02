"""Which fact a record means to be, as far as that can be read, whatever else is wrong with it."""

from __future__ import annotations

import msgspec

from core.records import Headers
from domain.modes import attributes, is_binary

#: Source and id of an event.
SourceAndId = tuple[str, str]


class _Named(msgspec.Struct):
    source: str
    id: str


_decode = msgspec.json.Decoder(_Named).decode
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def name_of(value: bytes | None, headers: Headers) -> SourceAndId | None:
    """Return source and id of the event in a record; None where it says none.

    In binary mode they are headers, in structured mode they stand in the value
    (`domain/modes.py`). Nothing else is checked: a refused record has a name too.
    """
    fields = dict(headers)
    if is_binary(fields):
        known = attributes(fields)
        source, event_id = known.get("source"), known.get("id")
        return None if source is None or event_id is None else (source, event_id)
    try:
        named = _decode(value or b"")
    except _UNREADABLE:
        return None
    return named.source, named.id
