"""How a Kafka record holds a CloudEvent: as a whole in its value, or spread over its headers.

The record itself says which (CloudEvents' Kafka binding), so a topic may hold both:

1. `content-type` begins with `application/cloudevents`: structured. Only the JSON format is
   read. `ce_` headers beside it count for nothing.
2. Else, with a header `ce_specversion`: binary. The attributes are headers `ce_…`, UTF-8, and
   the value is the data, which must be JSON by its `content-type`, or have none.
3. Else structured, whatever else the headers say: many clients send none at all.

Names of headers count as they are spelt, media types in any case and without their parameters.
Of a header that comes twice the last one counts. Other headers are nobody's business.
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from itertools import chain
from typing import Final, TypeAlias

from core.records import Headers

Fields: TypeAlias = Mapping[str, bytes | None]

CONTENT_TYPE: Final = "content-type"
SPECVERSION: Final = "ce_specversion"
STRUCTURED: Final = "application/cloudevents+json"
#: The attributes that the rules read, by header.
ATTRIBUTES: Final = {f"ce_{name}": name for name in ("specversion", "id", "source", "type", "time")}
_JSON = re.compile(r"[^/]+/(?:[^/]+\+)?json")


class Media(Enum):
    """What a content type means here."""

    EVENT = "a CloudEvent as JSON"
    OTHER_EVENT = "a CloudEvent, or several, in a form that is not read"
    JSON = "data as JSON, or of no type that is told"
    OTHER = "data that is not JSON"


@lru_cache(maxsize=1024)
def media_of(content_type: bytes | None) -> Media:
    """Tell what a content type means; absent, it leaves the mode to the other headers."""
    text = (content_type or b"").decode("latin-1").partition(";")[0].strip().lower()
    if text == STRUCTURED:
        return Media.EVENT
    if text.startswith("application/cloudevents"):
        return Media.OTHER_EVENT
    return Media.JSON if not text or _JSON.fullmatch(text) else Media.OTHER


def is_binary(fields: Fields) -> bool:
    """Tell whether a record with these headers holds its event in binary mode."""
    return SPECVERSION in fields and media_of(fields.get(CONTENT_TYPE)) in (Media.JSON, Media.OTHER)


def is_structured(fields: Fields) -> bool:
    """Tell whether a record with these headers holds its event, as JSON, in structured mode."""
    media = media_of(fields.get(CONTENT_TYPE))
    return media is Media.EVENT or (SPECVERSION not in fields and media is not Media.OTHER_EVENT)


def are_structured(headers: Sequence[Headers]) -> bool:
    """Tell whether `is_structured` holds for each of many, where it is easy to see."""
    if not any(headers):
        return True
    if headers[0] and SPECVERSION in {name for name, _ in headers[0]}:
        return False
    pairs = set(chain.from_iterable(headers))
    types = {value for name, value in pairs if name == CONTENT_TYPE}
    return (
        SPECVERSION not in {name for name, _ in pairs}
        and Media.OTHER_EVENT not in map(media_of, types)
    )  # fmt: skip


def attributes(fields: Fields) -> dict[str, str | None]:
    """Read the attributes of an event in binary mode, as its JSON would have them.

    A byte that is not UTF-8 becomes half a character, so that it is refused as one is.
    """
    return {
        name: None if (value := fields[header]) is None else value.decode(errors="surrogateescape")
        for header, name in ATTRIBUTES.items()
        if header in fields
    }
