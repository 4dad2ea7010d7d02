"""The one mapping of look-ups to HTTP: bodies, `Onhand-*` headers, ETag and 304.

A key read's body and headers are built here in about 5 µs, so nothing on that path goes
through dicts of dicts.
"""

import time
from functools import lru_cache
from typing import Annotated, Any, assert_never

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from domain.lookup import (
    Found,
    Freshness,
    Lookup,
    NotCaughtUp,
    NotFound,
    NotReady,
    Role,
    TooStale,
)
from domain.stock import Row
from web.problems import SERVER, Problem, problem

JSON = "application/json"
_encode = msgspec.json.Encoder().encode


# What the schema says and decoding (of another worker's rows) need not check.
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Hex16 = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9a-f]{16}$"})]


class FreshnessBody(Struct, frozen=True, gc=False):
    """`freshness` in every body: who answers, up to where, how far behind."""

    role: Role
    worker: str
    partition: int
    position: str
    lag_events: int
    as_of: Time


class RowBody(Struct, frozen=True, gc=False):
    """One row as the world sees it; items of lists have no `freshness` of their own."""

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
    freshness: FreshnessBody | UnsetType = UNSET


@lru_cache(maxsize=4096)
def _until_the_second(seconds: int) -> str:
    return "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}.".format(*time.gmtime(seconds)[:6])


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as `2026-11-23T10:00:00.123Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{_until_the_second(seconds)}{rest:03d}Z"


def hex16(checksum: int) -> str:
    """A checksum as its 16 hex digits: JSON's numbers lose bits above 2^53."""
    return f"{checksum:016x}"


def freshness_body(freshness: Freshness) -> FreshnessBody:
    """The `freshness` object."""
    return FreshnessBody(
        freshness.role,
        freshness.worker,
        freshness.partition,
        freshness.position,
        freshness.lag_events,
        rfc3339(freshness.as_of_ms),
    )


def row_body(
    sku: str, location: str, row: Row, freshness: FreshnessBody | UnsetType = UNSET
) -> RowBody:
    """The row object, with `on_hand` derived."""
    return RowBody(
        sku,
        location,
        row.on_hand,
        row.received,
        row.dispatched,
        row.sold,
        row.returned,
        row.adjusted,
        row.events,
        hex16(row.checksum),
        rfc3339(row.updated_at),
        freshness,
    )


def freshness_headers(freshness: FreshnessBody) -> dict[str, str]:
    """The same as headers, so that a 304 and a HEAD say it too."""
    return {
        "Onhand-Role": freshness.role,
        "Onhand-Worker": freshness.worker,
        "Onhand-Position": freshness.position,
        "Onhand-Lag-Events": str(freshness.lag_events),
        "Onhand-As-Of": freshness.as_of,
    }


def json_reply(
    body: Any, freshness: FreshnessBody | None = None, status: int = 200
) -> web.Response:
    """Any JSON answer; `body` is a Struct, dict or list."""
    headers = {"Content-Type": JSON, "Cache-Control": "no-cache", **SERVER}
    if freshness is not None:
        headers.update(freshness_headers(freshness))
    return web.Response(body=_encode(body), status=status, headers=headers)


def etag(version: int, events: int, checksum: int) -> str:
    """`W/"v{N}-{events}-{checksum}"`: the same events under other rules are another answer."""
    return f'W/"v{version}-{events}-{checksum:016x}"'


def none_match(if_none_match: str | None, tag: str) -> bool:
    """Whether the client holds this very answer: weak comparison (RFC 9110, 8.8.3.2)."""
    if not if_none_match:
        return False
    # tag[2:] is the quoted opaque part. Ours has no quotes or commas in it, so finding it
    # between quotes is the same as parsing the list.
    return if_none_match.strip() == "*" or tag[2:] in if_none_match


def row_reply(found: Found, version: int, if_none_match: str | None = None) -> web.Response:
    """200 with the row, or 304 when the client has it already; fresh headers either way."""
    row = found.row
    freshness = freshness_body(found.freshness)
    tag = etag(version, row.events, row.checksum)
    headers = {
        "Content-Type": JSON,
        "Cache-Control": "no-cache",  # may be kept, must be asked for again
        "Server": "onhand",
        "ETag": tag,
        "Onhand-Role": freshness.role,
        "Onhand-Worker": freshness.worker,
        "Onhand-Position": freshness.position,
        "Onhand-Lag-Events": str(freshness.lag_events),
        "Onhand-As-Of": freshness.as_of,
    }
    if if_none_match is not None and none_match(if_none_match, tag):
        del headers["Content-Type"]
        return web.Response(status=304, headers=headers)
    body = _encode(row_body(found.sku, found.location, row, freshness))
    return web.Response(body=body, headers=headers)


def reply(lookup: Lookup, version: int, if_none_match: str | None = None) -> web.Response:
    """Answer one key read. The only place where an outcome becomes a status.

    Args:
        lookup: what the table or another worker's table said.
        version: `ONHAND_VERSION`, for the ETag.
        if_none_match: the request's header, as it came.
    """
    match lookup:
        case Found():
            return row_reply(lookup, version, if_none_match)
        case NotFound(sku, location, freshness):
            body = freshness_body(freshness)
            return problem(
                Problem.UNKNOWN_KEY,
                f"No event names {sku} at {location}.",
                headers=freshness_headers(body),
                freshness=body,
            )
        case NotReady(detail, retry_after_s):
            return problem(Problem.NOT_READY, detail, retry_after_s=retry_after_s)
        case NotCaughtUp(detail, retry_after_s):
            return problem(Problem.NOT_CAUGHT_UP, detail, retry_after_s=retry_after_s)
        case TooStale(detail, retry_after_s):
            return problem(Problem.TOO_STALE, detail, retry_after_s=retry_after_s)
        case _:
            assert_never(lookup)
