"""GET /v1/facts and POST /v1/facts/lookup: what became of a fact, each time that it came.

Workers keep no list of facts, so an answer is put together, as far back as each part reaches:

1. The duplicates windows of all owners tell where a fact was accepted. Of all partitions, since
   source and id do not tell one.
2. Each such place is read in Kafka: the window knows a hash, the record says the name. From
   there on the topic-partition is read forward, where a retry lies that changed nothing.
3. The dead letters are read, newest first, for what was refused.

The answer says for each part how far back it looked, and never that a fact was not there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Annotated, TypeAlias

import msgspec
from aiohttp import web
from aiokafka import TopicPartition
from msgspec import UNSET, Struct, UnsetType

from core.positions import Place, format_position
from core.records import Address, Headers
from core.refusals import Refused
from core.window import Seen
from domain.columns import columns, identity_hash_of
from domain.events import MAX_ID_CHARS, StockEvent
from domain.fates import Ending, Fate, fate_of
from domain.naming import SourceAndId, name_of
from domain.rules.held import NEWEST, Ruling
from tables.home.letters import Letter, letter_of
from web.cluster.sightings import Ask, WindowQuestion
from web.http.bodies import BAD_JSON, BodyLimits, json_fault, read_json
from web.http.parameters import (
    BadRequest,
    Parameter,
    parameters,
    target_of,
    wrong,
)
from web.http.problems import Problem, problem
from web.http.replies import PRIVATE, Observe, json_reply
from web.http.times import Time, rfc3339
from web.reads.parameters import LOOKUP
from web.records.logs import Logs, answered
from web.writes.outcomes import outcome_body
from wire.fetch import Stored
from wire.lookback import Budget, Look, Lookback

FACTS_PATH = "/v1/facts"
FACTS_LOOKUP_PATH = "/v1/facts/lookup"
MAX_FACTS = 100
#: How long owners are waited for, and Kafka is read, in seconds.
OWNERS_S = 1.0
_READ_S = 1.5
#: Records read forward for retries, and dead letters read back.
MAX_FORWARD = 50_000
MAX_LETTERS = 20_000

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]


FACTS_LOOKUP: Mapping[str, Parameter] = {"partial": LOOKUP["partial"]}
_IDENTITY = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS}


def _identity(raw: str) -> str:
    if not 1 <= len(raw) <= MAX_ID_CHARS:
        raise ValueError(f"must have 1 to {MAX_ID_CHARS:,} characters, not {len(raw):,}")
    return raw


FACTS: Mapping[str, Parameter] = {
    "source": Parameter(_identity, _IDENTITY, "Who said it.", required=True),
    "id": Parameter(_identity, _IDENTITY, "Which of its facts.", required=True),
    **FACTS_LOOKUP,
}


class FactName(Struct, frozen=True, forbid_unknown_fields=True):
    """Which fact."""

    source: _Text
    id: _Text


class FactsAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of the lookup."""

    facts: Annotated[list[FactName], msgspec.Meta(min_length=1, max_length=MAX_FACTS)]


class TimeBody(Struct, frozen=True, omit_defaults=True):
    """One time that a fact came: a record, and what became of it.

    of, reason, detail: as in the answer to a POST with `outcome=true`. type to quantity: what
    the record says, where that can be read.
    """

    position: str
    recorded_at: Time
    outcome: Ending
    of: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    sku: str | UnsetType = UNSET
    location: str | UnsetType = UNSET
    quantity: int | UnsetType = UNSET


class FactBody(Struct, frozen=True):
    """A fact and each time that was found, oldest first; none found is not "never came"."""

    source: str
    id: str
    times: list[TimeBody]


class LookedBody(Struct, frozen=True):
    """How far back this answer looked.

    accepted_from: facts that were applied are known from these positions on. Records at
    accepted_to and before are handled: what came later may still be missing. repeats_complete:
    whether the log was read from each applied fact to accepted_to for its repetitions.
    refused_since: refused ones are known from this time on; null: as far back as dead letters
    are kept. ledger: who looked; it knows all time. Null: workers alone did.
    """

    accepted_from: str
    accepted_to: str
    repeats_complete: bool
    refused_since: Time | None
    ledger: str | None = None


