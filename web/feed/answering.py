"""The ledger's own answer to `/v1/changes`: one page, at once or when there is one.

Nothing is kept of a reader between two pages: where it is, its token says. So any ledger of the
version can give the next page, and one that is killed takes nothing with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from aiohttp import web
from msgspec import Raw, Struct

from core.positions import log_in
from domain.fates import Ending
from ledger.engine import LedgerUnavailable
from ledger.history import Entry, History, Ledger
from ledger.questions.changes import (
    ChangesFound,
    ChangesWish,
    FeedMark,
    OtherLogsToken,
    check_log,
    read_changes,
    total_of,
)
from ledger.questions.prefixes import BeforeHistory, NotThatFar, time_text
from ledger.upkeep.building import Building
from tables.tasks import Tasks
from web.feed.asked import (
    BEGIN,
    CHANGES_PATH,
    END,
    KIND_OF_TYPE,
    PAGE_LINES,
    ChangeBody,
    Event,
    FeedAsked,
    FeedOf,
    ToldFactBody,
    offsets_in,
    read_asked,
)
from web.history.telling import entry_body
from web.http.parameters import BadRequest, wrong
from web.http.problems import Problem, problem
from web.http.replies import PRIVATE, json_reply

T = TypeVar("T")

#: Pages that are with the database at once; the others wait.
_AT_ONCE: Final = 2
#: Bytes of a page, unless its first line alone has more.
_PAGE_BYTES: Final = 256 * 2**10
#: How often SQL is asked whether another ledger has news, while somebody waits for it.
_LOOK_S: Final = 0.05
_OTHER_LOG: Final = (
    "is of another log than the one that is here: it was cut or made anew. Read it from its "
    "beginning, without this position"
)
_NO_ROWS = "must be facts: this is a ledger, and workers tell rows"
_encode = msgspec.json.Encoder().encode


class _RawPage(Struct):
    """As `web.feed.asked.ChangesBody`, its lines written."""

    changes: list[Raw]
    after: str
    at_end: bool


class _Looked(NamedTuple):
    """page: to be told. starts, total: to look further."""

    page: _RawPage
    starts: dict[tuple[int, int], int]
    total: int


class ChangesAnswers:
    """The route of the feed at a ledger.

    Args:
        history: the way to SQL.
        topics: full names in the order of `ledger.lines.TOPICS`.
        partitions: of each.
    """

    def __init__(self, history: History, topics: Sequence[str], partitions: int) -> None:
        self._history, self._topics, self._partitions = history, list(topics), partitions
        self._threads = ThreadPoolExecutor(_AT_ONCE, "feed")
        self._news = _News(lambda: self._in_thread(total_of))

    def routes(self) -> Iterator[web.RouteDef]:
        """Of this module."""
        yield web.get(CHANGES_PATH, self.answer)

    def look(self) -> None:
        """There may be news: whoever waits for it need not wait until SQL is asked again."""
        self._news.stir()

    def end(self) -> None:
        """Nobody waits any longer: this ledger stops."""
        self._news.end()

    def close(self) -> None:
        """After the last page."""
        self._threads.shutdown(wait=False)

    async def answer(self, request: web.Request) -> web.Response:
        """A page, whatever form is asked for: streams are made by workers, out of pages."""
        try:
            asked = read_asked(request)
            if asked.of is FeedOf.ROWS:
                return BadRequest(wrong("of", _NO_ROWS)).reply()
            return await self._page(asked)
        except BadRequest as bad:
            return bad.reply()
        except OtherLogsToken:
            return BadRequest(wrong("after", _OTHER_LOG)).reply()
        except NotThatFar as behind:
            return problem(Problem.NOT_CAUGHT_UP, str(behind))
        except BeforeHistory as before:
            detail = f"{before} Begin with after={BEGIN}, or with a ledger that has it all."
            return problem(Problem.BEFORE_HISTORY, detail, begins=time_text(before.begins))
        except (Building, LedgerUnavailable) as error:
            return problem(Problem.NOT_READY, str(error))

    async def _page(self, asked: FeedAsked) -> web.Response:
        loop = asyncio.get_running_loop()
        until = loop.time() + asked.wait_s
        starts = await self._in_thread(self._starts, asked.after)
        while True:
            looked, total = None, self._news.known
            try:
                looked = await self._in_thread(self._look, asked, starts)
            except NotThatFar:
                # Who lists rows first has their position, and may be ahead of the ledger.
                if loop.time() >= until or self._news.is_over:
                    raise
            else:
                total = looked.total
                starts = looked.starts
                is_wanted = looked.page.changes or asked.after in (BEGIN, END)
                if is_wanted or loop.time() >= until or self._news.is_over:
                    return json_reply(looked.page, headers=PRIVATE)
                if not looked.page.at_end:
                    continue  # all was left out, and more is there
            await self._news.beyond(total, until - loop.time())

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        def look() -> T:
            with self._history.look() as ledger:
                return work(ledger, *args)

        return await asyncio.get_running_loop().run_in_executor(self._threads, look)

    # ---- in a thread

    def _starts(self, ledger: Ledger, after: str) -> dict[tuple[int, int], int]:
        if after in (BEGIN, END):
            extents = ledger.places(None).items()
            if after == END:
                return {place: extent.reach.next_offset for place, extent in extents}
            return {place: extent.history_from for place, extent in extents}
        try:
            offsets = offsets_in(after, self._topics, self._partitions)
        except ValueError as error:
            raise BadRequest(wrong("after", str(error))) from error
        check_log(ledger, offsets, log_in(after))
        return {place: offset + 1 for place, offset in offsets.items()}

    def _look(
        self, ledger: Ledger, asked: FeedAsked, starts: dict[tuple[int, int], int]
    ) -> _Looked:
        values = asked.values
        wish = ChangesWish(
            starts,
            values.get("sku_prefix", ""),
            values.get("location"),
            KIND_OF_TYPE.get(values.get("type", "")),
            values.get("limit", PAGE_LINES),
        )
        found, lines = _written(ledger, read_changes(ledger, wish), starts)
        page = _RawPage(lines, FeedMark(ledger, found.ends).text, found.is_all)
        return _Looked(page, found.ends, found.total)


def _written(
    ledger: Ledger, found: ChangesFound, starts: dict[tuple[int, int], int]
) -> tuple[ChangesFound, list[Raw]]:
    """Lines as they are told, and what they are of: as much as a page may hold."""
    mark, lines, size = FeedMark(ledger, starts), list[Raw](), 0
    for number, entry in enumerate(found.entries):
        mark.moved((entry.topic, entry.part), entry.offset)
        data = told_fact(entry, ledger.topics)
        line = _encode(ChangeBody(mark.text, Event.FACT, data))
        size += len(line)
        if lines and size > _PAGE_BYTES:
            found = found.without(found.entries[number:])
            break
        lines.append(Raw(line))
    if lines:
        # Whoever has the last of them has also all behind it that was left out.
        last = told_fact(found.entries[len(lines) - 1], ledger.topics)
        lines[-1] = Raw(_encode(ChangeBody(FeedMark(ledger, found.ends).text, Event.FACT, last)))
    return found, lines


def told_fact(entry: Entry, topics: Mapping[int, str]) -> ToldFactBody:
    """A line of the ledger, for readers of the feed."""
    said = msgspec.structs.asdict(entry_body(entry, topics))
    del said["balance"]
    said |= {"sku": entry.sku, "location": entry.location, "outcome": Ending(said["outcome"])}
    return ToldFactBody(**{name: value for name, value in said.items() if value is not None})


class _News:
    """Tells those who wait that the log has grown; SQL is asked once for all of them.

    Args:
        total: how much there is now.
    """

    def __init__(self, total: Callable[[], Any]) -> None:
        self._total = total
        #: As it was when somebody waited last.
        self.known = 0
        self._waiting = 0
        self._grown, self._stirred = asyncio.Event(), asyncio.Event()
        self._tasks, self._is_looking = Tasks(), False
        self.is_over = False

    def stir(self) -> None:
        """Look now."""
        self._stirred.set()

    def end(self) -> None:
        """There is nothing to wait for any more."""
        self.is_over = True
        self._grown.set()

    async def beyond(self, total: int, within_s: float) -> None:
        """Wait until there is more than this, or for so long."""
        self._waiting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, within_s)):
                    while self.known <= total and not self.is_over:
                        if not self._is_looking:
                            self._is_looking = True
                            self._tasks.start(self._look(), "news of the ledger")
                        await self._grown.wait()
        finally:
            self._waiting -= 1

    async def _look(self) -> None:
        try:
            while self._waiting and not self.is_over:
                self._stirred.clear()
                # What cannot be asked now says so to those who ask themselves.
                with suppress(LedgerUnavailable, Building):
                    total = await self._total()
                    if total != self.known:
                        self.known = total
                        self._grown.set()
                        self._grown = asyncio.Event()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._stirred.wait()
        finally:
            self._is_looking = False
