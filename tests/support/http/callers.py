"""Callers of the Python client, each with a row of its own: it knows what must be in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from dev.oracle.stock import sku_in
from dev.workers import until
from onhand_client import AsyncClient, Line, OnhandError, Session

#: Longer than a group takes to find that a worker is dead, and another one to take over.
PATIENCE_S = 60.0


class Caller:
    """Writes one fact, reads its row, and so on, in a session that goes from client to client.

    Nobody else writes to this row: it must hold exactly what this caller has sent so far.
    `wrong` says what was read instead, `failed` what was raised.
    """

    def __init__(self, client: AsyncClient, sku: str) -> None:
        self._client, self.sku = client, sku
        self._session: Session = client.session()
        self.wrote = 0
        self.wrong: list[str] = []
        self.failed: list[OnhandError] = []

    async def go_on(self) -> None:
        """One write, and two reads of it."""
        line: Line = {"source": "caller", "sku": self.sku, "location": "store-1", "quantity": 1}
        try:
            result = await self._session.post_shipments([line])
            self.wrote += 1
            assert result.is_accepted
            row = (await self._session.row(self.sku, "store-1")).row
            cookie = self._session.export()
            self._session = self._client.session(cookie)
            sku = await self._session.sku(self.sku)
        except OnhandError as error:
            self.failed.append(error)
            return
        counted = (-1 if row is None else row.on_hand, sku.on_hand)
        if counted != (self.wrote, self.wrote):
            self.wrong.append(f"{self.sku}: {counted} after {self.wrote} writes")


class Callers:
    """Some of them at once, until they are told to stop."""

    def __init__(self, callers: Sequence[Caller]) -> None:
        self.callers = callers

    async def more(self, writes: int) -> None:
        """Wait until each has gone on so often."""
        wanted = [caller.wrote + len(caller.failed) + writes for caller in self.callers]

        async def went_on() -> bool:
            now = [caller.wrote + len(caller.failed) for caller in self.callers]
            return all(one >= most for one, most in zip(now, wanted, strict=True))

        await until(went_on, f"{writes} writes more of each caller", 2 * PATIENCE_S)

    def assert_served(self) -> None:
        """Nothing failed, and every read was exactly right."""
        assert [repr(error) for caller in self.callers for error in caller.failed] == []
        assert [what for caller in self.callers for what in caller.wrong] == []


@asynccontextmanager
async def calling(urls: Sequence[str], partitions: int) -> AsyncIterator[Callers]:
    """A caller for each partition, through one client; at the end they have been served well."""
    async with AsyncClient(urls, timeout_s=PATIENCE_S, write_timeout_s=PATIENCE_S) as client:
        skus = [sku_in(partition, partitions) for partition in range(partitions)]
        callers = Callers([Caller(client, sku) for sku in skus])
        done = asyncio.Event()

        async def call(caller: Caller) -> None:
            while not done.is_set():
                await caller.go_on()

        tasks = [asyncio.create_task(call(caller)) for caller in callers.callers]
        try:
            yield callers
        finally:
            done.set()
            await asyncio.gather(*tasks)
        callers.assert_served()
