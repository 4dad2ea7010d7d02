"""Rows of one partition as they are stored, a page at a time: for `onhand upgrade diff`.

The same question as a page of a list, by who accepts this media type. It is one of few: of one
partition, without filters; whatever else is asked, and whoever is asked of an older build, is
answered in JSON. Rows of the same bytes are the same, so none is decoded, neither here nor there:
a row costs a seventh of what it costs in JSON.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web

from core.stages import Freshness
from domain.rows import row_key, split_key
from tables.keys import FIRST_ROW
from tables.stock import StockReading
from web.cluster.admission import Unanswered, unsure
from web.cluster.asking import Asking
from web.cluster.exchange import FromPeer
from web.cluster.freshness import freshness_body, freshness_headers
from web.cluster.routing import Router
from web.http.pacing import Lane
from web.http.replies import PRIVATE, SERVER
from web.reads import cursors
from web.reads.cursors import START, LastGiven, RowKey
from web.reads.parameters import STORED_ROWS, Filters
from web.reads.questions import Hop, ListQuestion

#: Rows read at once: a third of a millisecond.
CHUNK = 500

_encode = msgspec.msgpack.Encoder().encode


class StoredBody(msgspec.Struct, frozen=True):
    """One page, in MessagePack. keys, rows: as stored, in order, as many of one as of the other."""

    keys: Sequence[bytes]
    rows: Sequence[bytes]
    next_cursor: str | None


class StoredPage(msgspec.Struct, frozen=True):
    """What this worker has. reach: all rows up to this key are in it; None: there are no more."""

    keys: list[bytes]
    rows: list[bytes]
    reach: LastGiven
    freshness: Freshness


class StoredRows:
    """Answers of one worker."""

    def __init__(self, table: StockReading, router: Router, lane: Lane, version: int) -> None:
        self._table, self._router, self._lane = table, router, lane
        self._version = version

    async def answer(
        self, question: ListQuestion, partition: int, place: RowKey
    ) -> web.Response | FromPeer | Unanswered:
        """A page of the rows of a partition behind this key, from whoever has them.

        Another worker's may be in JSON, if it is of another build.
        """

        async def here(fresh: Freshness) -> StoredPage | Unanswered:
            return unsure(fresh) or await self._page(question.limit, place, fresh)

        def there(url: str, floor: str, wait_s: float) -> bytes:
            hop = Hop(url, self._version, self._table.label[1], floor, wait_s)
            return question.request(hop, [partition])

        asking: Asking[StoredPage] = Asking(self._router, partition, question.asked, here, there)
        answer = await asking.answer()
        return await self._reply(question, answer) if isinstance(answer, StoredPage) else answer

    async def _page(self, limit: int, place: RowKey, fresh: Freshness) -> StoredPage:
        """From this worker's store; raises StoreError."""
        partition, reach = fresh.partition, place
        keys, rows = list[bytes](), list[bytes]()
        start = FIRST_ROW if place == START else row_key(*place) + b"\x00"
        async with self._lane.turn() as pacer:
            # Where the partition leaves meanwhile the page ends, and the next one asks whoever
            # has it then.
            while (left := limit - len(keys)) and self._table.freshness(partition) is not None:
                wanted = min(left, CHUNK)
                found = self._table.between(partition, start, None, wanted, _as_it_is)
                for key, row in found:
                    keys.append(key)
                    rows.append(row)
                if len(found) < wanted:
                    return StoredPage(keys, rows, None, fresh)
                start = keys[-1] + b"\x00"
                await pacer.give_way()
        if keys:
            reach = split_key(keys[-1])
        return StoredPage(keys, rows, reach, fresh)

    async def _reply(self, question: ListQuestion, page: StoredPage) -> web.Response:
        places = list[LastGiven]([None]) * self._table.count
        places[page.freshness.partition] = page.reach
        cursor = cursors.token_of(question.filters, places)
        headers = freshness_headers(freshness_body(page.freshness))
        headers |= {"Content-Type": STORED_ROWS, **PRIVATE, **SERVER}
        async with self._lane.turn():
            body = _encode(StoredBody(page.keys, page.rows, cursor))
        return web.Response(body=body, headers=headers)


def wanted_as_stored(question: ListQuestion) -> tuple[int, RowKey] | None:
    """Of which partition, and from where on, rows are wanted as they are stored, if any are."""
    if not question.stored or question.filters != Filters():
        return None
    places = ((p, question.places[p]) for p in question.partitions)
    match [(p, place) for p, place in places if place is not None]:
        case [one]:
            return one
        case _:
            return None


def _as_it_is(key: bytes, row: bytes) -> tuple[bytes, bytes]:
    return key, row
