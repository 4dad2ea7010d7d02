"""GET /v1/alerts and /v1/loads: what topics remember, the newest record of each key, newest first.

Any worker answers, straight from Kafka, as for dead letters. A key has many records, of which only
the newest counts, so there are no pages: `since` says from when on nothing is missing, and
commands read the whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from aiohttp import web
from aiokafka import TopicPartition
from msgspec import Struct
from msgspec.structs import replace

from domain.alerts import AlertLevel
from web.http.parameters import Parameter, checked, number, parameters, target_of
from web.http.problems import Problem
from web.http.replies import PRIVATE, Observe, json_reply
from web.http.times import Time, rfc3339
from web.records.logs import Logs, LogUnavailable, answered
from wire.fetch import Stored
from wire.lookback import Budget, Lookback

ALERTS_PATH = "/v1/alerts"
LOADS_PATH = "/v1/loads"
ALERT_STATES = ("pending", "sent", "dead")
LOAD_STATES = ("loaded", "unfinished")
#: Told at most, if nothing is said.
_USUAL = 100
#: Records read for one answer, and for how long.
_MAX_READ = 20_000
_READ_S = 2.0
T = TypeVar("T")


def _one_of(names: Sequence[str], text: str) -> Parameter:
    def read(raw: str) -> str:
        return checked(raw, None if raw in names else f"must be one of {', '.join(names)}")

    return Parameter(read, {"enum": [*names]}, text)


_LIMIT = number(1, 1000, "At most so many, the newest ones.")
ALERTS_ASKED: Mapping[str, Parameter] = {
    "state": _one_of(ALERT_STATES, "Only messages that stand so."),
    "told": _one_of([str(one) for one in AlertLevel], "Only what is raised, or what is cleared."),
    "limit": _LIMIT,
}
LOADS_ASKED: Mapping[str, Parameter] = {
    "state": _one_of(LOAD_STATES, "Only documents that stand so."),
    "limit": _LIMIT,
}


class AlertBody(Struct, frozen=True):
    """What was told last of a row by a rule, and what became of that message.

    told: `raised` or `cleared`. state: `pending`, `sent` or `dead`; at: since when, by the clock of
    the worker that wrote it. seq: number of this message. on_hand: as it says; null once it is
    sent. attempts: tries that failed; failed: why the last one did. next_try: null where none is
    to come.
    """

    rule: str
    sku: str
    location: str
    told: str
    state: str
    at: Time
    seq: int
    id: str
    on_hand: int | None
    attempts: int
    next_try: Time | None
    failed: str


class AlertRuleBody(Struct, frozen=True):
    """Raised where less than `below` is on hand, cleared where more than `above` is."""

    name: str
    below: int
    above: int


class AlertsBody(Struct, frozen=True):
    """rules: this worker's; none: it tells nobody. since: see `LoadsBody`. as_of: now."""

    rules: list[AlertRuleBody]
    items: list[AlertBody]
    since: Time | None
    as_of: Time


class LineSumsBody(Struct, frozen=True):
    """lines = facts + levels + revocations + not_for_stock + refused."""

    lines: int
    facts: int
    levels: int
    revocations: int
    not_for_stock: int
    refused: int


class LoadBody(Struct, frozen=True):
    """One document that was loaded, or begun.

    state: `loaded`, or `unfinished`, which the same file goes on; at: since when. lines: of it that
    are done. facts: of all of it. sent: facts that are in the log. sums: of all lines of its file.
    taken_back_by: a later document. sent and sums are null where an earlier build did not say.
    """

    document: str
    file: str
    sha256: str
    state: str
    at: Time
    lines: int
    facts: int
    sent: int | None
    sums: LineSumsBody | None
    taken_back_by: str | None


class LoadsBody(Struct, frozen=True):
    """since: all that fits from this time on is here; null: from the beginning. as_of: now.

    What was refused is not among them: nothing of it was sent, and nothing is remembered.
    """

    items: list[LoadBody]
    since: Time | None
    as_of: Time


class KeptTopic(Struct, Generic[T], frozen=True):
    """A topic of which the newest record of each key counts.

    read: what one says; None: it is of another kind. Raises ValueError for one of a newer build.
    rules: of alerts, as this worker has them.
    """

    name: str
    partitions: int
    read: Callable[[Stored], T | None]
    rules: Sequence[AlertRuleBody] = ()


