"""POST /v1/lookup: many keys in one request, split by owner and asked in parallel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from core.stages import Freshness
from domain.lookup import NotReady
from domain.names import fault_of
from tables.home.store import StoreError
from web.cluster.admission import Asked, Unanswered, unsure
from web.cluster.freshness import FreshnessBody
from web.cluster.peers import post
from web.http.bodies import BAD_JSON, BodyLimits, read_json
from web.http.pacing import Pacer
from web.http.parameters import BadRequest, parameters, wrong
from web.reads.gathering import Gathering, Search
from web.reads.parameters import LOOKUP, asked_of
from web.reads.replies import RowBody, row_body

LOOKUP_PATH = "/v1/lookup"
MAX_KEYS = 1000
#: Keys read at once: half a millisecond.
KEYS_AT_ONCE = 100
#: Seconds for a whole lookup, besides what the caller's `wait_ms` allows.
LOOKUP_DEADLINE_S = 2.0


class Key(msgspec.Struct, frozen=True):
    """What is asked for."""

    sku: str
    location: str


class Keys(msgspec.Struct, frozen=True):
    """The request's body."""

    keys: list[Key]


class LookupBody(msgspec.Struct, frozen=True):
    """The answer.

    items: rows, in the order of the keys. unknown: keys that no event names.
    unanswered: keys whose partitions are missing, with `partial=true`.
    positions: of every partition asked, as one token.
    """

    missing_partitions: list[int]
    items: list[RowBody]
    unknown: list[Key]
    unanswered: list[Key]
    freshness: FreshnessBody
    positions: str


#: None for a key that a worker knows not to exist.
FoundRows = dict[Key, RowBody | None]


async def look_up(
    gathering: Gathering, limits: BodyLimits, request: web.Request, query: str
) -> web.Response:
    """All keys, from every worker that has to do with them.

    Raises:
        BadRequest: names every bad parameter and key.
    """
    body = await read_json(request, limits)
    if isinstance(body, web.Response):
        return body
    values = parameters(query, LOOKUP)
    keys = _keys(body)
    groups: dict[int, list[Key]] = {}
    async with gathering.lane.turn() as pacer:
        for key in dict.fromkeys(keys):
            groups.setdefault(gathering.table.partition_of(key.sku), []).append(key)
            await pacer.give_way()
    search = _LookupSearch(gathering, asked_of(values, request.headers), keys, groups)
    return await search.answer(groups, values.get("partial", False))


class _LookupSearch(Search[FoundRows]):
    """One lookup being answered."""

    kind = LookupBody

    def __init__(
        self,
        gathering: Gathering,
        asked: Asked,
        keys: Sequence[Key],
        groups: Mapping[int, Sequence[Key]],
    ) -> None:
        super().__init__(gathering, asked, LOOKUP_DEADLINE_S)
        self._keys = keys
        self._groups = groups

    async def here(
        self, fresh: dict[int, Freshness], refused: dict[int, Unanswered], pacer: Pacer
    ) -> FoundRows:
        rows: FoundRows = {}
        for partition in list(fresh):
            found = await self._read_here(partition, pacer)
            if found is None:
                del fresh[partition]
                refused[partition] = NotReady(f"Partition {partition} left meanwhile.", 1)
            elif None in found.values() and (why := unsure(fresh[partition])) is not None:
                del fresh[partition]
                refused[partition] = why
            else:
                rows |= found
        return rows

    async def _read_here(self, partition: int, pacer: Pacer) -> FoundRows | None:
        """A partition's rows; None if it left, or the disk does not give all of them."""
        table, keys, rows = self.gathering.table, self._groups[partition], FoundRows()
        for first in range(0, len(keys), KEYS_AT_ONCE):
            await pacer.give_way()
            if table.freshness(partition) is None:
                return None
            some = keys[first : first + KEYS_AT_ONCE]
            try:
                found = table.get_many(partition, [(key.sku, key.location) for key in some])
            except StoreError:
                return None
            for key, row in zip(some, found, strict=True):
                rows[key] = None if row is None else row_body(key.sku, key.location, row)
        return rows

    def request(
        self, url: str, partitions: Sequence[int], query: Mapping[str, str], lines: str
    ) -> bytes:
        keys = [key for partition in partitions for key in self._groups[partition]]
        return post(url, LOOKUP_PATH, query, lines, msgspec.json.encode(Keys(keys)))

    def there(self, body: LookupBody | None, partitions: Sequence[int]) -> FoundRows:
        if body is None:
            return {}
        unknown: FoundRows = dict.fromkeys(body.unknown)
        return unknown | {Key(row.sku, row.location): row for row in body.items}

    async def body(self, parts: Sequence[FoundRows], common: Mapping[str, Any]) -> LookupBody:
        rows: FoundRows = {}
        for part in parts:
            rows |= part
        return LookupBody(
            items=[row for key in self._keys if (row := rows.get(key)) is not None],
            unknown=[key for key in self._keys if key in rows and rows[key] is None],
            unanswered=[key for key in self._keys if key not in rows],
            **common,
        )


def _keys(body: bytes) -> list[Key]:
    try:
        keys = msgspec.json.decode(body, type=Keys).keys
    except BAD_JSON as error:
        detail = f'must be {{"keys": [{{"sku": …, "location": …}}, …]}} ({error})'
        raise BadRequest(wrong("body", detail)) from error
    if not 1 <= len(keys) <= MAX_KEYS:
        raise BadRequest(wrong("keys", f"must be 1 to {MAX_KEYS:,}, not {len(keys):,}"))
    faults = [
        wrong(f"keys[{index}].{name}", why)
        for index, key in enumerate(keys)
        for name, text in (("sku", key.sku), ("location", key.location))
        if (why := fault_of(text)) is not None
    ]
    if faults:
        raise BadRequest(*faults)
    return keys
