"""POST: check every line, append all or nothing, answer with positions.

Nothing is decided here. A line becomes the CloudEvent that goes to the topic, and that is
read back by the decoder that the fold uses: what is appended is never refused later, save
for an id that was used before for another fact.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Literal, cast

import msgspec
from aiohttp import web
from msgspec import UNSET, Raw, Struct, UnsetType

from core.partitioning import partition_for
from core.positions import Place, format_one, format_position
from core.refusals import Refused
from domain.events import Refusal, StockEvent, check_names, content
from domain.fates import Ending
from domain.modes import Media, media_of
from domain.rules.held import Ruling
from web.access.access import missing_scope
from web.access.callers import CALLER
from web.cluster.admission import DEFAULT_WAIT_S, MAX_WAIT_S, MAX_WAITERS
from web.http.bodies import BAD_JSON, BodyLimits, read_json
from web.http.parameters import (
    BadRequest,
    Parameter,
    boolean,
    number,
    parameters,
    target_of,
    wrong,
)
from web.http.problems import Fault, Problem, problem
from web.http.replies import JSON, Handler, json_reply
from web.writes.appending import Outgoing, Receipt
from web.writes.arrays import Fact, PlainLines
from web.writes.lines import (
    BATCH_JSON,
    EVENT_JSON,
    MISSING_IDENTITY,
    SLICE_LINES,
    TYPE_OF_PATH,
    Posted,
    PostedEvents,
    PostedLines,
    as_structured,
    content_type_of,
    is_binary_request,
    ranks_of,
    said_by,
)
from web.writes.outcomes import OutcomeBody
from web.writes.turns import TooLate

OutcomesOf = Callable[[Sequence[Outgoing], Sequence[int], float], Awaitable[Sequence[OutcomeBody]]]

POST: Mapping[str, Parameter] = {
    "outcome": Parameter(
        boolean,
        {"type": "boolean"},
        "Wait until the events are counted or refused, and say which; still 202.",
    ),
    "wait_ms": number(0, int(MAX_WAIT_S * 1000), "How long to wait for it; 1,000 by default."),
}


class FactLimits(Struct, frozen=True):
    """Bounds on one POST.

    event_bytes: an event as it goes to the topic; well below `max.message.bytes`.
    """

    body: BodyLimits = BodyLimits()
    lines: int = 1000
    event_bytes: int = 256 * 1024


class AppendedBody(Struct, frozen=True, omit_defaults=True, gc=False):
    """One event that is in the log, at this position; the rest only with `outcome=true`.

    outcome: what became of it. of: position of the event that it repeats. reason, detail: why
    it was refused; for an unknown outcome, detail says why it cannot be said.
    """

    id: str
    position: str
    outcome: Ending | UnsetType = UNSET
    of: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class EventBody(Struct, frozen=True, omit_defaults=True, gc=False):
    """503: what is known of one event; none is known to be out."""

    id: str
    status: Literal["appended", "unknown"]
    position: str | UnsetType = UNSET


class AcceptedBody(Struct, frozen=True):
    """202: all are in, in the order of the lines. `position`: the furthest of each partition."""

    accepted: int
    events: list[AppendedBody]
    position: str


TOO_LARGE = "too_large"
NOT_ALLOWED = "not_allowed"
_lines = msgspec.json.Decoder(list[Raw])
_any = msgspec.json.Decoder(Raw)


class Facts:
    """The six POST routes.

    `append` is `Appender.append`; `topics` full names by role; `observe` is told the outcome
    and the seconds of each append; `outcomes` is `Outcomes.of`. `ruling`: by which they are
    checked.
    """

    def __init__(
        self,
        append: Callable[[Sequence[Outgoing]], Awaitable[Receipt]],
        topics: Mapping[str, str],
        partitions: int,
        limits: FactLimits,
        ruling: Ruling,
        observe: Callable[[str, float], None] = lambda outcome, seconds: None,
        outcomes: OutcomesOf | None = None,
    ) -> None:
        self._append = append
        self._limits = limits
        self._topics = topics
        self._partitions = partitions
        self._plain = PlainLines(ruling, topics, partitions, limits.event_bytes)
        self._ruling = ruling
        self._observe = observe
        self._outcomes = outcomes
        #: Requests that are appended and wait for what became of their events.
        self.waiting = 0

    def routes(self) -> Iterator[web.RouteDef]:
        """Path by path."""
        for path, kind in TYPE_OF_PATH.items():
            yield web.post(path, self._lines_handler(kind))
        yield web.post("/v1/events", self.events)

    def _lines_handler(self, kind: str) -> Handler:
        async def post(request: web.Request) -> web.StreamResponse:
            wait_s = _outcome_wait_s(request)
            if isinstance(wait_s, web.Response):
                return wait_s
            key = _idempotency_key(request)
            if isinstance(key, web.Response):
                return key
            body = await read_json(request, self._limits.body)
            if isinstance(body, web.Response):
                return body
            lines = self._split(body)
            if isinstance(lines, web.Response):
                return lines
            ranks = [] if key is None else await ranks_of(lines)
            return await self._take(lines, PostedLines(kind, key, ranks), wait_s)

        return post

    async def events(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/events: CloudEvents, in structured mode appended byte for byte."""
        wait_s = _outcome_wait_s(request)
        if isinstance(wait_s, web.Response):
            return wait_s
        body = await self._events_of(request)
        lines = body if isinstance(body, web.Response) else self._split(body)
        if isinstance(lines, web.Response):
            return lines
        return await self._take(lines, PostedEvents(), wait_s)

    async def _events_of(self, request: web.Request) -> bytes | web.Response:
        """The body, or the one event that headers and body make together."""
        if is_binary_request(request):
            media = content_type_of(request)
            named = media_of(media) is Media.JSON and request.content_type
            data = await read_json(request, self._limits.body, (named or JSON, JSON))
            if isinstance(data, web.Response):
                return data
            event = as_structured(request, data)
            return problem(Problem.INVALID_REQUEST, event) if isinstance(event, str) else event
        body = await read_json(request, self._limits.body, (EVENT_JSON, BATCH_JSON))
        if isinstance(body, web.Response):
            return body
        is_batch = request.content_type == BATCH_JSON
        if is_batch != (body.lstrip()[:1] == b"["):
            wanted = "an array of events" if is_batch else "one event, a JSON object"
            detail = f"{request.content_type} holds {wanted}."
            return problem(Problem.INVALID_REQUEST, detail)
        return body

    def _split(self, body: bytes) -> list[Raw] | web.Response:
        try:
            lines = _lines.decode(body) if body.lstrip()[:1] == b"[" else [_any.decode(body)]
        except BAD_JSON as error:
            return problem(Problem.INVALID_REQUEST, f"The body is not JSON: {error}.")
        if not 1 <= len(lines) <= self._limits.lines:
            detail = f"A request holds 1 to {self._limits.lines:,} events, not {len(lines):,}."
            return problem(Problem.INVALID_REQUEST, detail)
        return lines

    async def _take(
        self, lines: Sequence[Raw], posted: Posted, outcome_wait_s: float | None
    ) -> web.Response:
        """Check all, append all, answer; wait for what became of them if asked to."""
        facts = await self._plain.all(lines, posted)
        if facts is None:
            facts, errors = await self._check(lines, posted)
            if errors:
                return _invalid(errors, len(lines))
        began = time.perf_counter()
        records = [fact.record for fact in facts]
        try:
            receipt = await self._append(records)
        except TooLate as late:
            return problem(Problem.TOO_BUSY, str(late))
        outcome = "appended" if receipt.trouble is None else "unknown"
        self._observe(outcome, time.perf_counter() - began)
        outcomes: Sequence[OutcomeBody] = ()
        if outcome_wait_s is not None and receipt.trouble is None and self._outcomes is not None:
            offsets = cast("list[int]", receipt.offsets)
            outcomes = await self._wait_for(self._outcomes, records, offsets, outcome_wait_s)
        return reply_of(facts, receipt, outcomes)

    async def _wait_for(
        self, of: OutcomesOf, records: Sequence[Outgoing], offsets: Sequence[int], wait_s: float
    ) -> Sequence[OutcomeBody]:
        """What became of them. Whoever is one too many gets what is known at once."""
        may_wait = self.waiting < MAX_WAITERS
        self.waiting += 1
        try:
            return await of(records, offsets, wait_s if may_wait else 0.0)
        finally:
            self.waiting -= 1

    def one(self, body: bytes, posted: Posted) -> Fact | None:
        """The only line of a body, checked as all are; None where anything is wrong with it."""
        try:
            raw = _any.decode(body)
        except BAD_JSON:
            return None
        if plain := self._plain.some([raw], posted):
            return plain[0]
        value = posted.event(raw, 1)
        if isinstance(value, Fault):
            return None
        [outcome] = self._ruling.now.decode_batch([value], [()])
        fact = self._judge(1, value, outcome, posted, {})
        return None if isinstance(fact, Fault) else fact

    async def _check(self, lines: Sequence[Raw], posted: Posted) -> tuple[list[Fact], list[Fault]]:
        facts: list[Fact] = []
        errors: dict[int, Fault] = {}
        seen: dict[tuple[str, str], tuple[int, StockEvent]] = {}
        for start in range(0, len(lines), SLICE_LINES):
            if start:
                await asyncio.sleep(0)
            values: dict[int, bytes] = {}
            for line, raw in enumerate(lines[start : start + SLICE_LINES], start + 1):
                value = posted.event(raw, line)
                if isinstance(value, Fault):
                    errors[line] = value
                else:
                    values[line] = value
            outcomes = self._ruling.now.decode_batch(list(values.values()), [()] * len(values))
            for (line, value), outcome in zip(values.items(), outcomes, strict=True):
                fact = self._judge(line, value, outcome, posted, seen)
                if isinstance(fact, Fault):
                    errors[line] = fact
                else:
                    facts.append(fact)
        return facts, [errors[line] for line in sorted(errors)]

    def _judge(
        self,
        line: int,
        value: bytes,
        outcome: StockEvent | Refused,
        posted: Posted,
        seen: dict[tuple[str, str], tuple[int, StockEvent]],
    ) -> Fact | Fault:
        if not isinstance(outcome, Refused):
            outcome = check_names(outcome.data.sku, outcome.data.location) or outcome
        fault = posted.fault(value, outcome)
        if fault is not None:
            return Fault(line=line, reason=fault[0], detail=fault[1])
        assert not isinstance(outcome, Refused)
        if len(value) > self._limits.event_bytes:
            limit = self._limits.event_bytes
            detail = f"The event is larger than {limit:,} bytes."
            return Fault(line=line, reason=TOO_LARGE, detail=detail)
        first, same = seen.setdefault((outcome.source, outcome.id), (line, outcome))
        if same is not outcome and content(same) != content(outcome):
            detail = f"Its source and id are those of line {first}, which says something else."
            return Fault(line=line, reason=Refusal.ID_CONFLICT, detail=detail)
        caller = CALLER.get()
        if caller is not None:
            if (why := caller.may_write(outcome.source, outcome.data.location)) is not None:
                return Fault(line=line, reason=NOT_ALLOWED, detail=why)
            value = said_by(caller.name, value)
        key = outcome.data.sku.encode()
        topic = self._topics[outcome.role]
        record = Outgoing(topic, partition_for(key, self._partitions), key, value)
        return Fact(outcome.source, outcome.id, record)


