"""The ledger's own answers: rows, SKUs, lists and timelines of the past.

SQL is asked in threads, so that the loop goes on answering; each answer is of one moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from ledger.engine import LedgerUnavailable
from ledger.history import History, Ledger, ListWish
from ledger.questions.cuts import of_part
from ledger.questions.prefixes import BeforeHistory, Cuts, NotThatFar, Prefix, time_text
from ledger.questions.reporting import REPORTS
from ledger.questions.reports import ReportWish, columns_of, read_report
from ledger.questions.timeline import Wish, leaf
from ledger.upkeep.building import Building
from web.cluster.answers import problem_of
from web.history.asking import (
    LEAF,
    PAST,
    PAST_LIST,
    REPORT,
    REPORTS_PATH,
    Past,
    cursor_text,
    past_of,
    read_cursor,
    timeline_key,
    wait_of,
)
from web.history.bodies import (
    PastBody,
    PastListBody,
    ReportBody,
    TimelineBody,
)
from web.history.found import found_facts
from web.history.spreadsheets import csv_reply, wants_csv
from web.history.telling import entry_body, past_row, past_sku, row_of
from web.http.bodies import BodyLimits, read_json
from web.http.parameters import BadRequest, parameters, target_of, wrong
from web.http.problems import Problem, problem
from web.http.replies import json_reply
from web.reads.parameters import DEFAULT_LIMIT, ROOT
from web.reads.questions import filters_of, key_of
from web.records.factfinding import FACTS, FACTS_LOOKUP, FACTS_LOOKUP_PATH, FACTS_PATH, names_of
from web.versions.asked import AS_OF, AT_POSITION

#: Questions that are with the database at once; the others wait.
_AT_ONCE = 8
#: Those that wait until the ledger is far enough, and how often each looks: 640 looks a second.
_MOST_WAITING, _LOOK_EVERY_S = 64, 0.1
_WEEK_US = 7 * 86_400 * 10**6
_LATE_S = 3_600
#: A quiet log is taken for whole up to 2 s ago (`ledger/keeping.py`): who is so far is not behind.
_FOLLOWS_US = 10 * 10**6


class Answers:
    """All routes that ask the ledger of this process.

    Args:
        history: the way to SQL.
        topics: full names in the order of `ledger.lines.TOPICS`.
        url: how this process is reached; answers name it.
    """

    def __init__(self, history: History, topics: Sequence[str], url: str) -> None:
        self._history, self._topics, self._url = history, list(topics), url
        self._threads = ThreadPoolExecutor(_AT_ONCE, "history")
        self._waiting = 0

    def routes(self) -> Iterator[web.RouteDef]:
        """Under `ROOT` one route takes every path, as with rows of today."""
        yield web.get(ROOT, self.answer)
        yield web.get(ROOT + r"/{tail:[\s\S]*}", self.answer)
        yield web.get(REPORTS_PATH + "{name}", self.report)
        yield web.get(FACTS_PATH, self.facts)
        yield web.post(FACTS_LOOKUP_PATH, self.facts)

    def close(self) -> None:
        """After the last request."""
        self._threads.shutdown(wait=False)

    async def answer(self, request: web.Request) -> web.Response:
        """A row, a SKU, a list or a timeline."""
        path, query = target_of(request)
        try:
            if path == ROOT:
                values = parameters(query, PAST_LIST)
                return await self._wait(values, self._list, past_of(values), values)
            if (whose := timeline_key(path)) is not None:
                values = parameters(query, LEAF)
                return await self._wait(values, self._timeline, whose, past_of(values), values)
            if (key := key_of(path)) is None:
                return problem(Problem.UNKNOWN_PATH, f"There is nothing at {path}.")
            read, values = self._sku if key[1] is None else self._row, parameters(query, PAST)
            return await self._wait(values, read, key, past_of(values))
        except BadRequest as bad:
            return bad.reply()

    async def report(self, request: web.Request) -> web.Response:
        """One of the reports, as JSON or CSV."""
        name = request.match_info["name"]
        if name not in REPORTS:
            known = ", ".join(REPORTS)
            return problem(Problem.UNKNOWN_PATH, f"There is no such report; there are {known}.")
        try:
            values = parameters(target_of(request)[1], REPORT)
            return await self._wait(values, self._report, name, values, wants_csv(request))
        except BadRequest as bad:
            return bad.reply()

    async def facts(self, request: web.Request) -> web.Response:
        """What became of facts, of all time."""
        try:
            query = target_of(request)[1]
            if request.method == "POST":
                parameters(query, FACTS_LOOKUP)
                body = await read_json(request, BodyLimits())
                if isinstance(body, web.Response):
                    return body
                return await self._ask(found_facts, names_of(body), self._url)
            values = parameters(query, FACTS)
            missing = [name for name in ("source", "id") if name not in values]
            if missing:
                raise BadRequest(*(wrong(name, "must be given") for name in missing))
            names = [(values["source"], values["id"])]
            return await self._ask(found_facts, names, self._url)
        except BadRequest as bad:
            return bad.reply()

    async def _wait(
        self, values: Mapping[str, Any], work: Callable[..., web.Response], *args: Any
    ) -> web.Response:
        """As `_ask`, again until the ledger is far enough or the caller has waited so long."""
        until = time.monotonic() + wait_of(values)
        while True:
            answer = await self._ask(work, *args)
            left = until - time.monotonic()
            if problem_of(answer) is not Problem.NOT_CAUGHT_UP or left <= 0:
                return answer
            if self._waiting >= _MOST_WAITING:
                return answer
            self._waiting += 1
            try:
                # Another process may write the ledger, and SQLite wakes nobody.
                await asyncio.sleep(min(_LOOK_EVERY_S, left))
            finally:
                self._waiting -= 1

    async def _ask(self, work: Callable[..., web.Response], *args: Any) -> web.Response:
        def look() -> web.Response:
            with self._history.look() as ledger:
                return work(ledger, *args)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, look)
        except NotThatFar as behind:
            return problem(Problem.NOT_CAUGHT_UP, str(behind))
        except BeforeHistory as before:
            begins = time_text(before.begins)
            return problem(Problem.BEFORE_HISTORY, str(before), begins=begins)
        except (Building, LedgerUnavailable) as error:
            return problem(Problem.NOT_READY, str(error))

    # ---- in a thread

    def _offsets(
        self, position: Mapping[tuple[str, int], int], part: int | None
    ) -> dict[tuple[int, int], int]:
        """Its parts that are about this partition, or any."""
        return {
            (self._topics.index(topic), number): offset
            for (topic, number), offset in position.items()
            if topic in self._topics and part in (None, number)
        }

    def _cuts(self, ledger: Ledger, part: int | None, past: Past) -> Cuts:
        ledger.handled(self._offsets(past.least, part), part)
        if past.position is not None:
            offsets = self._offsets(past.position, part)
            if not offsets:
                where = "any partition" if part is None else f"partition {part}"
                says = f"has no part for {where}, in which all facts of this SKU are"
                raise BadRequest(wrong(AT_POSITION, says))
            return ledger.all_at(offsets, part)
        if past.as_of is None or past.by_occurred:
            return ledger.all_now(part)
        return ledger.all_until(past.as_of, part)

    def _prefix(self, ledger: Ledger, part: int, past: Past) -> Prefix:
        occurred = past.as_of if past.by_occurred else None
        return Prefix(of_part(self._cuts(ledger, part, past), part), occurred)

    def _past(self, ledger: Ledger, part: int | None, cuts: Cuts, past: Past) -> PastBody:
        asked, begins = past.as_of is not None, ledger.begins(part)
        return PastBody(
            self._url,
            ledger.token_of(cuts),
            time_text(past.as_of) if past.as_of is not None else None,
            ("occurred" if past.by_occurred else "recorded") if asked else None,
            time_text(begins) if begins else None,
        )

    def _past_of(self, ledger: Ledger, part: int, prefix: Prefix, past: Past) -> PastBody:
        cuts = {(topic, part): end for topic, end in prefix.cut.items()}
        return self._past(ledger, part, cuts, past)

    def _row(self, ledger: Ledger, key: Sequence[str], past: Past) -> web.Response:
        sku, location = key
        part = ledger.partition_of(sku)
        prefix = self._prefix(ledger, part, past)
        at = ledger.row(sku, location, prefix)
        body = self._past_of(ledger, part, prefix, past)
        if at.row is None:
            return _unknown(f"No event up to there names {sku} at {location}.", body)
        return json_reply(past_row(at, body))

    def _sku(self, ledger: Ledger, key: Sequence[str], past: Past) -> web.Response:
        sku = key[0]
        part = ledger.partition_of(sku)
        prefix = self._prefix(ledger, part, past)
        rows = ledger.rows_of(sku, prefix)
        body = self._past_of(ledger, part, prefix, past)
        if not rows:
            return _unknown(f"No event up to there names {sku}.", body)
        return json_reply(past_sku(sku, rows, body))

    def _list(self, ledger: Ledger, past: Past, values: Mapping[str, Any]) -> web.Response:
        filters = filters_of(values)
        occurred, after = past.as_of if past.by_occurred else None, None
        if "cursor" in values:
            cursor = read_cursor(values["cursor"], (str, str))
            if cursor.filters != filters:
                raise BadRequest(wrong("cursor", "belongs to a list with other filters"))
            cuts, occurred = cursor.ends, cursor.occurred
            ledger.held(cuts)
            after = (str(cursor.after[0]), str(cursor.after[1]))
        else:
            cuts = dict(self._cuts(ledger, None, past))
        wish = ListWish(
            filters.location,
            filters.sku_prefix,
            filters.on_hand_below,
            filters.on_hand_above,
            values.get("limit", DEFAULT_LIMIT),
            after,
        )
        page = ledger.page(wish, cuts, occurred)
        following = None
        if page.next is not None:
            following = cursor_text(cuts, page.next, occurred, filters)
        body = self._past(ledger, None, cuts, past)
        return json_reply(PastListBody([row_of(at) for at in page.rows], following, body))

    def _timeline(
        self, ledger: Ledger, key: Sequence[str], past: Past, values: Mapping[str, Any]
    ) -> web.Response:
        sku, location = key
        part = ledger.partition_of(sku)
        after = None
        if "cursor" in values:
            cursor = read_cursor(values["cursor"], (int, int, int))
            time_at, topic, offset = map(int, cursor.after)
            ledger.held(cursor.ends, part)
            prefix = Prefix(of_part(cursor.ends, part), cursor.occurred)
            after = time_at, topic, offset
        else:
            prefix = self._prefix(ledger, part, past)
        wish = Wish(
            sku,
            location,
            Prefix(prefix.cut),
            by_occurred=past.by_occurred,
            since=values.get("from"),
            before=values.get("to"),
            newest_first=values.get("order") == "desc",
            limit=values.get("limit", DEFAULT_LIMIT),
            after=after,
            everything=values.get("all", False),
        )
        if prefix.occurred is not None:
            # What happened by then, and no later fact.
            until = prefix.occurred + 1
            wish = wish._replace(before=until if wish.before is None else min(until, wish.before))
        page = leaf(ledger, wish)
        at = ledger.row(sku, location, prefix)
        body = self._past_of(ledger, part, prefix, past)
        if at.row is None and not page.facts:
            return _unknown(f"No event up to there names {sku} at {location}.", body)
        following = None
        if page.next is not None:
            cuts = {(topic, part): end for topic, end in prefix.cut.items()}
            following = cursor_text(cuts, page.next, prefix.occurred)
        return json_reply(
            TimelineBody(
                sku,
                location,
                "occurred" if wish.by_occurred else "recorded",
                [entry_body(fact, ledger.topics) for fact in page.facts],
                following,
                page.opening,
                None if at.row is None else row_of(at),
                body,
            )
        )

    def _report(
        self, ledger: Ledger, name: str, values: Mapping[str, Any], as_csv: bool
    ) -> web.Response:
        report, as_of = REPORTS[name], values.get(AS_OF)
        past = Past(as_of, False, None, values.get("min_position", {}))
        ends = self._cuts(ledger, None, past)
        since, starts = None, {}
        if report.of_a_time:
            now = time.time_ns() // 1000 if as_of is None else as_of
            # Facts of that very time count too, and of that at which history begins some are gone.
            since = values.get("from", max(now - _WEEK_US, ledger.begins(None) + 1))
            # Whoever asks from a moment on that has just come, or is still to come, has his answer:
            # none, or few, yet. So a ledger is not behind that follows the log as it grows.
            whole_to = now if as_of is not None else now - _FOLLOWS_US
            starts = dict(ledger.all_until(since - 1, whole_to=whole_to))
        late_us = values.get("late_s", _LATE_S) * 10**6
        limit = values.get("limit", DEFAULT_LIMIT)
        wish = ReportWish(starts, ends, values.get("location"), late_us, limit)
        rows = read_report(ledger, name, wish)
        body = self._past(ledger, None, ends, past)
        if as_csv:
            return csv_reply(name, report.columns, rows, body.position)
        told = columns_of(rows, report.columns)
        return json_reply(ReportBody(name, since and time_text(since), told, body))


def _unknown(detail: str, history: PastBody) -> web.Response:
    return problem(Problem.UNKNOWN_KEY, detail, history=history)
