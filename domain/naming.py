"""Which fact a record means to be, as far as that can be read, whatever else is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

#: Source and id of an event.
Name = tuple[str, str]
Headers = Sequence[tuple[str, bytes | None]]

_CONTENT_TYPE: Final = "content-type"
_SPECVERSION: Final = "ce_specversion"


class _Named(msgspec.Struct):
    source: str
    id: str


_decode = msgspec.json.Decoder(_Named).decode
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def name_of(value: bytes | None, headers: Headers) -> Name | None:
    """Return source and id of the event in a record; None where it says none.

    In binary mode they are headers, in structured mode they stand in the value (CloudEvents'
    Kafka binding). Nothing else is checked: a refused record has a name too.
    """
    fields = dict(headers)
    content_type = (fields.get(_CONTENT_TYPE) or b"").strip().lower()
    if _SPECVERSION in fields and not content_type.startswith(b"application/cloudevents"):
        source, event_id = fields.get("ce_source"), fields.get("ce_id")
        if source is None or event_id is None:
            return None
        return source.decode(errors="replace"), event_id.decode(errors="replace")
    try:
        named = _decode(value or b"")
    except _UNREADABLE:
        return None
    return named.source, named.id