class TakenBackMark(NamedTuple):
    """Of a document, or of several that are called so. by: which one took it back."""

    name: str
    by: str


class KeptLoad(NamedTuple):
    """A document, and by what later ones take it back."""

    body: LoadBody
    called: str


KeptLoads = KeptTopic[KeptLoad | TakenBackMark]


class KeptAnswers:
    """Both calls.

    Args:
        logs: reads Kafka.
        loads: documents, and what was taken back.
        observe: is told role, outcome and seconds of each answer.

    Attributes:
        told: to the webhook, by the rules of this worker; None: it has none.
    """

    def __init__(self, logs: Logs, loads: KeptLoads, observe: Observe) -> None:
        self._logs, self._loaded, self._observe = logs, loads, observe
        self.told: KeptTopic[AlertBody] | None = None

    def routes(self) -> Iterator[web.RouteDef]:
        """Both."""
        yield web.get(ALERTS_PATH, self.alerts)
        yield web.get(LOADS_PATH, self.loads)

    async def alerts(self, request: web.Request) -> web.Response:
        """GET /v1/alerts."""
        return await self._answer(request, ALERTS_ASKED, self._alerts)

    async def loads(self, request: web.Request) -> web.Response:
        """GET /v1/loads."""
        return await self._answer(request, LOADS_ASKED, self._loads)

    async def _answer(
        self, request: web.Request, known: Mapping[str, Parameter], of: Callable[..., Any]
    ) -> web.Response:
        async def asked() -> web.Response:
            body = await of(**{"limit": _USUAL, **parameters(target_of(request)[1], known)})
            return json_reply(body, headers=PRIVATE)

        return await answered(asked(), "list", self._observe)

    async def _alerts(
        self, limit: int, state: str | None = None, told: str | None = None
    ) -> AlertsBody:
        if self.told is None:
            return AlertsBody([], [], None, _now())

        def fits(one: AlertBody) -> bool:
            return state in (None, one.state) and told in (None, one.told)

        items, since = await self._newest(self.told, fits, limit)
        return AlertsBody([*self.told.rules], items, since, _now())

    async def _loads(self, limit: int, state: str | None = None) -> LoadsBody:
        marks: dict[str, str] = {}

        def fits(one: KeptLoad | TakenBackMark) -> bool:
            # What takes a document back is newer, and so it is seen before.
            if isinstance(one, TakenBackMark):
                marks[one.name] = one.by
                return False
            return state in (None, one.body.state)

        found, since = await self._newest(self._loaded, fits, limit)
        items = [
            _taken_back(one.body, marks.get(one.body.document) or marks.get(one.called))
            for one in found
            if isinstance(one, KeptLoad)
        ]
        return LoadsBody(items, since, _now())

    async def _newest(
        self, topic: KeptTopic[T], fits: Callable[[T], bool], limit: int
    ) -> tuple[list[T], str | None]:
        """The newest of each key that fits, and from when on they are all here."""
        partitions = [TopicPartition(topic.name, p) for p in range(topic.partitions)]
        items: list[T] = []
        seen: set[bytes | None] = set()
        async with self._logs.look(partitions) as look:
            ends = await look.ends(partitions)
            budget = Budget(_MAX_READ, time.monotonic() + _READ_S)
            back = Lookback(look, ends, lambda record: _said(topic, record), budget)
            async for key, one in back.newest():
                is_newest = key not in seen
                seen.add(key)
                if is_newest and one is not None and fits(one):
                    items.append(one)
                    if len(items) == limit:
                        break
        since_ms = back.since_ms
        return items, None if since_ms is None else rfc3339(since_ms)


def _said(topic: KeptTopic[T], record: Stored) -> tuple[bytes | None, T | None]:
    """Its key, and what it says: nothing, where it takes the key away."""
    try:
        return record.key, None if record.value is None else topic.read(record)
    except ValueError as error:
        where = f"{record.topic}-{record.partition}@{record.offset}"
        told = f"{where} is of a newer build, or not of ours: {error}."
        raise LogUnavailable(Problem.LOG_UNAVAILABLE, told) from error


def _taken_back(body: LoadBody, by: str | None) -> LoadBody:
    return body if by is None else replace(body, taken_back_by=by)


def _now() -> str:
    return rfc3339(int(time.time() * 1000))
