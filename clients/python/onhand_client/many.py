"""Reads of many rows: lookups, split by owner and joined, and lists, page by page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from onhand_client import answers
from onhand_client.answers import Key, LookupAnswer, Page, Row
from onhand_client.errors import NoAnswer, PartitionsUnavailable, Unavailable
from onhand_client.partitioning import partition_of
from onhand_client.reading import Param, Reads, query_of
from onhand_client.transport import Kind

#: Keys in one request, and rows on a page.
MOST = 1000
#: Requests of one lookup that are on the way at once.
_AT_ONCE = 8


class ManyReads(Reads):
    """Calls of many rows."""

    async def lookup(
        self,
        keys: Iterable[Key],
        *,
        partial: bool = False,
        max_lag_events: int | None = None,
        timeout_s: float | None = None,
    ) -> LookupAnswer:
        """Rows of many keys, each worker asked for its own, 1,000 keys in a request.

        Args:
            keys: SKUs and locations, any number; each counts once.
            partial: take what there is, and name the rest in `unanswered`.
            max_lag_events: as of `row`.
            timeout_s: for all requests together.

        Raises:
            NoAnswer, Unavailable: keys cannot be answered for, without `partial`.
        """
        wanted = list(dict.fromkeys(keys))
        until = self._until(timeout_s)
        gate = asyncio.Semaphore(_AT_ONCE)
        query = query_of({"partial": partial or None, "max_lag_events": max_lag_events})

        async def look(partitions: list[int], some: list[Key]) -> Mapping[str, Any] | None:
            body = {"keys": [{"sku": sku, "location": location} for sku, location in some]}
            async with gate:
                try:
                    reply = await self._read(
                        "/v1/lookup",
                        query,
                        Kind.MANY,
                        until,
                        partition=partitions[0] if partitions else None,
                        partitions=partitions or None,
                        body=json.dumps(body).encode(),
                        any_holder=bool(max_lag_events),
                    )
                except (NoAnswer, Unavailable):
                    if partial:
                        return None
                    raise
                return dict(reply.body)

        batches = await self._batches(wanted, until)
        tasks = [asyncio.create_task(look(*batch)) for batch in batches]
        try:
            bodies = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return _joined(wanted, bodies)

    async def _batches(
        self, keys: Sequence[Key], until: float
    ) -> list[tuple[list[int], list[Key]]]:
        """Keys by owner, at most 1,000 in each; with the partitions that they are of."""
        by_owner: dict[str | None, tuple[set[int], list[Key]]] = {}
        full: list[tuple[list[int], list[Key]]] = []
        await self._partition("", until)  # waits for the cluster once, and not for each key
        count = self._asking.cluster.partitions
        for key in keys:
            partition = partition_of(key[0], count) if count else None
            owner = None if partition is None else self._asking.cluster.owner(partition)
            partitions, some = by_owner.setdefault(owner, (set(), []))
            if partition is not None:
                partitions.add(partition)
            some.append(key)
            if len(some) == MOST:
                full.append((sorted(partitions), some))
                del by_owner[owner]
        return full + [(sorted(partitions), some) for partitions, some in by_owner.values()]

    async def pages(
        self,
        *,
        location: str | None = None,
        sku_prefix: str | None = None,
        on_hand_below: int | None = None,
        on_hand_above: int | None = None,
        limit: int = MOST,
        cursor: str | None = None,
        partial: bool = False,
        max_lag_events: int | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Page]:
        """Rows in the order of SKU and location, in pages; `sku_prefix` is the cheap filter.

        Args:
            location: only rows there.
            sku_prefix: only SKUs that begin so.
            on_hand_below: only rows with less.
            on_hand_above: only rows with more.
            limit: rows on a page, 1 to 1,000; a page may hold fewer and not be the last.
            cursor: `next_cursor` of an earlier page, with the same filters.
            partial: pages may lack partitions, and name them. At the end these are waited for; if
                nobody answers for them in time, the last page has a cursor.
            max_lag_events: as of `row`.
            timeout_s: for each page.
        """
        filters: dict[str, Param] = {
            "location": location,
            "sku_prefix": sku_prefix,
            "on_hand_below": on_hand_below,
            "on_hand_above": on_hand_above,
            "limit": limit,
            "partial": partial or None,
            "max_lag_events": max_lag_events,
        }
        is_first = True
        while True:
            until = self._until(timeout_s)
            await self._partition("", until)
            query = query_of({**filters, "cursor": cursor})
            try:
                body = (await self._read("/v1/inventory", query, Kind.PAGE, until)).body
            except PartitionsUnavailable:
                # Only what was missing before is left, and it stays so.
                if partial and not is_first:
                    return
                raise
            is_first = False
            page = Page(
                answers.rows_in(body),
                body["next_cursor"],
                body["missing_partitions"],
                answers.freshness_in(body),
                body["positions"],
            )
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    async def rows(
        self,
        *,
        location: str | None = None,
        sku_prefix: str | None = None,
        on_hand_below: int | None = None,
        on_hand_above: int | None = None,
        max_lag_events: int | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Row]:
        """Every row that fits, page after page; arguments as of `pages`. Whole, or an error."""
        async for page in self.pages(
            location=location,
            sku_prefix=sku_prefix,
            on_hand_below=on_hand_below,
            on_hand_above=on_hand_above,
            max_lag_events=max_lag_events,
            timeout_s=timeout_s,
        ):
            for row in page.rows:
                yield row


def _joined(keys: Sequence[Key], bodies: Sequence[Mapping[str, Any] | None]) -> LookupAnswer:
    """One answer of all, in the order of the keys."""
    rows: dict[Key, Row] = {}
    unknown: set[Key] = set()
    worst = None
    for body in bodies:
        if body is None:
            continue
        rows.update((row.key, row) for row in answers.rows_in(body))
        unknown.update(answers.keys_in(body["unknown"]))
        fresh = answers.freshness_in(body)
        if worst is None or fresh.lag_events > worst.lag_events:
            worst = fresh
    return LookupAnswer(
        {key: rows[key] for key in keys if key in rows},
        [key for key in keys if key in unknown],
        [key for key in keys if key not in rows and key not in unknown],
        worst,
    )