def _outcome_wait_s(request: web.Request) -> float | web.Response | None:
    """How long to wait for outcomes, in seconds; None where they are not asked for."""
    if "?" not in request.raw_path:
        return None
    try:
        values = parameters(target_of(request)[1], POST)
        if not values.get("outcome", False):
            if "wait_ms" in values:
                raise BadRequest(wrong("wait_ms", "says how long to wait for outcome=true"))
            return None
    except BadRequest as bad:
        return bad.reply()
    return float(values["wait_ms"] / 1000) if "wait_ms" in values else DEFAULT_WAIT_S


def _idempotency_key(request: web.Request) -> str | web.Response | None:
    """The header as it stands, quotes and all; it is a name, not a value to read."""
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys:
        return None
    key = keys[0]
    if len(keys) > 1 or not 1 <= len(key) <= 255 or not (key.isascii() and key.isprintable()):
        detail = "Idempotency-Key is one header of 1 to 255 printable ASCII characters."
        return problem(Problem.INVALID_REQUEST, detail)
    return key


def _invalid(errors: Sequence[Fault], count: int) -> web.Response:
    """400: names every bad line. Only identities missing is a problem of its own."""
    lines = f"{len(errors):,} of {count:,}"
    if all(error.reason == NOT_ALLOWED for error in errors):
        detail = f"Nothing was appended: {lines} lines are not for this token to write."
        return missing_scope(detail, errors=errors)
    if all(error.reason == MISSING_IDENTITY for error in errors):
        detail = f"Without source and id, a retry would be counted twice: {lines} lines lack them."
        return problem(Problem.MISSING_IDENTITY, detail, errors=errors)
    first = f"line {errors[0].line}: {errors[0].detail}"
    detail = f"Nothing was appended: {lines} lines are bad. The first is {first}"
    return problem(Problem.INVALID_REQUEST, detail, errors=errors)


