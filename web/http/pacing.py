"""Long reads take turns with each other and with everything else on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: Longest time for which a read keeps the event loop, in seconds.
SLICE_S = 0.0015


class Lane:
    """The long reads of one worker.

    Only one of them moves in each pass of the event loop: a hundred lists at once keep
    key reads and the fold waiting no longer than one does.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Pacer]:
        """`async with lane.turn() as pacer:` around work that calls `pacer.give_way()`."""
        pacer = Pacer(self._lock)
        await pacer.take_turn()
        try:
            yield pacer
        finally:
            pacer.end_turn()


class Pacer:
    """One long read in its lane. Await nothing inside but `give_way`."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._has_turn = False
        self._since = 0.0

    async def give_way(self) -> None:
        """Call it between short pieces of work; every `SLICE_S` it lets others run."""
        if time.perf_counter() - self._since > SLICE_S:
            # Keep the lane until all else that is ready has run: released now, the next
            # one would move in this same pass of the loop.
            await asyncio.sleep(0)
            self.end_turn()
            await self.take_turn()

    async def take_turn(self) -> None:
        """Wait until no other read is moving."""
        await self._lock.acquire()
        self._has_turn = True
        self._since = time.perf_counter()

    def end_turn(self) -> None:
        """Let the next one move."""
        if self._has_turn:  # not if cancelled between two turns
            self._has_turn = False
            self._lock.release()
