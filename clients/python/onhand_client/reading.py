"""Reads of one key and of one SKU, and what all reads have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from onhand_client import answers
from onhand_client.answers import RowAnswer, SkuAnswer
from onhand_client.asking import Asking
from onhand_client.errors import NotCaughtUp
from onhand_client.partitioning import partition_of
from onhand_client.positions import Positions, covers
from onhand_client.transport import Kind, Reply, Request

#: Waited for the owners before the first call, which can do without.
_LEARN_S = 1.0
#: Between two questions for what is missing, or not as new as what was seen.
ASK_AGAIN_S = 0.25
_JSON = {"Content-Type": "application/json"}

Param = str | int | bool | None


@lru_cache(maxsize=16_384)
def path_of(sku: str, location: str | None) -> str:
    """Of a row, or of a SKU."""
    path = f"/v1/inventory/{quote(sku, safe='')}"
    return path if location is None else f"{path}/{quote(location, safe='')}"


def query_of(params: Mapping[str, Param]) -> str:
    """`a=b&c=true`, without those that are None; empty where none is left."""
    given = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in params.items()
        if value is not None
    }
    return urlencode(given, quote_via=quote)


class Reads:
    """Calls of one key. `_seen` is of a session: no answer may be older than what it saw."""

    _asking: Asking
    _seen: Positions | None
    _timeout_s: float

    def _until(self, timeout_s: float | None) -> float:
        return time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)

    async def _partition(self, sku: str, until: float) -> int | None:
        cluster = self._asking.cluster
        if not cluster.partitions:
            await self._asking.learned(max(0.0, min(_LEARN_S, until - time.monotonic())))
        return partition_of(sku, cluster.partitions) if cluster.partitions else None

    async def _read(
        self,
        path: str,
        query: str,
        kind: Kind,
        until: float,
        *,
        partition: int | None = None,
        partitions: Iterable[int] | None = None,
        body: bytes | None = None,
        any_holder: bool = False,
    ) -> Reply:
        """One read, no older than what the session saw; what it says is seen from then on.

        `partition` is whose owner is asked; `partitions` those that the answer is about.
        """
        seen, floor, held = self._seen, "", ""
        if seen is not None:
            if partition is not None and partitions is None:
                held = floor = seen.floor(partition)
            else:
                floor, held = seen.floor_of_all(partitions), seen.token()
        request = Request(
            "GET" if body is None else "POST",
            path,
            query,
            kind,
            body=body,
            headers=None if body is None else _JSON,
            of_rows=True,
            floor=floor,
            partition=partition,
            any_holder=any_holder,
            waits=seen is not None and seen.awaits(partition),
        )
        while True:
            reply = await self._asking.ask(request, until)
            fresh = reply.body["freshness"]
            position = reply.body.get("positions", fresh["position"])
            if covers(position, held):
                break
            if time.monotonic() + ASK_AGAIN_S >= until:
                detail = f"The answer is at {position}, this session has seen {held}."
                raise NotCaughtUp(503, {"type": "/problems/not-caught-up", "detail": detail})
            await asyncio.sleep(ASK_AGAIN_S)
        if seen is not None:
            seen.answered(position)
        if partition is not None and partition == fresh["partition"] and not any_holder:
            self._compare(partition, fresh, reply.asked)
        return reply

    def _compare(self, partition: int, fresh: Mapping[str, Any], asked: str) -> None:
        """Whether who answers is who was asked as the owner; else the map is no longer true."""
        if fresh["role"] == "active" and fresh["worker"] == asked:
            return
        if fresh["role"] == "active":
            self._asking.cluster.learn_owner(partition, fresh["worker"])
        self._asking.refresh()

    async def row(
        self,
        sku: str,
        location: str,
        *,
        max_lag_events: int | None = None,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> RowAnswer:
        """Stock of a SKU at a location.

        Args:
            sku: as it is written in facts.
            location: the same.
            max_lag_events: at 1 or more, the nearest worker that is no further behind may answer.
                0: only one that is not behind at all.
            version: of the rules, to look at one that is staged.
            timeout_s: for the whole call; None takes the client's.

        Raises:
            InvalidRequest: SKU or location is none.
            NoAnswer, Unavailable: no answer in time.
        """
        reply = await self._of_sku(sku, location, max_lag_events, version, timeout_s)
        row = None if reply.status == 404 else answers.row_in(reply.body)
        return RowAnswer(row, answers.freshness_in(reply.body))

    async def sku(
        self,
        sku: str,
        *,
        max_lag_events: int | None = None,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> SkuAnswer:
        """Totals of a SKU, and its rows at all locations; arguments and errors as of `row`."""
        reply = await self._of_sku(sku, None, max_lag_events, version, timeout_s)
        fresh = answers.freshness_in(reply.body)
        if reply.status == 404:
            return SkuAnswer(None, (), fresh)
        return SkuAnswer(answers.totals_in(reply.body), answers.rows_in(reply.body), fresh)

    async def _of_sku(
        self,
        sku: str,
        location: str | None,
        max_lag_events: int | None,
        version: int | None,
        timeout_s: float | None,
    ) -> Reply:
        until = self._until(timeout_s)
        query = ""
        if max_lag_events is not None or version is not None:
            query = query_of({"max_lag_events": max_lag_events, "version": version})
        return await self._read(
            path_of(sku, location),
            query,
            Kind.KEY if location is not None else Kind.MANY,
            until,
            partition=await self._partition(sku, until),
            any_holder=bool(max_lag_events),
        )
