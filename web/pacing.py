"""Long reads take turns with each other and with everything else on the event loop."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

#: Longest time for which a read keeps the event loop, in seconds.
SLICE_S = 0.0015


class Lane:
    """The long reads of one worker.

    Only one of them moves in each pass of the event loop: a hundred lists at once keep
    key reads and the fold waiting no longer than one does.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    def turn(self) -> Pacer:
        """`async with lane.turn() as pacer:` around work that calls `pacer.give_way()`."""
        return Pacer(self._lock)


class Pacer:
    """One long read in its lane. Await nothing inside but `give_way`."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._has_turn = False
        self._since = 0.0

    async def __aenter__(self) -> Self:
        await self._take_turn()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_turn()

    async def give_way(self) -> None:
        """Call it between short pieces of work; every `SLICE_S` it lets others run."""
        if time.perf_counter() - self._since > SLICE_S:
            # Keep the lane until all else that is ready has run: released now, the next
            # one would move in this same pass of the loop.
            await asyncio.sleep(0)
            self._end_turn()
            await self._take_turn()

    async def _take_turn(self) -> None:
        await self._lock.acquire()
        self._has_turn = True
        self._since = time.perf_counter()

    def _end_turn(self) -> None:
        if self._has_turn:  # not if cancelled between two turns
            self._has_turn = False
            self._lock.release()
