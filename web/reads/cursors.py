"""Where a list goes on: for each partition the last key that was given, in one opaque token.

Usually all partitions are at the same key, and the token holds just that, so that it
stays right when partitions move and workers die. Partitions that could not be asked
(`partial=true`) stay behind at their own key until somebody answers for them.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence

import msgspec

from web.http.bodies import BAD_JSON
from web.http.parameters import BadRequest, wrong
from web.reads.parameters import Filters

#: SKU and location, in the order of their UTF-8 bytes, which is that of Python's strings.
RowKey = tuple[str, str]
#: The last key given; START before the first, None once there is nothing more.
LastGiven = RowKey | None
START: RowKey = ("", "")


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    """Numbers of partitions by place; of the first group they are left out."""

    filters: int
    groups: list[tuple[LastGiven, list[int]]]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Wire).decode


def token_of(filters: Filters, places: Sequence[LastGiven]) -> str | None:
    """The token for these places, by partition; None when all are at their end."""
    groups: dict[LastGiven, list[int]] = {}
    for partition, place in enumerate(places):
        groups.setdefault(place, []).append(partition)
    if groups.keys() == {None}:
        return None
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    wire = _Wire(_mark(filters), [(ordered[0][0], []), *ordered[1:]])
    return base64.urlsafe_b64encode(_encode(wire)).rstrip(b"=").decode()


def places_of(token: str | None, filters: Filters, count: int) -> list[LastGiven]:
    """Places by partition.

    Raises:
        BadRequest: not a token of ours, or of a list with other filters.
    """
    if token is None:
        return [START] * count
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        wire = _decode(raw)
    except (binascii.Error, ValueError, *BAD_JSON) as error:
        raise BadRequest(wrong("cursor", "is not one that this service gave")) from error
    if wire.filters != _mark(filters):
        raise BadRequest(wrong("cursor", "belongs to a list with other filters"))
    numbers = [number for _, group in wire.groups for number in group]
    has_more = any(place is not None for place, _ in wire.groups)
    if not has_more or any(not 0 <= number < count for number in numbers):
        raise BadRequest(wrong("cursor", "is not one that this service gave"))
    places: list[LastGiven] = [wire.groups[0][0]] * count
    for place, group in wire.groups[1:]:
        for number in group:
            places[number] = place
    return places


def _mark(filters: Filters) -> int:
    return zlib.crc32(_encode(filters))
