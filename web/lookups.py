"""POST /v1/lookup: many keys in one request, split by owner and asked in parallel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from domain.lookup import NotReady
from web import hops
from web.admission import Asked, Refusal
from web.bodies import BodyLimits, read_json
from web.bounds import worst
from web.gathering import Body, Gathering, from_peer
from web.pacing import Pacer
from web.parameters import BadRequest, Wrong, id_fault, lookup_parameters, target_of
from web.peers import PeerAnswer, post
from web.replies import FreshnessBody, RowBody, row_body
from web.roster import Holder
from web.routing import Target

PATH = "/v1/lookup"
MAX_KEYS = 1000
#: Keys read at once: half a millisecond.
CHUNK = 100
#: Seconds for a whole lookup, besides what the caller's `wait_ms` allows.
DEADLINE_S = 2.0


class Key(msgspec.Struct, frozen=True):
    """What is asked for."""

    sku: str
    location: str


class Keys(msgspec.Struct, frozen=True):
    """The request's body."""

    keys: list[Key]


class LookupBody(Body, frozen=True, kw_only=True):
    """The answer.

    items: rows, in the order of the keys. unknown: keys that no event names.
    unanswered: keys whose partitions are missing, with `partial=true`.
    positions: of every partition asked, as one token.
    """

    items: list[RowBody]
    unknown: list[Key]
    unanswered: list[Key]
    freshness: FreshnessBody
    positions: str


class Found(msgspec.Struct, frozen=True):
    """What one worker found; None for a key that it knows not to exist."""

    rows: dict[Key, RowBody | None]
    freshness: FreshnessBody | None
    positions: str
    refused: dict[int, Refusal]


class Lookups:
    """Answers one route."""

    def __init__(self, gathering: Gathering, limits: BodyLimits) -> None:
        self._gathering = gathering
        self._limits = limits

    async def post(self, request: web.Request) -> web.Response:
        """All keys, from every worker that has to do with them.

        Raises:
            BadRequest: names every bad parameter and key.
        """
        body = await read_json(request, self._limits)
        if isinstance(body, web.Response):
            return body
        asked, partial = lookup_parameters(target_of(request)[1], request.headers)
        keys = _keys(body)
        search = _Search(self._gathering, asked, await self._by_partition(keys))
        parts, refused = await search.run()
        said = [part.freshness for part in parts if part.freshness is not None]
        if not said or (refused and not partial):
            return self._gathering.refuse(refused, asked)
        freshness = worst(said)
        too_stale = self._gathering.too_stale(asked, freshness)
        if too_stale is not None:
            return too_stale
        rows: dict[Key, RowBody | None] = {}
        for part in parts:
            rows |= part.rows
        answer = LookupBody(
            items=[row for key in keys if (row := rows.get(key)) is not None],
            unknown=[key for key in keys if key in rows and rows[key] is None],
            unanswered=[key for key in keys if key not in rows],
            missing_partitions=sorted(refused),
            freshness=freshness,
            positions=",".join(part.positions for part in parts if part.positions),
        )
        return await self._gathering.reply(answer, freshness, refused)

    async def _by_partition(self, keys: Sequence[Key]) -> dict[int, list[Key]]:
        groups: dict[int, list[Key]] = {}
        async with self._gathering.lane.turn() as pacer:
            for key in dict.fromkeys(keys):
                groups.setdefault(self._gathering.table.partition_of(key.sku), []).append(key)
                await pacer.give_way()
        return groups


class _Search:
    """One lookup being answered."""

    def __init__(
        self, gathering: Gathering, asked: Asked, keys: Mapping[int, Sequence[Key]]
    ) -> None:
        self._gathering = gathering
        self._asked = asked
        self._keys = keys
        self._until = gathering.until(DEADLINE_S, asked)

    async def run(self) -> tuple[list[Found], dict[int, Refusal]]:
        """What all workers found, and the partitions that none of them could read."""
        return await self._gathering.run(self._keys, self._asked, self._until, self._ask)

    async def _ask(self, target: Target, partitions: Sequence[int]) -> Found:
        if target is None:
            return await self._here(partitions)
        return await self._there(target, partitions)

    async def _here(self, partitions: Sequence[int]) -> Found:
        fresh, refused = await self._gathering.admit(partitions, self._asked, self._until)
        rows: dict[Key, RowBody | None] = {}
        async with self._gathering.lane.turn() as pacer:
            for partition in list(fresh):
                if not await self._read_here(partition, rows, pacer):
                    del fresh[partition]
                    refused[partition] = NotReady(f"Partition {partition} left meanwhile.", 1)
        positions = ",".join(f.position for f in fresh.values() if f.position)
        return Found(rows, self._gathering.worst_of(fresh.values()), positions, refused)

    async def _read_here(
        self, partition: int, rows: dict[Key, RowBody | None], pacer: Pacer
    ) -> bool:
        """Add a partition's rows to `rows`; false if the partition left before the end."""
        table, keys = self._gathering.table, self._keys[partition]
        for first in range(0, len(keys), CHUNK):
            await pacer.give_way()
            if table.freshness(partition) is None:
                return False
            some = keys[first : first + CHUNK]
            found = table.get_many(partition, [(key.sku, key.location) for key in some])
            for key, row in zip(some, found, strict=True):
                rows[key] = None if row is None else row_body(key.sku, key.location, row)
        return True

    async def _there(self, holder: Holder, partitions: Sequence[int]) -> Found:
        keys = [key for partition in partitions for key in self._keys[partition]]
        body = msgspec.json.encode(Keys(keys))
        answer = await self._gathering.ask(
            holder.url,
            partitions,
            self._asked,
            self._until,
            lambda waiting, lines: post(
                holder.url, hops.target(PATH, {"partial": "true", **waiting}), lines, body
            ),
        )
        return self._read(answer, partitions)

    def _read(self, answer: PeerAnswer, partitions: Sequence[int]) -> Found:
        body, refused = from_peer(answer, LookupBody, partitions)
        if body is None:
            return Found({}, None, "", refused)
        self._gathering.admission.answered_all(body.positions)
        rows: dict[Key, RowBody | None] = dict.fromkeys(body.unknown)
        rows |= {Key(row.sku, row.location): row for row in body.items}
        return Found(rows, body.freshness, body.positions, refused)


def _keys(body: bytes) -> list[Key]:
    try:
        keys = msgspec.json.decode(body, type=Keys).keys
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        detail = f'must be {{"keys": [{{"sku": …, "location": …}}, …]}} ({error})'
        raise BadRequest([Wrong("body", detail)]) from error
    if not 1 <= len(keys) <= MAX_KEYS:
        raise BadRequest([Wrong("keys", f"must be 1 to {MAX_KEYS:,}, not {len(keys):,}")])
    faults = [
        Wrong(f"keys[{index}].{name}", why)
        for index, key in enumerate(keys)
        for name, text in (("sku", key.sku), ("location", key.location))
        if (why := id_fault(text)) is not None
    ]
    if faults:
        raise BadRequest(faults)
    return keys
