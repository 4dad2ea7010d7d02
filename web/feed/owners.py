"""A page of rows that changed: asked of all owners at once, made of what they say.

Each owner is asked the same public GET with `Onhand-Hop: 1`, for its own partitions. A question
that has no answer yet goes on when its page is made, and serves the next one: so no owner is left
out because another one is quicker. Nothing is kept of a reader: its position says all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from msgspec import Raw
from multidict import CIMultiDict

from web.access.callers import CALLER
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.peers import HOP, PARTITIONS, Peers, get, numbers, row_headers
from web.cluster.roster import Roster
from web.feed.asked import CHANGES_PATH, PAGE_LINES, Event, FeedAsked, FeedOf, Form, values_in
from web.feed.marks import RowMarks, marks_in
from web.feed.pages import FeedGiven, FeedLine
from web.feed.rows import OwnersPart, OwnRows, ResetBody, ResetReason, RowsWish, wish_of
from web.http.gate import Gate
from web.http.parameters import BadRequest, wrong
from web.http.problems import Problem, problem
from web.http.replies import PRIVATE, Handler, json_reply
from web.reads.questions import partitions_of
from web.reads.spreading import MAX_GROUP

#: For the answers of other owners, once one has told of a change.
_LINGER_S: Final = 0.02
#: So long an answer that no page has waited for is kept for the next one.
_KEPT_S: Final = 1.0
#: So often it is looked whether another worker owns a partition by now.
_PLAN_S: Final = 0.5
#: Between two questions to a worker that does not own what others say it does.
_AGAIN_S: Final = 0.1
#: For an answer, besides what it may wait.
_ANSWER_S: Final = 2.0
_encode = msgspec.json.Encoder().encode


class _Question(NamedTuple):
    """To one owner. url: None is this worker. waits: for a change. caller: who wants it."""

    url: str | None
    partitions: Sequence[int]
    wish: RowsWish
    marks: RowMarks
    waits: bool
    caller: str | None

    @property
    def key(self) -> Hashable:
        """Of all that are the same."""
        return self._replace(partitions=tuple(self.partitions), marks=self.marks.text)  # type: ignore[arg-type]


class RowPages:
    """Pages of rows for readers of this worker, and for workers who ask for its own.

    Args:
        own: of the partitions that it owns.
        roster: knows the owners of the others.
        peers: asks them.
        topics: full names of the sources.
    """

    def __init__(self, own: OwnRows, roster: Roster, peers: Peers, topics: Sequence[str]) -> None:
        self._own, self._roster, self._peers = own, roster, peers
        self._topics, self._partitions = topics, own.count
        self._asking: dict[Hashable, asyncio.Task[OwnersPart | None]] = {}
        self._is_over = False

    def end(self) -> None:
        """Nobody waits any longer: this worker stops."""
        self._is_over = True
        self._own.end()

    async def close(self) -> None:
        """After the last page."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def answer(self, request: web.Request, asked: FeedAsked) -> web.Response:
        """A page for a caller; for another worker, of the partitions that it names."""
        if request.headers.get(HOP) != "1":
            return await self.page(asked)
        try:
            marks = self._marks(asked)
            partitions = partitions_of(request.headers, self._partitions)
        except BadRequest as bad:
            return bad.reply()
        wish = wish_of(asked.values, asked.values.get("limit", PAGE_LINES))
        part = await self._own.told(wish, partitions, marks, asked.wait_s)
        # Who asks sees by the position which of them are not told of.
        return self._reply([part], marks.only(part.marks.places), ())

    async def ask(self, target: str, wait_s: float) -> PeerAnswer:
        """The page at a path and query of ours, as another worker would say it."""
        try:
            said = await self.page(FeedAsked(Form.PAGE, values_in(target.partition("?")[2])))
        except BadRequest as bad:
            said = bad.reply()
        assert isinstance(said.body, bytes)
        return PeerAnswer(said.status, CIMultiDict(said.headers), said.body)

    async def page(self, asked: FeedAsked) -> web.Response:
        """Of all partitions: at once, or as soon as something changes."""
        self._own.asked()
        try:
            marks = self._marks(asked)
        except BadRequest as bad:
            return bad.reply()
        loop = asyncio.get_running_loop()
        until = loop.time() + (0.0 if marks.is_now else asked.wait_s)
        while True:
            left = 0.0 if self._is_over else max(0.0, until - loop.time())
            questions, silent = self._questions(asked, marks, waits=left > 0)
            tasks = [self._ask(question, left) for question in questions]
            parts = await (_first_news(tasks, left) if left else _all(tasks))
            if not left or any(part.is_news for part in parts):
                for question, task in zip(questions, tasks, strict=True):
                    if task.done() or not left:
                        silent += question.partitions
                return self._reply(parts, marks, silent)
            for part in parts:
                marks = marks.moved(part.marks)
            if not tasks or any(task.done() for task in tasks):
                await asyncio.sleep(min(left, _AGAIN_S))

    def _marks(self, asked: FeedAsked) -> RowMarks:
        try:
            return marks_in(asked.after, self._topics, self._partitions)
        except ValueError as error:
            raise BadRequest(wrong("after", str(error))) from error

    # ---- questions

    def _questions(
        self, asked: FeedAsked, marks: RowMarks, *, waits: bool
    ) -> tuple[list[_Question], list[int]]:
        """One to each owner; and the partitions that have none now."""
        groups: dict[tuple[str | None, int], list[int]] = {}
        ownerless = []
        for partition in range(self._partitions):
            if self._own.owns(partition):
                groups.setdefault((None, 0), []).append(partition)
            elif (owner := self._roster.owner(partition)) is not None:
                # Their positions must fit into a URL.
                groups.setdefault((owner.url, partition // MAX_GROUP), []).append(partition)
            else:
                ownerless.append(partition)
        limit = asked.values.get("limit", PAGE_LINES)
        wish = wish_of(asked.values, max(1, limit // max(1, len(groups))))
        caller = CALLER.get()
        name = None if caller is None else caller.id
        return [
            _Question(url, group, wish, marks.only(group), waits, name)
            for (url, _), group in groups.items()
        ], ownerless

    def _ask(self, question: _Question, wait_s: float) -> asyncio.Task[OwnersPart | None]:
        """Its answer, which others may be waiting for already."""
        key = question.key
        if key not in self._asking:
            task = asyncio.create_task(self._asked(question, wait_s))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._answered(question, done))
        return self._asking[key]

    def _answered(self, question: _Question, task: asyncio.Task[OwnersPart | None]) -> None:
        part = None if task.cancelled() or task.exception() else task.result()
        if part is None or not part.is_news or not question.waits:
            del self._asking[question.key]
        else:
            asyncio.get_running_loop().call_later(_KEPT_S, self._asking.pop, question.key, None)

    async def _asked(self, question: _Question, wait_s: float) -> OwnersPart | None:
        _, partitions, wish, marks, _, _ = question
        if question.url is None:
            return await self._own.told(wish, partitions, marks, wait_s)
        target = target_of_rows(wish, marks, wait_s)
        lines = row_headers(self._own.version, self._own.epoch)
        lines += f"{PARTITIONS}: {numbers(partitions)}\r\n"
        try:
            async with asyncio.timeout(_ANSWER_S + wait_s):
                request = get(question.url, target, {}, lines)
                said = await self._peers.ask(question.url, request, waits=wait_s > 0)
            return None if said.status != 200 else self._part_of(said.body)
        except (PeerFailed, TimeoutError, msgspec.MsgspecError, ValueError):
            return None  # of another build, or gone: its partitions are missing

    def _part_of(self, body: bytes) -> OwnersPart:
        """What another worker says; raises ValueError for what no worker of this build says."""
        given = msgspec.json.decode(body, type=FeedGiven)
        marks = marks_in(given.after, self._topics, self._partitions)
        reset = [
            msgspec.json.decode(line.data, type=ResetBody)
            for line in given.changes
            if line.event == Event.RESET
        ]
        return OwnersPart(
            [line for line in given.changes if line.event == Event.ROW],
            frozenset(partition for one in reset for partition in one.partitions),
            reset[0].reason if reset else ResetReason.BEHIND,
            marks,
            given.at_end,
        )

    # ---- answers

    def _reply(
        self, parts: Sequence[OwnersPart], marks: RowMarks, silent: Iterable[int]
    ) -> web.Response:
        """silent: partitions that are missing unless one of the parts tells of them."""
        told = {partition for part in parts for partition in part.marks.places}
        missing = sorted(set(silent) - told)
        is_news = any(part.is_news for part in parts)
        if missing and (marks.is_now or not is_news):
            detail = f"Nobody tells of the rows of {len(missing)} partitions now."
            return problem(
                Problem.PARTITIONS_UNAVAILABLE, detail, retry_after_s=1, missing_partitions=missing
            )
        changes: list[FeedLine] = []
        if reset := frozenset[int]().union(*(part.reset for part in parts)):
            marks = marks.without(reset)
            for part in parts:
                marks = marks.moved(part.marks.only(part.reset))
            why = next(part.why for part in parts if part.reset)
            data = Raw(_encode(ResetBody(sorted(reset), why)))
            changes.append(FeedLine(id=marks.text, event=Event.RESET, data=data))
        for part in parts:
            changes += part.lines
            marks = marks.moved(part.marks)
        is_all = not missing and all(part.is_all for part in parts)
        return json_reply(FeedGiven(changes, marks.text, is_all, missing), headers=PRIVATE)


class ByHop:
    """Two gates: one for readers, and one for workers who ask on behalf of theirs."""

    def __init__(self, readers: Gate, hops: Gate) -> None:
        self._readers, self._hops = readers, hops

    def guarding(self, handler: Handler) -> Handler:
        """The handler behind the one that a request goes through."""
        of_readers, of_hops = self._readers.guarding(handler), self._hops.guarding(handler)

        async def handle(request: web.Request) -> web.StreamResponse:
            is_hop = request.headers.get(HOP) == "1"
            return await (of_hops if is_hop else of_readers)(request)

        return handle


async def _all(tasks: Sequence[asyncio.Task[OwnersPart | None]]) -> list[OwnersPart]:
    """What all of them say, who answer."""
    if tasks:
        await asyncio.wait(tasks)
    return _parts(tasks)


async def _first_news(
    tasks: Sequence[asyncio.Task[OwnersPart | None]], within_s: float
) -> list[OwnersPart]:
    """What those say who have answered, for a moment longer once one has."""
    if not tasks:
        return []
    within_s = min(_PLAN_S, within_s)
    done, others = await asyncio.wait(tasks, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    if done and others:
        await asyncio.wait(others, timeout=_LINGER_S)
    return _parts(tasks)


def _parts(tasks: Iterable[asyncio.Task[OwnersPart | None]]) -> list[OwnersPart]:
    done = (task.result() for task in tasks if task.done() and not task.cancelled())
    return [part for part in done if part is not None]


def target_of_rows(wish: RowsWish, marks: RowMarks, wait_s: float) -> str:
    """Path and query of a question to an owner."""
    asked = {
        "of": FeedOf.ROWS,
        "after": marks.text,
        "limit": wish.limit,
        "wait_ms": int(wait_s * 1000),
    }
    if wish.sku_prefix:
        asked["sku_prefix"] = wish.sku_prefix
    if wish.location is not None:
        asked["location"] = wish.location
    return f"{CHANGES_PATH}?{urlencode(asked, safe='@,:')}"
