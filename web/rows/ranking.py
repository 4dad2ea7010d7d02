"""The rows of any table with the largest rank: every partition is read, by whoever has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from heapq import nsmallest
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec
from aiohttp import web

from core.stages import Freshness
from domain.lookup import NotReady
from tables.home.store import StoreError
from tables.keys import FIRST_ROW
from tables.reading import Reading
from web.cluster.admission import Asked, Unanswered, unsure
from web.cluster.exchange import PeerFailed
from web.cluster.freshness import FreshnessBody
from web.cluster.peers import get, is_for_another_version
from web.cluster.routing import LIST_PATIENCE
from web.http.conditions import refusal_of
from web.http.pacing import Pacer
from web.http.parameters import BadRequest, number, parameters, target_of
from web.http.problems import Problem, problem
from web.reads.gathering import Gathering, Search
from web.reads.parameters import LOOKUP
from web.reads.questions import Hop, asked_of, hop_lines, hop_query, partitions_of
from web.rows.keys import DEMANDS
from web.rows.routes import TopRoute

DEFAULT_TOP = 10
_TOP = {
    "limit": number(1, 1000, "How many rows."),
    "partial": LOOKUP["partial"],
    **DEMANDS,
}
#: Rows read at once: less than a millisecond.
_CHUNK = 256
#: As `Ranked`, but the row as it is stored.
_Stored: TypeAlias = tuple[int, bytes, bytes]
_PLACE = itemgetter(0, 1)


class Ranked(NamedTuple):
    """A row and its place: the larger rank first, of equal ones the smaller key."""

    minus_rank: int
    key: bytes
    row: Mapping[str, Any]


class TopBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer. `places`: rank and key of each item, for another worker alone."""

    missing_partitions: list[int]
    items: list[Mapping[str, Any]]
    freshness: FreshnessBody
    positions: str
    places: list[tuple[int, bytes]] = []


class TopReads:
    """Answers the `TopRoute`s of one worker."""

    def __init__(self, gathering: Gathering[Reading]) -> None:
        self._gathering = gathering

    def route(self, route: TopRoute) -> web.RouteDef:
        """For the server."""
        return web.get(route.path, partial(self._answer, route))

    async def _answer(self, route: TopRoute, request: web.Request) -> web.StreamResponse:
        count, version = self._gathering.table.count, self._gathering.version
        if is_for_another_version(request.headers, version):
            return problem(Problem.NOT_READY, f"This worker is of version {version}.")
        if (refused := refusal_of(request.headers)) is not None:
            return refused
        try:
            values = parameters(target_of(request)[1], _TOP)
            partitions = partitions_of(request.headers, count)
            asked = asked_of(values, request.headers)
        except BadRequest as bad:
            return bad.reply()
        search = _TopSearch(
            self._gathering,
            route,
            values.get("limit", DEFAULT_TOP),
            asked,
            partitions,
            values.get("partial", False),
        )
        return await search.answer(set(range(count)).difference(partitions))


class _TopSearch(Search[list[Ranked]]):
    """One answer being made."""

    kind = TopBody
    patience = LIST_PATIENCE

    def __init__(
        self,
        gathering: Gathering[Reading],
        route: TopRoute,
        limit: int,
        asked: Asked,
        partitions: Iterable[int],
        partial: bool,
    ) -> None:
        super().__init__(gathering, asked, partitions, partial)
        self._table, self._route, self._limit = gathering.table, route, limit
        self._is_hop = asked.hop

    async def here(
        self, fresh: dict[int, Freshness], refused: dict[int, Unanswered], pacer: Pacer
    ) -> list[Ranked]:
        found: list[_Stored] = []
        for partition in [*fresh]:
            why: Unanswered | None = unsure(fresh[partition])
            if why is None:
                largest = await self._largest(partition, pacer)
                if largest is not None:
                    found = nsmallest(self._limit, [*found, *largest])
                    continue
                why = NotReady(f"Partition {partition} cannot be read here.", 1)
            del fresh[partition]
            refused[partition] = why
        return [Ranked(rank, key, self._route.shown(key, row)) for rank, key, row in found]

    async def _largest(self, partition: int, pacer: Pacer) -> list[_Stored] | None:
        """Of one partition; None where it left, or the disk does not give it."""
        start, found = FIRST_ROW, list[_Stored]()
        while True:
            await pacer.give_way()
            if self._table.freshness(partition) is None:
                return None
            try:
                rows = self._table.between(partition, start, None, _CHUNK, self._ranked)
            except StoreError:
                return None
            found = nsmallest(self._limit, [*found, *rows])
            if len(rows) < _CHUNK:
                return found
            start = rows[-1][1] + b"\x00"

    def _ranked(self, key: bytes, value: bytes) -> _Stored:
        return -self._route.rank(value), key, value

    def request(self, hop: Hop, partitions: Sequence[int]) -> bytes:
        query = {"limit": str(self._limit), **hop_query(hop)}
        return get(hop.url, self._route.path, query, hop_lines(hop, partitions))

    def there(self, body: TopBody | None, partitions: Sequence[int]) -> list[Ranked]:
        if body is None:
            return []
        if len(body.places) != len(body.items):
            raise PeerFailed("Its rows have no places: it is of another build.")
        return [Ranked(*place, row) for place, row in zip(body.places, body.items, strict=True)]

    async def body(self, parts: Sequence[list[Ranked]], common: Mapping[str, Any]) -> TopBody:
        found = nsmallest(self._limit, chain.from_iterable(parts), key=_PLACE)
        places = [(one.minus_rank, one.key) for one in found] if self._is_hop else []
        return TopBody(items=[one.row for one in found], places=places, **common)
