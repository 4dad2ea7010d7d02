"""GET /v1/inventory: rows of all partitions, merged, filtered, in pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
from aiohttp import web

from domain.lookup import NotReady
from web import cursors, hops
from web.admission import Asked, Refusal
from web.bounds import worst
from web.cursors import Place
from web.gathering import Body, Gathering, from_peer
from web.merging import Known, Scan, merge
from web.parameters import (
    ROOT,
    BadRequest,
    Filters,
    ListAsked,
    list_parameters,
    partitions_of,
)
from web.peers import PeerAnswer, PeerFailed, get
from web.replies import FreshnessBody, RowBody
from web.roster import Holder
from web.routing import Target

#: Seconds for a whole page, besides what the caller's `wait_ms` allows.
DEADLINE_S = 3.0


class ListBody(Body, frozen=True, kw_only=True):
    """One page. `positions`: of every partition that it was made from, as one token."""

    items: list[RowBody]
    next_cursor: str | None
    freshness: FreshnessBody
    positions: str


class Page(msgspec.Struct, frozen=True):
    """What one worker found: rows in order, and for each partition how far they go."""

    items: list[RowBody]
    places: Mapping[int, Place]
    freshness: FreshnessBody | None
    positions: str
    refused: dict[int, Refusal]


class Lists:
    """Answers one route."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._count = gathering.table.count

    async def get(self, query: str, headers: Mapping[str, str]) -> web.Response:
        """One page, from every worker that has to do with it.

        Raises:
            BadRequest: names every bad parameter.
        """
        asked, listed = list_parameters(query, headers)
        places = cursors.decode(listed.cursor, listed.filters, self._count)
        wanted = partitions_of(headers, self._count)
        search = _Search(self._gathering, asked, listed, places)
        # A partition at its end has nothing to say.
        going_on = [p for p in wanted if places[p] is not None]
        pages, refused = await search.run(going_on)
        for left_out in set(range(self._count)).difference(wanted):
            refused[left_out] = NotReady("It was not asked for.", 1)
        said = [page.freshness for page in pages if page.freshness is not None]
        if not said or (refused and not listed.partial):
            return self._gathering.refuse(refused, asked)
        freshness = worst(said)
        too_stale = self._gathering.too_stale(asked, freshness)
        if too_stale is not None:
            return too_stale
        items = await search.merged(pages)
        body = ListBody(
            items=items,
            next_cursor=cursors.encode(listed.filters, search.places),
            missing_partitions=sorted(refused),
            freshness=freshness,
            positions=",".join(page.positions for page in pages if page.positions),
        )
        return await self._gathering.reply(body, freshness, refused)


class _Search:
    """One page being made. `places` moves on as rows are given."""

    def __init__(
        self, gathering: Gathering, asked: Asked, listed: ListAsked, places: list[Place]
    ) -> None:
        self._gathering = gathering
        self._asked = asked
        self._filters: Filters = listed.filters
        self._limit = listed.limit
        self.places = places
        self._until = gathering.until(DEADLINE_S, asked)

    async def run(self, partitions: Sequence[int]) -> tuple[list[Page], dict[int, Refusal]]:
        """Pages of all workers, and the partitions that none of them could read."""
        return await self._gathering.run(partitions, self._asked, self._until, self._ask)

    async def _ask(self, target: Target, partitions: Sequence[int]) -> Page:
        if target is None:
            return await self._here(partitions)
        return await self._there(target, partitions)

    async def _here(self, partitions: Sequence[int]) -> Page:
        fresh, refused = await self._gathering.admit(partitions, self._asked, self._until)
        async with self._gathering.lane.turn() as pacer:
            scans = [
                Scan(self._gathering.table, p, place, self._filters, pacer)
                for p in fresh
                if (place := self.places[p]) is not None
            ]
            items, reached = await merge(scans, self._limit, pacer)
        return Page(
            items,
            {p: _beyond(self.places[p], reached) for p in fresh},
            self._gathering.worst_of(fresh.values()),
            ",".join(f.position for f in fresh.values() if f.position),
            refused,
        )

    async def _there(self, holder: Holder, partitions: Sequence[int]) -> Page:
        # The other partitions are not asked for: give them any of these places.
        asked_for, some = set(partitions), self.places[partitions[0]]
        places = [place if p in asked_for else some for p, place in enumerate(self.places)]
        cursor = cursors.encode(self._filters, places)
        parameters = {"limit": str(self._limit), "cursor": cursor or "", "partial": "true"}
        parameters |= {
            name: str(value)
            for name, value in msgspec.structs.asdict(self._filters).items()
            if value is not None and value != ""
        }
        answer = await self._gathering.ask(
            holder.url,
            partitions,
            self._asked,
            self._until,
            lambda waiting, lines: get(
                holder.url, hops.target(ROOT, {**parameters, **waiting}), lines
            ),
        )
        return self._read(answer, partitions)

    def _read(self, answer: PeerAnswer, partitions: Sequence[int]) -> Page:
        body, refused = from_peer(answer, ListBody, partitions)
        if body is None:
            return Page([], {}, None, "", refused)
        try:
            reached = cursors.decode(body.next_cursor, self._filters, len(self.places))
        except BadRequest as error:
            raise PeerFailed("Its cursor is of another build.") from error
        at_end = body.next_cursor is None
        places = {p: None if at_end else reached[p] for p in partitions if p not in refused}
        self._gathering.admission.answered_all(body.positions)
        return Page(body.items, places, body.freshness, body.positions, refused)

    async def merged(self, pages: Sequence[Page]) -> list[RowBody]:
        """The rows of all pages as one, no further than all of them reach."""
        if len(pages) == 1:
            self.places = [pages[0].places.get(p, place) for p, place in enumerate(self.places)]
            return pages[0].items
        sources = [Known(page.items, _lowest(page.places.values())) for page in pages]
        async with self._gathering.lane.turn() as pacer:
            items, reached = await merge(sources, self._limit, pacer)
        for page in pages:
            for partition in page.places:
                self.places[partition] = _beyond(self.places[partition], reached)
        return items


def _beyond(place: Place, reached: Place) -> Place:
    """Where a partition goes on after a page that ended at `reached`."""
    if place is None or reached is None:
        return None
    return max(place, reached)


def _lowest(places: Collection[Place]) -> Place:
    return min((place for place in places if place is not None), default=None)
