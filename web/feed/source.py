"""Where a worker has its pages from: ledgers and owners of the active version, where they are."""

from __future__ import annotations

from aiohttp import web

from web.feed.asked import FeedOf, read_asked
from web.feed.owners import RowPages
from web.feed.pages import PageSaid, as_it_was_said
from web.history.passing import Passing
from web.http.parameters import BadRequest
from web.versions.door import Door


class FeedSource:
    """Asks for pages.

    Args:
        past: knows the ledgers of this worker's version.
        rows: of this worker's version.
        door: knows workers of the active one, where that is another.
    """

    def __init__(self, past: Passing, rows: RowPages, door: Door) -> None:
        self._past, self._rows, self._door = past, rows, door

    async def ask(self, target: str, wait_s: float) -> PageSaid:
        """A page for this worker's readers, of whichever version is active when it comes.

        A question may wait for seconds. What the version before says in the end is no verdict of
        the one that is active by then: so that one is asked, from the same position.
        """
        while True:
            version = self.version()
            elsewhere = await self._door.elsewhere(target, wait_s)
            said = await self._ask(target, wait_s) if elsewhere is None else elsewhere
            if self.version() == version:
                return said

    async def _ask(self, target: str, wait_s: float) -> PageSaid:
        if f"of={FeedOf.ROWS}" in target.partition("?")[2].split("&"):
            return await self._rows.ask(target, wait_s)
        return await self._past.ask(target, wait_s)

    def version(self) -> int:
        """Whose verdicts are told now."""
        return self._door.answering

    async def here(self, request: web.Request) -> web.Response:
        """A page for a caller, of this worker's version; the door has chosen it."""
        try:
            asked = read_asked(request)
        except BadRequest as bad:
            return bad.reply()
        if asked.of is FeedOf.ROWS:
            return await self._rows.answer(request, asked)
        return as_it_was_said(await self._past.ask(asked.target(asked.after), asked.wait_s))
