"""POST /v1/lookup: many keys in one request, split by owner and asked in parallel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from aiohttp import web

from core.stages import Freshness
from domain.lookup import NotReady
from tables.home.store import StoreError
from tables.stock import StockReading
from web.cluster.admission import Unanswered, unsure
from web.cluster.exchange import PeerFailed
from web.cluster.freshness import FreshnessBody
from web.cluster.routing import LOOKUP_PATIENCE
from web.http.pacing import Pacer
from web.reads.gathering import Gathering, Search
from web.reads.questions import Hop, KeyAsked, KeyPart, LookupQuestion
from web.reads.replies import RowBody, row_body

#: Keys read at once: a third of a millisecond.
KEYS_AT_ONCE = 100


class Key(msgspec.Struct, frozen=True):
    """A key without a row."""

    sku: KeyPart
    location: KeyPart


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


class _LookupThere(msgspec.Struct, frozen=True):
    """As much of it as who asked another worker looks at: its rows are handed on as they came."""

    missing_partitions: list[int]
    items: list[msgspec.Raw]
    unknown: list[Key]
    freshness: FreshnessBody
    positions: str


#: None for a key that a worker knows not to exist.
FoundRows: TypeAlias = dict[KeyAsked, RowBody | msgspec.Raw | None]


async def look_up(gathering: Gathering[StockReading], question: LookupQuestion) -> web.Response:
    """All keys, from every worker that has to do with them."""
    groups: dict[int, list[KeyAsked]] = {}
    partition_of, keys = gathering.table.partition_of, list(dict.fromkeys(question.keys))
    async with gathering.lane.turn() as pacer:
        for first in range(0, len(keys), KEYS_AT_ONCE):
            for key in keys[first : first + KEYS_AT_ONCE]:
                groups.setdefault(partition_of(key.sku), []).append(key)
            await pacer.give_way()
    return await _LookupSearch(gathering, question, groups).answer()


class _LookupSearch(Search[FoundRows]):
    """One lookup being answered. `groups`: the keys, each once, by partition."""

    kind = _LookupThere
    patience = LOOKUP_PATIENCE

    def __init__(
        self,
        gathering: Gathering[StockReading],
        question: LookupQuestion,
        groups: Mapping[int, Sequence[KeyAsked]],
    ) -> None:
        super().__init__(gathering, question.asked, groups, question.partial)
        self._question = question
        self._keys = question.keys
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

    def request(self, hop: Hop, partitions: Sequence[int]) -> bytes:
        return self._question.request(hop, partitions, self._of(partitions))

    def _of(self, partitions: Sequence[int]) -> list[KeyAsked]:
        return [key for partition in partitions for key in self._groups[partition]]

    def there(self, body: _LookupThere | None, partitions: Sequence[int]) -> FoundRows:
        if body is None:
            return {}
        rows: FoundRows = dict.fromkeys(KeyAsked(key.sku, key.location) for key in body.unknown)
        # Rows come in the order of the keys, so whose they are need not be read from them.
        found = [key for key in self._of(partitions) if key not in rows]
        if len(found) != len(body.items):
            raise PeerFailed("It answered for other keys.")
        return rows | dict(zip(found, body.items, strict=True))

    async def body(self, parts: Sequence[FoundRows], common: Mapping[str, Any]) -> LookupBody:
        rows: FoundRows = {}
        for part in parts:
            rows |= part
        items: list[Any] = [row for row in map(rows.get, self._keys) if row is not None]
        others = [key for key in self._keys if rows.get(key) is None]
        return LookupBody(
            items=items,
            unknown=[Key(key.sku, key.location) for key in others if key in rows],
            unanswered=[Key(key.sku, key.location) for key in others if key not in rows],
            **common,
        )
