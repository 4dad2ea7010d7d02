"""The ledger's own answers: rows, SKUs and timelines of the past, and what became of a fact.

SQL is asked in threads, so that the loop goes on answering; each answer is of one moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from core.positions import format_position
from domain.fates import Ending
from ledger.books import OUTCOMES, TYPES
from ledger.engine import LedgerUnavailable
from ledger.history import Entry, History, Ledger, NotThatFar, Prefix, time_text
from ledger.timeline import Wish, leaf
from web.history.asking import (
    LEAF,
    PAST,
    Cursor,
    Past,
    cursor_text,
    past_of,
    read_cursor,
    timeline_key,
)
from web.history.bodies import (
    PastBody,
    PastRowBody,
    PastSkuBody,
    TimelineBody,
    entry_body,
    row_of,
    sums_of,
)
from web.http.parameters import BadRequest, parameters, target_of, wrong
from web.http.problems import Problem, problem
from web.http.replies import json_reply
from web.http.times import rfc3339
from web.reads.parameters import ROOT
from web.reads.questions import key_of
from web.records.factfinding import FACTS, FACTS_PATH, FactBody, FactsBody, LookedBody, TimeBody

#: Questions that are with the database at once; the others wait.
_AT_ONCE = 8
_DEFAULT_LIMIT = 100


class Answers:
    """All routes that ask the ledger of this process.

    Args:
        history: the way to SQL.
        topics: full names in the order of `ledger.books.TOPICS`.
        url: how this process is reached; answers name it.
    """

    def __init__(self, history: History, topics: Sequence[str], url: str) -> None:
        self._history, self._topics, self._url = history, list(topics), url
        self._threads = ThreadPoolExecutor(_AT_ONCE, "history")

    def routes(self) -> Iterator[web.RouteDef]:
        """Under `ROOT` one route takes every path, as with rows of today."""
        yield web.get(ROOT + r"/{tail:[\s\S]*}", self.answer)
        yield web.get(FACTS_PATH, self.facts)

    def close(self) -> None:
        """After the last request."""
        self._threads.shutdown(wait=False)

    async def answer(self, request: web.Request) -> web.Response:
        """A row, a SKU or a timeline."""
        path, query = target_of(request)
        try:
            if (whose := timeline_key(path)) is not None:
                values = parameters(query, LEAF)
                return await self._ask(self._timeline, whose, past_of(values), values)
            if (key := key_of(path)) is None:
                return problem(Problem.UNKNOWN_PATH, f"There is nothing at {path}.")
            read = self._sku if key[1] is None else self._row
            return await self._ask(read, key, past_of(parameters(query, PAST)))
        except BadRequest as bad:
            return bad.reply()

    async def facts(self, request: web.Request) -> web.Response:
        """What became of a fact, of all time."""
        try:
            values = parameters(target_of(request)[1], FACTS)
            missing = [name for name in ("source", "id") if name not in values]
            if missing:
                raise BadRequest(*(wrong(name, "must be given") for name in missing))
            return await self._ask(self._facts, values["source"], values["id"])
        except BadRequest as bad:
            return bad.reply()

    async def _ask(self, work: Callable[..., web.Response], *args: Any) -> web.Response:
        def look() -> web.Response:
            with self._history.look() as ledger:
                return work(ledger, *args)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, look)
        except NotThatFar as behind:
            return problem(Problem.NOT_CAUGHT_UP, str(behind))
        except LedgerUnavailable as error:
            return problem(Problem.NOT_READY, str(error))

    # ---- in a thread

    def _prefix(self, ledger: Ledger, part: int, past: Past) -> Prefix:
        if past.position is not None:
            offsets = {
                self._topics.index(topic): offset
                for (topic, number), offset in past.position.items()
                if topic in self._topics and number == part
            }
            if not offsets:
                says = f"has no part for partition {part}, in which all facts of this SKU are"
                raise BadRequest(wrong("at_position", says))
            return Prefix(ledger.at(part, offsets))
        if past.as_of is None or past.by_occurred:
            return Prefix(ledger.now(part), past.as_of)
        return Prefix(ledger.until(part, past.as_of))

    def _past(self, ledger: Ledger, part: int, prefix: Prefix, past: Past) -> PastBody:
        asked = past.as_of is not None
        return PastBody(
            self._url,
            ledger.token(part, prefix.cut),
            time_text(past.as_of) if past.as_of is not None else None,
            ("occurred" if past.by_occurred else "recorded") if asked else None,
        )

    def _row(self, ledger: Ledger, key: Sequence[str], past: Past) -> web.Response:
        sku, location = key
        part = ledger.partition_of(sku)
        prefix = self._prefix(ledger, part, past)
        at = ledger.row(sku, location, prefix)
        body = self._past(ledger, part, prefix, past)
        if at.row is None:
            return _unknown(f"No event up to there names {sku} at {location}.", body)
        return json_reply(PastRowBody(row_of(at), body))

    def _sku(self, ledger: Ledger, key: Sequence[str], past: Past) -> web.Response:
        sku = key[0]
        part = ledger.partition_of(sku)
        prefix = self._prefix(ledger, part, past)
        rows = ledger.rows_of(sku, prefix)
        body = self._past(ledger, part, prefix, past)
        if not rows:
            return _unknown(f"No event up to there names {sku}.", body)
        total = sums_of(rows)
        items = [row_of(at) for at in rows]
        return json_reply(PastSkuBody(sku, total.on_hand, total.events, items, body))

    def _timeline(
        self, ledger: Ledger, key: Sequence[str], past: Past, values: Mapping[str, Any]
    ) -> web.Response:
        sku, location = key
        part = ledger.partition_of(sku)
        after = None
        if "cursor" in values:
            cursor = read_cursor(values["cursor"])
            prefix, after = Prefix(cursor.cut), cursor.after
        else:
            prefix = self._prefix(ledger, part, past)
        wish = Wish(
            sku,
            location,
            Prefix(prefix.cut),
            by_occurred=values.get("clock") == "occurred",
            since=values.get("from"),
            before=values.get("to"),
            newest_first=values.get("order") == "desc",
            limit=values.get("limit", _DEFAULT_LIMIT),
            after=after,
            everything=values.get("all", False),
        )
        if prefix.occurred is not None:
            # What happened by then, and no later fact.
            until = prefix.occurred + 1
            wish = wish._replace(before=until if wish.before is None else min(until, wish.before))
        page = leaf(ledger, wish)
        at = ledger.row(sku, location, prefix)
        body = self._past(ledger, part, prefix, past)
        if at.row is None and not page.facts:
            return _unknown(f"No event up to there names {sku} at {location}.", body)
        following = None
        if page.next is not None:
            following = cursor_text(Cursor(dict(prefix.cut), page.next))
        return json_reply(
            TimelineBody(
                sku,
                location,
                "occurred" if wish.by_occurred else "recorded",
                [entry_body(fact, self._topics) for fact in page.facts],
                following,
                None if at.row is None else row_of(at),
                body,
            )
        )

    def _facts(self, ledger: Ledger, source: str, ident: str) -> web.Response:
        times = [self._time(entry) for entry in ledger.facts(source, ident)]
        handled = {
            (self._topics[topic], part): offset - 1
            for (topic, part), offset in ledger.ends().items()
            if offset
        }
        looked = LookedBody("", format_position(handled), True, None)
        now = rfc3339(int(time.time() * 1000))
        return json_reply(FactsBody([FactBody(source, ident, times)], [], looked, now))

    def _time(self, entry: Entry) -> TimeBody:
        topic, part = self._topics[entry.topic], entry.part
        body = TimeBody(
            format_position({(topic, part): entry.offset}),
            rfc3339(entry.recorded_at // 1000),
            Ending(OUTCOMES[entry.outcome]),
        )
        fields: dict[str, Any] = {}
        if entry.repeat_of is not None:
            fields["of"] = format_position({(topic, part): entry.repeat_of})
        if entry.refused is not None:
            fields["reason"], fields["detail"] = entry.refused
        if entry.kind is not None:
            fields |= {
                "type": TYPES[entry.kind],
                "sku": entry.sku,
                "location": entry.location,
                "quantity": entry.quantity,
            }
        return replace(body, **fields)


def _unknown(detail: str, history: PastBody) -> web.Response:
    return problem(Problem.UNKNOWN_KEY, detail, history=history)
