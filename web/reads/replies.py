"""The one mapping of look-ups to HTTP: bodies, `Onhand-*` headers, ETag and 304."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from core.stages import Freshness
from domain.lookup import Found, Lookup, NotFound
from domain.rows import Row
from web.cluster.answers import unanswered_reply
from web.cluster.freshness import FreshnessBody, freshness_body, freshness_headers
from web.http.pacing import Pacer
from web.http.problems import Problem, problem
from web.http.replies import json_reply
from web.http.times import Time, rfc3339

_encode = msgspec.json.Encoder().encode

#: Of the version, the number of events, and their checksum.
ETAG = 'W/"v%d-%d-%016x"'

# What the schema says and decoding (of another worker's rows) need not check.
Hex16 = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9a-f]{16}$"})]


class RowBody(Struct, frozen=True, gc=False):
    """One row as the world sees it; items of lists have no `freshness` of their own.

    damaged: returned, and not back in stock; left out where there is none, as always by rules 2.
    """

    sku: str
    location: str
    on_hand: int
    received: int
    dispatched: int
    sold: int
    returned: int
    adjusted: int
    events: int
    checksum: Hex16
    updated_at: Time
    damaged: int | UnsetType = UNSET
    freshness: FreshnessBody | UnsetType = UNSET


class SkuBody(Struct, frozen=True):
    """Sums over all locations; `updated_at` is the greatest. `items`: the rows."""

    sku: str
    on_hand: int
    received: int
    dispatched: int
    sold: int
    returned: int
    adjusted: int
    events: int
    checksum: Hex16
    updated_at: Time
    items: list[RowBody]
    freshness: FreshnessBody
    damaged: int | UnsetType = UNSET


def row_body(
    sku: str, location: str, row: Row, freshness: FreshnessBody | UnsetType = UNSET
) -> RowBody:
    """The row object, with `on_hand` derived."""
    return RowBody(sku, location, *told_numbers(row), row.damaged or UNSET, freshness)


def told_numbers(row: Row) -> tuple[int, int, int, int, int, int, int, str, str]:
    """As every body of a row begins, behind its names."""
    return (
        row.on_hand,
        row.received,
        row.dispatched,
        row.sold,
        row.returned,
        row.adjusted,
        row.events,
        f"{row.checksum:016x}",  # JSON's numbers lose bits above 2^53
        rfc3339(row.updated_at),
    )


def etag(version: int, row: Row) -> str:
    """`W/"v{N}-{events}-{checksum}"`: the same events under other rules are another answer."""
    return ETAG % (version, row.events, row.checksum)


def none_match(if_none_match: str | None, tag: str) -> bool:
    """Whether the client holds this very answer: weak comparison (RFC 9110, 8.8.3.2)."""
    if not if_none_match:
        return False
    # tag[2:] is the quoted opaque part. Ours has no quotes or commas in it, so finding it
    # between quotes is the same as parsing the list.
    return if_none_match.strip() == "*" or tag[2:] in if_none_match


def reply(lookup: Lookup, version: int, if_none_match: str | None = None) -> web.Response:
    """Answer one key read. The only place where an outcome becomes a status.

    Args:
        lookup: what the table or another worker's table said.
        version: `ONHAND_VERSION`, for the ETag.
        if_none_match: the request's header, as it came.
    """
    match lookup:
        case Found(sku, location, row, fresh):
            freshness, tag = freshness_body(fresh), etag(version, row)
            status = 304 if none_match(if_none_match, tag) else 200
            headers = {"ETag": tag, **freshness_headers(freshness)}
            return json_reply(row_body(sku, location, row, freshness), status, headers)
        case NotFound(sku, location, fresh):
            freshness = freshness_body(fresh)
            return problem(
                Problem.UNKNOWN_KEY,
                f"No event names {sku} at {location}.",
                headers=freshness_headers(freshness),
                freshness=freshness,
            )
        case _:
            return unanswered_reply(lookup)


async def encoded_items(sku: str, rows: Sequence[tuple[str, Row]], pacer: Pacer) -> bytes:
    """Rows as they stand in `items`, without the brackets."""
    items = []
    for location, row in rows:
        items.append(row_body(sku, location, row))
        await pacer.give_way()
    return _encode(items)[1:-1]


def sku_frame(sku: str, total: Row, fresh: Freshness) -> tuple[bytes, bytes]:
    """What stands before and after the items of a SKU."""
    damaged = total.damaged or UNSET
    whole = _encode(SkuBody(sku, *told_numbers(total), [], freshness_body(fresh), damaged))
    # In a text a quote is escaped, so this is not in one.
    start, items, end = whole.partition(b',"items":[')
    return start + items, end
