"""The rows of one version, partition by partition, as its workers answer with them.

Asked is the owner of each partition, or a worker that somebody named, by public calls that name
the version: for a page, some keys, and from which position on that holds. So a comparison needs
no more rights than any reader. Pages are taken as the rows are stored (`web/reads/stored.py`); a
worker of a build that does not know that form answers in JSON, of which the same is made here.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from app.commands.ask import refusal
from app.upgrades.asking import NotAsked
from core.positions import with_epoch
from core.stages import Role
from domain.rows import Row, encode_row, row_key
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.heartbeats import Claim
from web.cluster.peers import Peers, get, post, waiting
from web.http.bodies import BAD_JSON
from web.reads import cursors
from web.reads.cursors import LastGiven, RowKey
from web.reads.parameters import ROOT, STORED_ROWS, Filters
from web.reads.questions import LOOKUP_PATH, MAX_KEYS, KeyAsked, body_of_lookup

T = TypeVar("T")

PAGE_ROWS = 1000
#: How long a partition may be without anybody who answers for it.
OWNERLESS_S = 60.0
#: How long an owner may wait until it has counted what the other version has.
_CATCH_UP_S = 10.0
_ANSWER_S = 15.0
_AGAIN_S = 0.3
#: Instead of a worker: what one of them tells says nothing of the others' rows.
SEVERAL = "several"
#: Without a token, or with one that may not read.
_NOT_LET_IN = (401, 403)

#: Owners of a version's partitions, asked for anew.
Owners: TypeAlias = Callable[[int], Awaitable[Mapping[int, str]]]


class Doors(NamedTuple):
    """Whom a comparison asks.

    urls: workers of any version, which pass on what is asked of the other; none: the owners, as
    heartbeats tell. token: shown to them. believed: whose certificates are; None: the system's
    authorities'.
    """

    urls: Sequence[str] = ()
    token: str | None = None
    believed: ssl.SSLContext | None = None


class NotCompared(Exception):
    """The rows cannot be compared now; one plain sentence."""


class RowPage(NamedTuple):
    """Rows in order, up to and with the key `reach`; None: there are no more.

    keys, rows: lists of them as stored, in MessagePack; of the same bytes, they are the same.
    position: of which they are, or a later one.
    """

    keys: bytes
    rows: bytes
    reach: LastGiven
    worker: str
    position: str = ""

    @property
    def size(self) -> int:
        """How many rows."""
        return len(_as_list(self.keys))

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and row of each."""
        return zip(_as_list(self.keys), _as_list(self.rows), strict=True)


class FoundKeys(NamedTuple):
    """Some rows, as they were at `position` or later."""

    rows: Mapping[RowKey, Row]
    position: str
    worker: str


class _StoredBody(Struct):
    keys: Raw
    rows: Raw
    next_cursor: str | None


class _Fresh(Struct):
    worker: str
    position: str


class _Item(Struct):
    sku: str
    location: str
    received: int
    dispatched: int
    sold: int
    returned: int
    adjusted: int
    events: int
    checksum: str
    updated_at: datetime
    damaged: int = 0

    @property
    def key(self) -> RowKey:
        return self.sku, self.location

    @property
    def row(self) -> Row:
        """As it is stored."""
        ms = round(self.updated_at.timestamp() * 1000)
        return Row(
            received=self.received,
            dispatched=self.dispatched,
            sold=self.sold,
            returned=self.returned,
            adjusted=self.adjusted,
            events=self.events,
            checksum=int(self.checksum, 16),
            updated_at=ms,
            damaged=self.damaged,
        )


class _Rows(Struct):
    """A page, or what was found of some keys."""

    items: list[_Item]
    missing_partitions: list[int]
    freshness: _Fresh
    next_cursor: str | None = None


_as_stored = msgspec.msgpack.Decoder(_StoredBody).decode
_as_list = msgspec.msgpack.Decoder(list[bytes]).decode
_as_rows = msgspec.json.Decoder(_Rows).decode


def page_holding(
    rows: Iterable[tuple[bytes, bytes]],
    reach: LastGiven = None,
    worker: str = "",
    position: str = "",
) -> RowPage:
    """A page of these keys and rows, as stored."""
    keys, values = list[bytes](), list[bytes]()
    for key, row in rows:
        keys.append(key)
        values.append(row)
    return RowPage(
        msgspec.msgpack.encode(keys), msgspec.msgpack.encode(values), reach, worker, position
    )


