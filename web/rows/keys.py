"""One row of any table by its key, from whichever worker has it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web
from msgspec import Struct

from core.stages import Freshness
from tables.reading import Reading
from web.cluster.admission import Unanswered, unsure
from web.cluster.answers import problem_of, unanswered_reply
from web.cluster.asking import Asking
from web.cluster.exchange import LargeAnswer, PeerAnswer
from web.cluster.freshness import freshness_body, freshness_headers
from web.cluster.peers import get, is_for_another_version, row_headers, waiting
from web.cluster.routing import Router
from web.http.conditions import refusal_of
from web.http.large import Large, send
from web.http.parameters import BadRequest, parameters, part_of, target_of, wrong
from web.http.problems import Problem, problem
from web.http.replies import Observe, json_reply
from web.reads.parameters import READ
from web.reads.queries import handed_on
from web.reads.questions import asked_of
from web.rows.routes import KeyRoute, RowPlace

#: What a reader may ask for besides the key.
DEMANDS = {name: READ[name] for name in ("min_position", "wait_ms", "max_lag_events")}


class RowSeen(Struct, frozen=True):
    """What this worker has of a key; `row` is None where no record up to here names it."""

    row: Mapping[str, Any] | None
    freshness: Freshness


class KeyReads:
    """Answers the `KeyRoute`s of one worker. `observe`: as that of `Queries`."""

    def __init__(self, table: Reading, router: Router, version: int, observe: Observe) -> None:
        self._table, self._router, self._version = table, router, version
        self._observe = observe

    def route(self, route: KeyRoute) -> web.RouteDef:
        """For the server. One route takes every path below: a key may hold what is no name."""
        return web.get(route.prefix + r"{key:[\s\S]*}", partial(self._answer, route))

    async def _answer(self, route: KeyRoute, request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        response: web.Response | Large
        try:
            response = await self._read(route, request)
        except BadRequest as bad:
            response = bad.reply()
        role = response.headers.get("Onhand-Role", "none")
        outcome = "found" if response.status == 200 else str(problem_of(response) or "unknown")
        self._observe(role, outcome, time.perf_counter() - started)
        return await send(request, response) if isinstance(response, Large) else response

    async def _read(self, route: KeyRoute, request: web.Request) -> web.Response | Large:
        if is_for_another_version(request.headers, self._version):
            return problem(Problem.NOT_READY, f"This worker is of version {self._version}.")
        if (refused := refusal_of(request.headers)) is not None:
            return refused
        path, query = target_of(request)
        raw = path.removeprefix(route.prefix).split("/")
        if len(raw) != len(route.parts):
            return problem(Problem.UNKNOWN_PATH, f"There is nothing at {path!a}.")
        asked = asked_of(parameters(query, DEMANDS), request.headers)
        place = _place(route, raw)
        partition = self._table.home_of(place.home)

        async def here(fresh: Freshness) -> RowSeen | Unanswered:
            row = self._table.value(fresh.partition, place.row, partial(route.shown, place.row))
            return (None if row is not None else unsure(fresh)) or RowSeen(row, fresh)

        def there(url: str, floor: str, wait_s: float) -> bytes:
            demands, epoch = waiting(floor, wait_s), self._table.label[1]
            if asked.max_lag_events is not None:
                demands["max_lag_events"] = str(asked.max_lag_events)
            return get(url, path, demands, row_headers(self._version, epoch))

        answer = await Asking[RowSeen](self._router, partition, asked, here, there).answer()
        match answer:
            case RowSeen(row, fresh):
                return _reply(raw, row, fresh)
            case PeerAnswer() | LargeAnswer():
                return handed_on(answer)
            case _:
                return unanswered_reply(answer)


def _reply(raw: Sequence[str], row: Mapping[str, Any] | None, fresh: Freshness) -> web.Response:
    freshness = freshness_body(fresh)
    headers = freshness_headers(freshness)
    if row is None:
        detail = f"No record up to here names {'/'.join(raw)!a}."
        return problem(Problem.UNKNOWN_KEY, detail, headers=headers, freshness=freshness)
    return json_reply({**row, "freshness": freshness}, headers=headers)


def _place(route: KeyRoute, raw: Sequence[str]) -> RowPlace:
    """Where the row of a key is.

    Raises:
        BadRequest: a part is no text, or together they are no key.
    """
    parts, faults = [], []
    for name, each in zip(route.parts, raw, strict=True):
        try:
            parts.append(part_of(each))
        except ValueError as error:
            faults.append(wrong(name, str(error)))
    if faults:
        raise BadRequest(*faults)
    try:
        return route.place(*parts)
    except ValueError as error:
        raise BadRequest(wrong(", ".join(route.parts), str(error))) from None
