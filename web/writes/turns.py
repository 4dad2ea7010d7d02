"""Writes wait for their turn in the order in which they came, bounded in bytes and in time.

A fixed number of places, as reads have, would refuse the 129th of 256 tills while the broker
has nothing to do. So a write is refused only when it would be answered too late, or when what
waits already would fill the memory.
"""

from __future__ import annotations

import asyncio
from collections import deque

from msgspec import Struct


class TooLate(Exception):
    """The write had no turn. The text says why; nothing of it was done."""


class TurnLimits(Struct, frozen=True):
    """Bounds on the writes of one worker.

    at_once_bytes: handed to the producer and not yet acknowledged; one write is always taken.
    waiting_bytes: behind them.
    wait_s: the longest wait.
    """

    at_once_bytes: int = 8 * 2**20
    waiting_bytes: int = 64 * 2**20
    wait_s: float = 1.0


class Turns:
    """Who comes first goes first: a large write cannot be overtaken by small ones for ever."""

    def __init__(self, limits: TurnLimits) -> None:
        self._limits = limits
        self._inside = 0
        self._waiting_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def begin_at_once(self, size: int) -> bool:
        """As `begin` where nothing has to be waited for; False: nothing was done."""
        if self._waiting or not self._fits(size):
            return False
        self._inside += size
        return True

    async def begin(self, size: int) -> None:
        """Before a write of so many bytes; `end` behind it, whatever becomes of it.

        Raises:
            TooLate: it waited too long, or too much waits already.
        """
        if not self.begin_at_once(size):
            await self._wait(size)

    def end(self, size: int) -> None:
        """It is done: others may have their turns."""
        self._inside -= size
        self._go_on()

    def _fits(self, size: int) -> bool:
        return self._inside == 0 or self._inside + size <= self._limits.at_once_bytes

    async def _wait(self, size: int) -> None:
        if self._waiting_bytes + size > self._limits.waiting_bytes:
            raise TooLate(f"{len(self._waiting):,} writes wait for their turn already.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._waiting_bytes += size
        try:
            async with asyncio.timeout(self._limits.wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it came in this very moment
                self._inside -= size
            elif (size, turn) in self._waiting:
                self._waiting.remove((size, turn))
                self._waiting_bytes -= size
            self._go_on()
            if isinstance(error, TimeoutError):
                why = f"It had no turn within {self._limits.wait_s:g} s; nothing was appended."
                raise TooLate(why) from error
            raise

    def _go_on(self) -> None:
        """Give turns to those that come first, as many as fit."""
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            self._waiting_bytes -= size
            if not turn.done():
                self._inside += size
                turn.set_result(None)