class Side:
    """One version.

    Args:
        version: whose rows. rules: number of its rules.
        partitions: how many.
        peers: to ask with.
        owners: finds out who owns them, or who else is to be asked.
        token: shown to them.
    """

    def __init__(
        self,
        version: int,
        rules: int,
        partitions: int,
        peers: Peers,
        owners: Owners,
        token: str | None = None,
    ) -> None:
        self.version, self.rules, self.partitions = version, rules, partitions
        self._peers, self._find = peers, owners
        self._lines = f"Authorization: Bearer {token}\r\n" if token else ""
        self._owners: Mapping[int, str] = {}
        self._finding = asyncio.Lock()

    async def page(self, partition: int, place: RowKey) -> RowPage:
        """The rows behind this key.

        Raises:
            NotCompared: nobody answers for the partition.
            NotAsked: they want another token.
        """
        # The others are at their end: there is nothing to be said of them.
        places: list[LastGiven] = [None] * self.partitions
        places[partition] = place
        cursor = cursors.token_of(Filters(), places) or ""
        page = {"limit": str(PAGE_ROWS), "cursor": cursor, **self._query("")}
        lines = f"Accept: {STORED_ROWS}\r\n{self._lines}"

        def reach(next_cursor: str | None) -> LastGiven:
            if next_cursor is None:
                return None
            return cursors.places_of(next_cursor, Filters(), self.partitions)[partition]

        def read(answer: PeerAnswer) -> RowPage | None:
            if answer.headers.get("Content-Type") == STORED_ROWS:
                stored = _as_stored(answer.body)
                return RowPage(
                    bytes(stored.keys),
                    bytes(stored.rows),
                    reach(stored.next_cursor),
                    answer.headers.get("Onhand-Worker", ""),
                    answer.headers.get("Onhand-Position", ""),
                )
            body = _as_rows(answer.body)
            if partition in body.missing_partitions:
                return None
            rows = ((row_key(*one.key), encode_row(one.row)) for one in body.items)
            fresh = body.freshness
            return page_holding(rows, reach(body.next_cursor), fresh.worker, fresh.position)

        return await self._ask(
            partition, lambda url: get(url, ROOT, page, lines), read, waits=False
        )

    async def look(self, partition: int, keys: Iterable[RowKey], floor: str = "") -> FoundKeys:
        """These rows, at the position `floor` or later; what is not there is left out.

        Raises:
            NotCompared: nobody answers for the partition.
            NotAsked: they want another token.
        """
        wanted, found = [KeyAsked(*key) for key in keys], FoundKeys({}, "", "")
        for first in range(0, len(wanted), MAX_KEYS):
            some = wanted[first : first + MAX_KEYS]
            look = await self._look(partition, some, floor)
            is_one = found.worker in ("", look.worker)
            # The first position binds: what comes later is at it, or beyond.
            found = FoundKeys(
                {**found.rows, **look.rows},
                found.position or look.position,
                look.worker if is_one else SEVERAL,
            )
        return found

    async def _look(self, partition: int, keys: list[KeyAsked], floor: str) -> FoundKeys:
        wanted, query = body_of_lookup(keys), self._query(floor)

        def read(answer: PeerAnswer) -> FoundKeys | None:
            body = _as_rows(answer.body)
            if partition in body.missing_partitions:
                return None
            rows = {one.key: one.row for one in body.items}
            position = with_epoch(body.freshness.position, 0)
            return FoundKeys(rows, position, body.freshness.worker)

        return await self._ask(
            partition,
            lambda url: post(url, LOOKUP_PATH, query, self._lines, wanted),
            read,
            waits=bool(floor),
        )

    def _query(self, floor: str) -> dict[str, str]:
        """Of either call: the rows of this version, at the position `floor` or later."""
        version = {"version": str(self.version), "partial": "true"}
        return version | waiting(floor, _CATCH_UP_S)

    async def _ask(
        self,
        partition: int,
        request: Callable[[str], bytes],
        read: Callable[[PeerAnswer], T | None],
        *,
        waits: bool,
    ) -> T:
        until, why = time.monotonic() + OWNERLESS_S, ""
        while True:
            url = self._owners.get(partition)
            if url is not None:
                try:
                    async with asyncio.timeout(_ANSWER_S):
                        answer = await self._peers.ask(url, request(url), waits=waits)
                    found = read(answer) if answer.status == 200 else None
                    if found is not None:
                        return found
                    why = refusal(answer.status, answer.body) if answer.status != 200 else why
                    if answer.status in _NOT_LET_IN:
                        raise NotAsked(f"{url} lets nobody compare its rows: {why}")
                except (PeerFailed, TimeoutError, *BAD_JSON) as error:
                    why = str(error) or "It has not answered in time."
            if time.monotonic() > until:
                said = f" ({url}: {why.rstrip('.')})" if why else ""
                raise NotCompared(
                    f"No worker of version {self.version} answers for partition {partition}{said}: "
                    "see `onhand upgrade status`."
                )
            await self._look_around(partition, url)

    async def _look_around(self, partition: int, url: str | None) -> None:
        """Find out who owns the partitions now; for all that wait for it, once."""
        async with self._finding:
            if self._owners.get(partition) != url:
                return  # somebody else has just done it
            if self._owners:
                await asyncio.sleep(_AGAIN_S)
            self._owners = await self._find(self.version)


def owners_in(claims: Iterable[tuple[str, Claim]]) -> dict[int, str]:
    """Who owns which partition, of workers' addresses and claims.

    Of several that say so, all but one slept through a rebalance: it is the one furthest on.
    """
    actives = [(claim.handled, claim.partition, url) for url, claim in claims if _owns(claim)]
    return {partition: url for _, partition, url in sorted(actives)}


def _owns(claim: Claim) -> bool:
    return claim.role == Role.ACTIVE
