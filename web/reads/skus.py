"""All rows of a SKU, which may be more than fit into one turn of the event loop, or one piece.

The first `SKU_CHUNK` rows are read at once, with their position: for nearly every SKU these
are all, and rows and position belong together exactly. Of more rows the position that was
named is in each, and some may be newer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from aiohttp import web
from msgspec import Struct

from core.stages import Freshness
from domain.lookup import NotReady, TooBusy
from domain.rows import Row
from tables.home.store import StoreError
from tables.stock import StockReading
from web.cluster.admission import Admission
from web.cluster.freshness import freshness_body, freshness_headers
from web.http.large import Large
from web.http.outbox import Outbox, Parcel
from web.http.pacing import Lane, Pacer
from web.http.replies import json_headers, json_reply
from web.reads.replies import encoded_items, etag, none_match, reply, sku_frame

#: Rows read at once: under a millisecond.
SKU_CHUNK = 1000
#: A body above this is sent in pieces.
SKU_WHOLE_BYTES = 256 * 2**10


class SkuRows(Struct, frozen=True):
    """The first rows of a SKU, by location, at most `SKU_CHUNK`."""

    sku: str
    rows: Sequence[tuple[str, Row]]
    freshness: Freshness


class Skus:
    """Answers of one worker with its own rows of a SKU."""

    def __init__(
        self, table: StockReading, admission: Admission, lane: Lane, version: int, outbox: Outbox
    ) -> None:
        self._table, self._admission, self._lane = table, admission, lane
        self._version, self._outbox = version, outbox

    def first(self, sku: str, fresh: Freshness) -> SkuRows:
        """How it begins; the partition may be read, and raises StoreError."""
        return SkuRows(sku, self._table.rows_of(fresh.partition, sku, None, SKU_CHUNK), fresh)

    async def reply(
        self, found: SkuRows, if_none_match: str | None, announce: Callable[[], Awaitable[None]]
    ) -> web.Response | Large:
        """200 with sums and rows, or 304; 503 if the partition leaves, or memory ends, meanwhile.

        The sums of `events` and of `checksum` over the rows tell two states of a SKU apart
        as those of a row do, so they make the ETag.

        Args:
            found: how it begins, at least one row; the rest is read here.
            if_none_match: the request's header, as it came.
            announce: called once where there is more than the beginning.
        """
        parcel, answer = self._outbox.parcel(), None
        try:
            answer = await self._reply(found, if_none_match, announce, parcel)
            return answer
        finally:
            if not isinstance(answer, Large):
                parcel.close()  # of a large one by whoever sends it

    async def _reply(
        self,
        found: SkuRows,
        if_none_match: str | None,
        announce: Callable[[], Awaitable[None]],
        parcel: Parcel,
    ) -> web.Response | Large:
        """The same, with what is made counted in this parcel."""
        total, pieces, some = Row(), list[bytes](), found.rows
        if len(some) == SKU_CHUNK:
            await announce()
        while some:
            async with self._lane.turn() as pacer:
                total = await _sum(total, some, pacer)
                piece = await encoded_items(found.sku, some, pacer)
            if not parcel.grow(len(piece)):
                return reply(_no_room(self._outbox), self._version)
            pieces += [b",", piece]
            if len(some) < SKU_CHUNK:
                break
            await asyncio.sleep(0)  # no pause in the lane alone: nobody else may want it
            async with self._lane.turn():
                more = self._more(found, some[-1][0])
            if isinstance(more, NotReady):
                return reply(more, self._version)
            some = more
        tag = etag(self._version, total)
        fresh = {"ETag": tag, **freshness_headers(freshness_body(found.freshness))}
        if none_match(if_none_match, tag):
            return json_reply(None, 304, fresh)
        start, end = sku_frame(found.sku, total, found.freshness)
        pieces[0] = start  # in the place of the first comma
        pieces.append(end)
        length, headers = sum(map(len, pieces)), json_headers(fresh)
        if length <= SKU_WHOLE_BYTES:
            return web.Response(body=b"".join(pieces), headers=headers)
        return Large(200, headers, length, _one_by_one(pieces, parcel), parcel=parcel)

    def _more(self, found: SkuRows, after: str) -> list[tuple[str, Row]] | NotReady:
        """The next rows, if they hold all that the first ones do."""
        partition = found.freshness.partition
        now = self._table.freshness(partition)
        handled = self._admission.handled
        if now is None or handled(now) < handled(found.freshness):
            return NotReady(f"Partition {partition} left this worker meanwhile.", 1)
        try:
            return self._table.rows_of(partition, found.sku, after, SKU_CHUNK)
        except StoreError:
            return NotReady(f"The disk does not give partition {partition} here.", 1)


def _no_room(outbox: Outbox) -> TooBusy:
    held = outbox.held // 2**20
    return TooBusy(f"{held:,} MiB of large answers wait for those who asked for them.", 1)


async def _one_by_one(pieces: list[bytes], parcel: Parcel) -> AsyncGenerator[bytes]:
    """In order, small ones with their neighbours; what was given is let go."""
    pieces.reverse()
    while pieces:
        piece = pieces.pop()
        while pieces and len(piece) + len(pieces[-1]) <= SKU_WHOLE_BYTES:
            piece += pieces.pop()
        yield piece
        parcel.took(len(piece))


async def _sum(total: Row, rows: Sequence[tuple[str, Row]], pacer: Pacer) -> Row:
    for _, row in rows:
        total = _plus(total, row)
        await pacer.give_way()
    return total


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
        one.damaged + other.damaged,
    )