def reply_of(
    facts: Sequence[Fact], receipt: Receipt, outcomes: Sequence[OutcomeBody]
) -> web.Response:
    """202 with positions, or 503 that says of each event what is known."""
    furthest: dict[Place, int] = {}
    positions: list[str | None] = []
    for fact, offset in zip(facts, receipt.offsets, strict=True):
        here = (fact.record.topic, fact.record.partition)
        if offset is not None and offset >= furthest.get(here, offset):
            furthest[here] = offset
        positions.append(None if offset is None else format_one(here, offset))
    if receipt.trouble is None:
        sure = [
            AppendedBody(fact.id, position)
            for fact, position in zip(facts, positions, strict=True)
            if position is not None
        ]
        if outcomes:
            sure = [
                AppendedBody(one.id, one.position, *msgspec.structs.astuple(what))
                for one, what in zip(sure, outcomes, strict=True)
            ]
        return json_reply(AcceptedBody(len(sure), sure, format_position(furthest)), status=202)
    each = [
        EventBody(fact.id, "unknown" if position is None else "appended", position or UNSET)
        for fact, position in zip(facts, positions, strict=True)
    ]
    name = Problem.APPEND_INCOMPLETE if furthest else Problem.APPEND_FAILED
    known = len(positions) - positions.count(None)
    detail = f"{receipt.trouble} {known:,} of {len(each):,} events are known to be in the log."
    return problem(name, detail, events=each)
