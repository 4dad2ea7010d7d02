"""A reader of the feed of rows as docs/feed.md tells one to be, and what it was told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

from core.positions import epoch_in
from dev.workers import until

Json = dict[str, Any]
AGAIN_S = 0.1


class RowReader:
    """Follows one worker's stream, and lists at a reset.

    Attributes:
        rows: by SKU and location, as last told.
        resets: their reasons.
        told: what came, in order: the event and the epoch of what it says.
    """

    def __init__(self, url: str) -> None:
        self._url, self._after = url, "end"
        self.rows: dict[tuple[str, str], Json] = {}
        self.resets: list[str] = []
        self.told: list[tuple[str, int]] = []

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """From now on, for as long as the block lasts."""
        task = asyncio.create_task(self._follow())

        async def begun() -> bool:
            if task.done():
                await task
            return self._after != "end"

        try:
            await until(begun, "told: where the rows are", 60)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()

    def on_hand(self, sku: str, location: str) -> int | None:
        """As last told or listed."""
        row = self.rows.get((sku, location))
        return None if row is None else int(row["on_hand"])

    async def _follow(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                # Who is cut off, or told that nobody answers now, comes back with its place.
                with suppress(aiohttp.ClientError):
                    await self._until_reset(http)
                await asyncio.sleep(AGAIN_S)

    async def _until_reset(self, http: aiohttp.ClientSession) -> None:
        query = {"of": "rows", "after": self._after}
        headers = {"Accept": "application/x-ndjson"}
        async with http.get(f"{self._url}/v1/changes", params=query, headers=headers) as answer:
            if answer.status == 503:
                return
            assert answer.status == 200, await answer.text()
            async for raw in answer.content:
                line = json.loads(raw)
                data = line["data"]
                if line["event"] == "row":
                    self.told.append(("row", epoch_in(data["position"])))
                    self._keep(data)
                elif line["event"] == "position":
                    self._after = line["id"]
                elif line["event"] == "reset":
                    self.told.append(("reset", epoch_in(line["id"])))
                    self.resets.append(data["reason"])
                    break
                else:
                    assert line["event"] == "waiting", line
            else:
                return
        await self._list(http, line["id"])

    async def _list(self, http: aiohttp.ClientSession, position: str) -> None:
        query = {"limit": "1000", "min_position": position, "wait_ms": "10000"}
        status = 503
        while status == 503:
            async with http.get(f"{self._url}/v1/inventory", params=query) as answer:
                status, page = answer.status, await answer.json()
        assert status == 200, page
        assert page["next_cursor"] is None, "too many rows for this reader"
        self._after = position
        self.rows.clear()
        for row in page["items"]:
            self._keep(row)

    def _keep(self, row: Json) -> None:
        self.rows[row["sku"], row["location"]] = row