class FactsBody(Struct, frozen=True):
    """The answer, in the order of the question. missing_partitions: whose owner was not reached."""

    items: list[FactBody]
    missing_partitions: list[int]
    looked: LookedBody
    as_of: Time


class _Found(Struct):
    """What is known so far: times by fact and place, each record once."""

    times: dict[SourceAndId, dict[tuple[str, int, int], TimeBody]]

    def add(self, name: SourceAndId, place: tuple[str, int, int], body: TimeBody) -> None:
        self.times[name][place] = body


#: Facts as a ledger knows them.
OfAllTime: TypeAlias = Callable[[Sequence[SourceAndId]], Awaitable[FactsBody | None]]


async def no_ledger(names: Sequence[SourceAndId]) -> FactsBody | None:
    """Nobody keeps history."""
    return None


class FactFinding:
    """Answers both calls.

    Args:
        ask: `Sightings.ask`.
        logs: to read Kafka.
        roles: of the source topics, by full name.
        partitions: of each topic.
        dead_letters: the topic.
        limits: of a body.
        observe: is told role, outcome and seconds of each answer.
        ruling: by which records are judged.
        of_all_time: asks a ledger for facts; None where none answers.
    """

    def __init__(
        self,
        ask: Ask,
        logs: Logs,
        roles: Mapping[str, str],
        partitions: int,
        dead_letters: str,
        limits: BodyLimits,
        observe: Observe,
        ruling: Ruling,
        of_all_time: OfAllTime = no_ledger,
    ) -> None:
        self._ask, self._logs, self._roles = ask, logs, roles
        self._of_all_time = of_all_time
        self._count, self._limits, self._observe = partitions, limits, observe
        self._ruling = ruling
        self._letters = [TopicPartition(dead_letters, p) for p in range(partitions)]

    def routes(self) -> Iterator[web.RouteDef]:
        """Both."""
        yield web.get(FACTS_PATH, self.answer)
        yield web.post(FACTS_LOOKUP_PATH, self.answer)

    async def answer(self, request: web.Request) -> web.Response:
        """GET for one, POST for many."""
        return await answered(self._answer(request), "found", self._observe)

    async def _answer(self, request: web.Request) -> web.Response:
        query = target_of(request)[1]
        if request.method == "POST":
            values = parameters(query, FACTS_LOOKUP)
            body = await read_json(request, self._limits)
            if isinstance(body, web.Response):
                return body
            names = names_of(body)
        else:
            values = parameters(query, FACTS)
            missing = [name for name in ("source", "id") if name not in values]
            if missing:
                raise BadRequest(*(wrong(name, "must be given") for name in missing))
            names = [(values["source"], values["id"])]
        return await self._find(names, values.get("partial", False))

    async def _find(self, names: Sequence[SourceAndId], partial: bool) -> web.Response:
        known = await self._of_all_time(names)
        if known is None:
            found = await self._look(names, partial)
            return found if isinstance(found, web.Response) else json_reply(found, headers=PRIVATE)
        # The ledger may be a moment behind: what it has not seen, workers may have.
        missing = [(item.source, item.id) for item in known.items if not item.times]
        if missing:
            newer = await self._look(missing, partial=True)
            if isinstance(newer, FactsBody):
                seen = {(item.source, item.id): item for item in newer.items}
                items = [seen.get((item.source, item.id), item) for item in known.items]
                known = msgspec.structs.replace(known, items=items)
        return json_reply(known, headers=PRIVATE)

    async def _look(self, names: Sequence[SourceAndId], partial: bool) -> FactsBody | web.Response:
        """As far as windows and dead letters reach."""
        identities = sorted({identity_hash_of(*name) for name in names})
        told = await self._ask(
            [WindowQuestion(t, p, identities) for t in self._roles for p in range(self._count)],
            OWNERS_S,
        )
        lost = sorted(told.why)
        if lost and not partial:
            detail = told.why[lost[0]]
            return problem(Problem.PARTITIONS_UNAVAILABLE, detail, missing_partitions=lost)
        found = _Found({name: {} for name in names})
        spans = {
            TopicPartition(*place): (seen.entries[0][2], seen.next_offset)
            for place, seen in told.seen.items()
            if seen.entries
        }
        async with self._logs.look([*spans, *self._letters]) as look:
            whole = await self._forward(look, spans, told.seen, found)
            since_ms = await self._refused(look, found)
        looked = LookedBody(
            accepted_from=_token({place: seen.since for place, seen in told.seen.items()}),
            accepted_to=_token({p: s.next_offset - 1 for p, s in told.seen.items()}),
            repeats_complete=whole,
            refused_since=None if since_ms is None else rfc3339(since_ms),
        )
        items = [
            FactBody(*name, sorted(found.times[name].values(), key=lambda one: one.recorded_at))
            for name in names
        ]
        now = rfc3339(int(time.time() * 1000))
        return FactsBody(items, lost, looked, now)

    async def _forward(
        self,
        look: Look,
        spans: Mapping[TopicPartition, tuple[int, int]],
        seen: Mapping[Place, Seen],
        found: _Found,
    ) -> bool:
        """From each accepted fact on; whether all was read."""
        budget = Budget(MAX_FORWARD, time.monotonic() + _READ_S)
        async for record in look.read(spans, budget):
            name = name_of(record.value, record.headers)
            if name in found.times:
                place = record.topic, record.partition
                fate = self._fate(record, seen[place])
                body = _time_body(place, record, fate)
                found.add(name, (*place, record.offset), body)
        return all(look.reached[tp] >= end for tp, (_, end) in spans.items())

    def _fate(self, record: Stored, seen: Seen) -> Fate:
        """As the fold judged it, by its own code."""
        role = self._roles[record.topic]
        address = Address(record.topic, role, record.partition, self._count)
        read = columns(
            address,
            [(record.offset, record.timestamp, record.key, record.value, record.headers)],
            self._ruling.now,
        )
        for letter in read.refused:
            return Fate(Ending.REFUSED, refused=Refused(letter.reason, letter.detail))
        event = read.events[0]
        return fate_of(seen, record.offset, int(event["identity"]), int(event["content"]))

    async def _refused(self, look: Look, found: _Found) -> int | None:
        """From the dead letters; the time since which they were looked at."""
        ends = await look.ends(self._letters)
        budget = Budget(MAX_LETTERS, time.monotonic() + _READ_S)

        def wanted(record: Stored) -> Letter | None:
            letter = letter_of(record)  # None: somebody else wrote it
            if letter is None or (name := name_of(letter.value, letter.headers)) is None:
                return None
            return letter if name in found.times else None

        back = Lookback(look, ends, wanted, budget)
        async for letter in back.newest():
            name = name_of(letter.value, letter.headers)
            assert name is not None
            body = TimeBody(
                letter.position, rfc3339(letter.recorded_ms), Ending.REFUSED,
                UNSET, letter.reason, letter.detail, *_said(letter.value, letter.headers),
            )  # fmt: skip
            found.add(name, (letter.topic, letter.partition, letter.offset), body)
            await asyncio.sleep(0)
        return back.since_ms


