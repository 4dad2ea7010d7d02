"""GET /v1/inventory: rows of all partitions, merged, filtered, in pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from core.stages import Freshness
from domain.lookup import NotReady
from tables.home.store import StoreError
from tables.stock import StockReading
from web.cluster.admission import Unanswered, unsure
from web.cluster.exchange import PeerFailed
from web.cluster.freshness import FreshnessBody
from web.cluster.routing import LIST_PATIENCE
from web.http.pacing import Pacer
from web.http.parameters import BadRequest
from web.reads import cursors
from web.reads.cursors import LastGiven
from web.reads.gathering import Gathering, Search
from web.reads.merging import Scan, Source, merge
from web.reads.questions import Hop, ListQuestion
from web.reads.replies import RowBody


class ListBody(msgspec.Struct, frozen=True):
    """One page. `positions`: of every partition that it was made from, as one token."""

    missing_partitions: list[int]
    items: list[RowBody]
    next_cursor: str | None
    freshness: FreshnessBody
    positions: str


class Share(msgspec.Struct, frozen=True):
    """What one worker found: rows in order, and for each partition how far they go."""

    items: list[RowBody]
    places: Mapping[int, LastGiven]


async def list_rows(gathering: Gathering[StockReading], question: ListQuestion) -> web.Response:
    """One page, from every worker that has to do with it."""
    left_out = set(range(gathering.table.count)).difference(question.partitions)
    return await _ListSearch(gathering, question).answer(left_out)


class _ListSearch(Search[Share]):
    """One page being made. `places` moves on as rows are given."""

    kind = ListBody
    patience = LIST_PATIENCE

    def __init__(self, gathering: Gathering[StockReading], question: ListQuestion) -> None:
        # A partition at its end has nothing to say.
        going_on = [p for p in question.partitions if question.places[p] is not None]
        super().__init__(gathering, question.asked, going_on, question.partial)
        self._question = question
        self._filters, self._limit = question.filters, question.limit
        self._places = list(question.places)

    async def here(
        self, fresh: dict[int, Freshness], refused: dict[int, Unanswered], pacer: Pacer
    ) -> Share:
        for p in [*fresh]:  # a page says of every key between its rows that there is none
            if (why := unsure(fresh[p])) is not None:
                del fresh[p]
                refused[p] = why
        while True:
            scans = {
                p: Scan(self.gathering.table, p, place, self._filters, pacer)
                for p in fresh
                if (place := self._places[p]) is not None
            }
            try:
                items, reached = await merge([*scans.values()], self._limit, pacer)
            except StoreError:
                # Others may have all its rows: the page begins again without any of them.
                for p in [p for p, scan in scans.items() if scan.failed]:
                    del fresh[p]
                    refused[p] = NotReady(f"The disk does not give partition {p} here.", 1)
            else:
                return Share(items, {p: _beyond(self._places[p], reached) for p in fresh})

    def request(self, hop: Hop, partitions: Sequence[int]) -> bytes:
        return self._question.request(hop, partitions)

    def there(self, body: ListBody | None, partitions: Sequence[int]) -> Share:
        if body is None:
            return Share([], {})
        if body.next_cursor is None:
            return Share(body.items, dict.fromkeys(partitions))
        try:
            reached = cursors.places_of(body.next_cursor, self._filters, len(self._places))
        except BadRequest as error:
            raise PeerFailed("Its cursor is of another build.") from error
        return Share(body.items, {p: reached[p] for p in partitions})

    async def body(self, parts: Sequence[Share], common: Mapping[str, Any]) -> ListBody:
        items = await self._merged(parts)
        cursor = cursors.token_of(self._filters, self._places)
        return ListBody(items=items, next_cursor=cursor, **common)

    async def _merged(self, pages: Sequence[Share]) -> list[RowBody]:
        """The rows of all pages as one, no further than all of them reach."""
        if len(pages) == 1:
            self._places = [pages[0].places.get(p, place) for p, place in enumerate(self._places)]
            return pages[0].items
        sources = [Source(page.items, _lowest(page.places.values())) for page in pages]
        async with self.gathering.lane.turn() as pacer:
            items, reached = await merge(sources, self._limit, pacer)
        for page in pages:
            for partition in page.places:
                self._places[partition] = _beyond(self._places[partition], reached)
        return items


def _beyond(place: LastGiven, reached: LastGiven) -> LastGiven:
    """Where a partition goes on after a page that ended at `reached`."""
    return None if place is None or reached is None else max(place, reached)


def _lowest(places: Collection[LastGiven]) -> LastGiven:
    return min((place for place in places if place is not None), default=None)
