"""Pages of the feed at a worker: asked for once for all readers who want the same.

Readers who have all that there is ask for the same next page. So a hundred of them cost the
ledger one question, and this worker one copy of each fact. One that is some pages behind finds them
here, and takes them in one write. Behind each push stands a poll: a page that no ledger gave is
asked for again, of whichever ledger answers then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

import msgspec
from aiohttp import web
from msgspec import UNSET, Raw, Struct, UnsetType

from web.access.callers import CALLER
from web.cluster.exchange import PeerAnswer
from web.feed.asked import Event, Form
from web.history.passing import nobody_tells
from web.reads.queries import passed_on

#: Pages that are kept for readers who come a moment later: for so long, and so many bytes.
_KEPT_S: Final = 5.0
_KEPT_BYTES: Final = 8 * 2**20
#: A page is held as it came, and in both forms of streams where both are wanted.
_FORMS: Final = 3
#: Between two questions for what comes behind all there is. What comes meanwhile is told together:
#: a page for each commit would cost a hundred readers more than their worker has.
_TOGETHER_S: Final = 0.05
#: Of one write to a reader, unless one line alone has more.
WRITE_BYTES: Final = 32 * 2**10
_encode = msgspec.json.Encoder().encode

#: What a ledger said; or why none did, in a sentence; or None: there is none.
PageSaid: TypeAlias = PeerAnswer | web.Response | str | None
#: Asks a ledger of the active version, by path and query, that may wait for so many seconds.
AskForPage: TypeAlias = Callable[[str, float], Awaitable[PageSaid]]


class FeedLine(Struct, kw_only=True):
    """As `web.feed.asked.ChangeBody`. A row has no id: its page has one for all.

    Before the first fact of all the id is there, and empty.
    """

    id: str | UnsetType = UNSET
    event: str
    data: Raw


class FeedGiven(Struct, omit_defaults=True):
    """As `web.feed.asked.ChangesBody`, or `web.feed.rows.RowChangesBody`."""

    changes: list[FeedLine]
    after: str
    at_end: bool
    missing_partitions: list[int] | None = None


class FeedPiece(NamedTuple):
    """Some lines as they are written to a reader."""

    data: bytes
    lines: int


class FeedPage:
    """A page, written once in each form that somebody wants.

    size: bytes that it may come to take here. came: monotonic seconds.
    """

    def __init__(self, given: FeedGiven, size: int) -> None:
        self._lines = given.changes
        self.came = time.monotonic()
        self.after, self.at_end, self.size = given.after, given.at_end, size
        #: Of rows: partitions that nobody told of.
        self.missing = given.missing_partitions or []
        self._pieces: dict[Form, list[FeedPiece]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self._lines

    @property
    def next_from(self) -> float:
        """From when on the page behind it is asked for, in monotonic seconds."""
        return self.came + _TOGETHER_S if self.at_end else 0.0

    @property
    def is_open(self) -> bool:
        """Whether who has its last line has not been told where he is."""
        return bool(self._lines) and self._lines[-1].id is UNSET

    def pieces(self, form: Form) -> list[FeedPiece]:
        """All lines of it, as of a stream that has no end, and where its reader is then."""
        if form not in self._pieces:
            self._pieces[form] = list(_pieces(self._lines, form))
            if self.is_open:
                self._pieces[form].append(self.place(form))
        return self._pieces[form]

    def place(self, form: Form) -> FeedPiece:
        """Where a reader is who has all of it."""
        return FeedPiece(line_of_stream(form, Event.POSITION, self.after, b"{}"), 0)


def _pieces(lines: list[FeedLine], form: Form) -> Iterator[FeedPiece]:
    data, count = bytearray(), 0
    for line in lines:
        data += line_of_stream(form, line.event, line.id, bytes(line.data))
        count += 1
        if len(data) >= WRITE_BYTES:
            yield FeedPiece(bytes(data), count)
            data, count = bytearray(), 0
    if count:
        yield FeedPiece(bytes(data), count)


def line_of_stream(form: Form, event: str, ident: str | UnsetType, data: bytes) -> bytes:
    """What a reader is told, in the form of its stream. data: JSON, in which no line ends."""
    if form is Form.EVENTS:
        place = "" if ident is UNSET else f"id: {ident}\n"
        return f"{place}event: {event}\ndata: ".encode() + data + b"\n\n"
    return _encode(FeedLine(id=ident, event=event, data=Raw(data))) + b"\n"


class _Wanted(NamedTuple):
    """Who wants what, by whose verdicts."""

    version: int
    caller: str | None
    target: str


class FeedPages:
    """All pages that this worker has asked for and some reader may still want.

    Args:
        ask: a ledger.
        version: whose verdicts it tells now; those of another one are asked for anew.
    """

    def __init__(self, ask: AskForPage, version: Callable[[], int]) -> None:
        self._ask, self._version = ask, version
        self._asked: dict[_Wanted, asyncio.Future[FeedPage | PageSaid]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = False
        self._kept: dict[_Wanted, tuple[float, FeedPage]] = {}
        self._bytes = 0

    async def first(self, target: str, wait_s: float) -> FeedPage | PageSaid:
        """For a reader who may know of later rows than a page that was made before says."""
        return _page_of(await self._ask(target, wait_s))

    async def get(self, target: str, wait_s: float, asked_from: float = 0.0) -> FeedPage | PageSaid:
        """The page at a path and query, or what was said instead of it.

        asked_from: not before, in monotonic seconds, unless another reader has it already.
        """
        if self._is_over:
            return None
        if (page := self.known(target)) is not None:
            await asyncio.sleep(0)  # a quick reader must not keep the others waiting
            return page
        key = self._key(target)
        if key not in self._asked:
            self._asked[key] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._get(key, target, wait_s, asked_from))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(self._asked[key])

    def known(self, target: str) -> FeedPage | None:
        """The page, where another reader was given it a moment ago."""
        self._forget()
        kept = self._kept.get(self._key(target))
        return None if kept is None else kept[1]

    def end(self) -> None:
        """Nobody waits for a page any more, or is given one: the worker stops."""
        self._is_over = True
        for asked in self._asked.values():
            if not asked.done():
                asked.set_result(None)

    async def close(self) -> None:
        """Ask for nothing more."""
        self.end()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _key(self, target: str) -> _Wanted:
        # What one caller may not see, no other is to be refused; so each asks for itself.
        caller = CALLER.get()
        return _Wanted(self._version(), None if caller is None else caller.id, target)

    async def _get(self, key: _Wanted, target: str, wait_s: float, asked_from: float) -> None:
        asked = self._asked[key]
        try:
            # One timer for all who wait.
            await asyncio.sleep(max(0.0, asked_from - time.monotonic()))
            page = _page_of(await self._ask(target, wait_s))
        except Exception as error:
            if not asked.done():
                asked.set_exception(error)
                asked.exception()  # who asked may be gone
        else:
            if isinstance(page, FeedPage) and not page.is_empty:
                self._kept[key] = time.monotonic(), page
                self._bytes += page.size
            if not asked.done():
                asked.set_result(page)
        finally:
            del self._asked[key]

    def _forget(self) -> None:
        since = time.monotonic() - _KEPT_S
        while self._kept:
            oldest = next(iter(self._kept))
            at, page = self._kept[oldest]
            if at >= since and self._bytes <= _KEPT_BYTES:
                return
            del self._kept[oldest]
            self._bytes -= page.size


def _page_of(said: PageSaid) -> FeedPage | PageSaid:
    if not isinstance(said, PeerAnswer) or said.status != 200:
        return said
    try:
        return FeedPage(msgspec.json.decode(said.body, type=FeedGiven), _FORMS * len(said.body))
    except msgspec.MsgspecError:
        return "The ledger's build says it in words that this worker does not know."


def as_it_was_said(said: PageSaid) -> web.Response:
    """What a ledger, or nobody, said: for a client."""
    if isinstance(said, PeerAnswer):
        return passed_on(said)
    return said if isinstance(said, web.Response) else nobody_tells(said)