def names_of(body: bytes) -> list[SourceAndId]:
    """Which facts the body of a lookup asks for, each once.

    Raises:
        BadRequest: it is no such body.
    """
    try:
        asked = msgspec.json.decode(body, type=FactsAsked)
    except BAD_JSON as error:
        shape = f'{{"facts": [{{"source": …, "id": …}}, …]}}, 1 to {MAX_FACTS}'
        raise BadRequest(wrong("body", f"must be {shape} ({json_fault(error)})")) from error
    return list(dict.fromkeys((fact.source, fact.id) for fact in asked.facts))


def _time_body(place: Place, record: Stored, fate: Fate) -> TimeBody:
    what = msgspec.structs.astuple(outcome_body(place, fate))
    position = format_position({place: record.offset})
    said = _said(record.value, record.headers)
    return TimeBody(position, rfc3339(record.timestamp), *what, *said)


def _said(value: bytes | None, headers: Headers) -> tuple[str, str, str, int] | tuple[()]:
    """Type, SKU, location and quantity, where the record can be read."""
    event: StockEvent | Refused = NEWEST.decode(value, headers)
    if isinstance(event, Refused):
        return ()
    kind = type(event).__struct_config__.tag
    return str(kind), event.data.sku, event.data.location, event.data.quantity


def _token(offsets: Mapping[Place, int]) -> str:
    return format_position({place: offset for place, offset in offsets.items() if offset >= 0})
