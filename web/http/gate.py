"""A bound on how many requests of one kind are handled at once; and who of them may go on.

Requests may take their time, and who asks may be shut out before they are answered. So whoever
judges requests leaves word here how to judge one again. It is asked before a body that took its
time is used, and before what took its time to find is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from aiohttp import web

from web.http.problems import Problem, problem
from web.http.replies import Handler

log = logging.getLogger(__name__)

#: Gives the refusal of who would not be let in any more.
JudgeAgain: TypeAlias = Callable[[], web.Response | None]

_AGAIN: ContextVar[JudgeAgain | None] = ContextVar("judge again", default=None)


class Gate:
    """Bounds how many requests of one kind are handled at once.

    `apart` counts those inside that have a bound of their own.
    """

    def __init__(self, limit: int, apart: Callable[[], int] = lambda: 0) -> None:
        self._limit = limit
        self._apart = apart
        self.inside = 0
        self.draining = False

    def enter(self) -> bool:
        """Take a place, if there is one; whoever has one must `leave`."""
        if self.inside - self._apart() >= self._limit:
            return False
        self.inside += 1
        return True

    def leave(self) -> None:
        """Give the place back."""
        self.inside -= 1

    def guarding(self, handler: Handler) -> Handler:
        """The handler behind this gate."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if not self.enter():
                return problem(Problem.TOO_BUSY, f"{self.inside:,} requests are being handled.")
            try:
                response = await handler(request)
            finally:
                self.leave()
            if self.draining:
                response.force_close()  # the client's next request goes elsewhere
            return response

        return handle


async def emptied(gates: Mapping[str, Gate], within_s: float) -> None:
    """Wait until all who are inside were answered; who is not within that time is logged."""
    deadline = asyncio.get_running_loop().time() + within_s
    while any(gate.inside for gate in gates.values()):
        if asyncio.get_running_loop().time() > deadline:
            inside = {kind: gate.inside for kind, gate in gates.items()}
            log.warning("Some requests are still being handled: %s", inside)
            return
        await asyncio.sleep(0.01)


@contextmanager
def judged_again_by(judge: JudgeAgain) -> Iterator[None]:
    """While the request is handled, in the task that does so."""
    before = _AGAIN.set(judge)
    try:
        yield
    finally:
        _AGAIN.reset(before)


def refusal_by_now() -> web.Response | None:
    """Of the request that is handled; None: go on. Costs nothing while nothing changes."""
    judge = _AGAIN.get()
    return None if judge is None else judge()
