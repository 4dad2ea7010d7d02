"""A bound on how many requests of one kind are handled at once."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from web.http.problems import Problem, problem
from web.http.replies import Handler


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
