"""GET /v1/inventory/{sku}: the rows of one SKU and their sums."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web

from domain.lookup import Freshness, NotFound
from domain.stock import Row
from web.pacing import Pacer
from web.problems import SERVER
from web.replies import (
    FreshnessBody,
    RowBody,
    etag,
    freshness_body,
    freshness_headers,
    hex16,
    json_reply,
    none_match,
    reply,
    rfc3339,
    row_body,
)


class SkuRows(msgspec.Struct, frozen=True):
    """All rows of a SKU, by location."""

    sku: str
    rows: Sequence[tuple[str, Row]]
    freshness: Freshness


class SkuBody(msgspec.Struct, frozen=True):
    """Sums over all locations; `updated_at` is the greatest. `items`: the rows."""

    sku: str
    on_hand: int
    received: int
    dispatched: int
    sold: int
    returned: int
    adjusted: int
    events: int
    checksum: str
    updated_at: str
    items: list[RowBody]
    freshness: FreshnessBody


async def sku_reply(
    found: SkuRows, version: int, if_none_match: str | None, pacer: Pacer
) -> web.Response:
    """200 with sums and rows, 304, or 404 for a SKU that no event names.

    The sums of `events` and of `checksum` over the rows tell two states of a SKU apart
    as those of a row do, so they make the ETag.
    """
    if not found.rows:
        return reply(NotFound(found.sku, "any location", found.freshness), version)
    total = Row()
    items = []
    for location, row in found.rows:
        total = _plus(total, row)
        items.append(row_body(found.sku, location, row))
        await pacer.give_way()
    freshness = freshness_body(found.freshness)
    tag = etag(version, total.events, total.checksum)
    headers = {"ETag": tag, "Cache-Control": "no-cache", **SERVER, **freshness_headers(freshness)}
    if none_match(if_none_match, tag):
        return web.Response(status=304, headers=headers)
    body = SkuBody(
        sku=found.sku,
        on_hand=total.on_hand,
        received=total.received,
        dispatched=total.dispatched,
        sold=total.sold,
        returned=total.returned,
        adjusted=total.adjusted,
        events=total.events,
        checksum=hex16(total.checksum),
        updated_at=rfc3339(total.updated_at),
        items=items,
        freshness=freshness,
    )
    response = json_reply(body, freshness)
    response.headers["ETag"] = tag
    return response


def _plus(one: Row, other: Row) -> Row:
    return Row(
        one.received + other.received,
        one.dispatched + other.dispatched,
        one.sold + other.sold,
        one.returned + other.returned,
        one.adjusted + other.adjusted,
        one.events + other.events,
        (one.checksum + other.checksum) % 2**64,
        max(one.updated_at, other.updated_at),
    )
