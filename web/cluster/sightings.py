"""Ask a partition's owner what its duplicates windows hold: here, or by one hop.

Only the owner has a window in memory, so no standby is ever asked. `POST /v1/sightings` is
how one worker asks another. It speaks of hashes, which mean something under one number of
the rules alone: an owner with other rules says so instead of an answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Annotated

import msgspec
from aiohttp import web

from core.positions import Place
from core.window import IDENTITY_BITS, Seen
from domain.rules.held import Ruling
from tables.reading import Reading
from web.cluster.admission import MAX_WAIT_S
from web.cluster.exchange import PeerFailed
from web.cluster.peers import Peers, hop_headers, is_for_another_version, post
from web.cluster.roster import Roster
from web.http.bodies import BAD_JSON, BodyLimits, read_json
from web.http.parameters import BadRequest, wrong
from web.http.problems import Problem, problem
from web.http.replies import json_reply

SIGHTINGS_PATH = "/v1/sightings"
#: How long to wait until the owner is asked again, or looked for again. An owner that moves
#: takes longer; one that was just heard of should not.
AGAIN_S = 0.1
#: Besides the wait that was asked for: the way to the owner and back.
HOP_S = 1.0
#: Identities looked up before the loop gets a turn: about 1 ms.
IDENTITIES_AT_ONCE = 200
MAX_IDENTITIES = 1000
MAX_TOPICS = 1000

Identity = Annotated[int, msgspec.Meta(ge=0, lt=2**IDENTITY_BITS)]


class WindowQuestion(msgspec.Struct, frozen=True):
    """What is asked of one topic-partition.

    identities: as `domain/columns.py` makes them. until: wait until this offset is handled;
    -1 waits for nothing.
    """

    topic: str
    partition: int
    identities: list[Identity]
    until: int = -1


class SightingsAsked(msgspec.Struct, frozen=True):
    """The body of the hop. wait_ms: for the offsets in `until`, all at the same time."""

    rules: int
    wait_ms: Annotated[int, msgspec.Meta(ge=0, le=int(MAX_WAIT_S * 1000))]
    questions: list[WindowQuestion]


class Sighting(msgspec.Struct, frozen=True):
    """What the owner knows of one topic-partition; see `domain.fates.Seen`."""

    topic: str
    partition: int
    seen: Seen


class SightingsBody(msgspec.Struct, frozen=True):
    """The answer: of partitions that this worker owns; what it does not own is not in it."""

    worker: str
    rules: int
    sightings: list[Sighting]


class Told(msgspec.Struct, frozen=True):
    """seen: by place. why: for each partition without an answer, one sentence."""

    seen: Mapping[Place, Seen]
    why: Mapping[int, str]


class Sightings:
    """Asks owners, and answers as one."""

    def __init__(
        self,
        table: Reading,
        roster: Roster,
        peers: Peers,
        url: str,
        version: int,
        limits: BodyLimits,
        ruling: Ruling,
    ) -> None:
        self._table, self._roster, self._peers = table, roster, peers
        self._url, self._version, self._limits = url, version, limits
        self._ruling = ruling

    @property
    def _rules(self) -> int:
        return self._ruling.now.number

    def routes(self) -> Iterator[web.RouteDef]:
        """The hop."""
        yield web.post(SIGHTINGS_PATH, self.answer)

    async def ask(self, questions: Sequence[WindowQuestion], wait_s: float) -> Told:
        """Ask the owner of each partition, again and again while there is time.

        Args:
            questions: any number for each partition.
            wait_s: how long to wait for `until` of each, and for an owner.
        """
        until = time.monotonic() + wait_s
        by_partition: dict[int, list[WindowQuestion]] = {}
        for question in questions:
            by_partition.setdefault(question.partition, []).append(question)
        answers = await asyncio.gather(
            *(self._of_owner(p, some, until) for p, some in by_partition.items())
        )
        seen: dict[Place, Seen] = {}
        why: dict[int, str] = {}
        for partition, answer in zip(by_partition, answers, strict=True):
            if isinstance(answer, str):
                why[partition] = answer
            else:
                seen |= answer
        return Told(seen, why)

    async def _of_owner(
        self, partition: int, questions: Sequence[WindowQuestion], until: float
    ) -> Mapping[Place, Seen] | str:
        """One partition's answer; or why there is none, in one sentence."""
        best: Mapping[Place, Seen] | str = f"Nobody is known to own partition {partition} now."
        while True:
            left_s = max(0.0, until - time.monotonic())
            owner = self._roster.owner(partition)
            if (here := await self._here(questions, left_s)) is not None:
                best = here
            elif owner is not None:
                answer = await self._there(owner.url, questions, left_s)
                if not isinstance(answer, str) or isinstance(best, str):
                    best = answer
            if not isinstance(best, str) and _is_whole(questions, best):
                return best
            left_s = until - time.monotonic()
            if left_s <= 0:
                return best
            await asyncio.sleep(min(AGAIN_S, left_s))

    async def _here(
        self, questions: Sequence[WindowQuestion], wait_s: float
    ) -> dict[Place, Seen] | None:
        """None where this worker does not own the partition of these."""
        partition = questions[0].partition
        if self._table.seen(partition, questions[0].topic, []) is None:
            return None
        offsets = {q.topic: q.until for q in questions if q.until >= 0}
        await self._table.reached(partition, offsets, wait_s)
        found: dict[Place, Seen] = {}
        for question in questions:
            seen = await self._look(question)
            if seen is None:
                return None
            found[question.topic, partition] = seen
        return found

    async def _look(self, question: WindowQuestion) -> Seen | None:
        """One topic-partition, in pieces; None if the partition left meanwhile."""
        whole: Seen | None = None
        for start in range(0, max(1, len(question.identities)), IDENTITIES_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            some = question.identities[start : start + IDENTITIES_AT_ONCE]
            seen = self._table.seen(question.partition, question.topic, some)
            if seen is None:
                return None
            # What is true of every piece: positions and windows move on between them.
            whole = seen if whole is None else _both(whole, seen)
        return whole

    async def _there(
        self, url: str, questions: Sequence[WindowQuestion], wait_s: float
    ) -> dict[Place, Seen] | str:
        asked = SightingsAsked(self._rules, int(min(wait_s, MAX_WAIT_S) * 1000), list(questions))
        request = post(
            url, SIGHTINGS_PATH, {}, hop_headers(self._version), msgspec.json.encode(asked)
        )
        try:
            async with asyncio.timeout(wait_s + HOP_S):
                answer = await self._peers.ask(url, request, waits=wait_s > 0)
            if answer.status != 200:
                return f"The owner at {url} answered {answer.status}."
            body = msgspec.json.decode(answer.body, type=SightingsBody)
        except (PeerFailed, TimeoutError, *BAD_JSON) as error:
            return f"The owner at {url} did not answer ({str(error) or 'in time'})."
        if body.rules != self._rules:
            return f"The owner at {url} counts by other rules."
        found = {(one.topic, one.partition): one.seen for one in body.sightings}
        if not all((q.topic, q.partition) in found for q in questions):
            return f"The worker at {url} does not own partition {questions[0].partition} any more."
        return found

    # ---- as the owner

    async def answer(self, request: web.Request) -> web.Response:
        """POST /v1/sightings: what of it this worker owns."""
        if is_for_another_version(request.headers, self._version):
            return problem(Problem.NOT_READY, f"This worker is of version {self._version}.")
        body = await read_json(request, self._limits)
        if isinstance(body, web.Response):
            return body
        try:
            asked = _read(body)
        except BadRequest as bad:
            return bad.reply()
        if asked.rules != self._rules:
            detail = f"This worker counts by rules {self._rules}, the question is by {asked.rules}."
            return problem(Problem.NOT_READY, detail)
        wait_s = asked.wait_ms / 1000
        by_partition: dict[int, list[WindowQuestion]] = {}
        for question in asked.questions:
            by_partition.setdefault(question.partition, []).append(question)
        found = await asyncio.gather(*(self._here(q, wait_s) for q in by_partition.values()))
        sightings = [
            Sighting(topic, partition, seen)
            for each in found
            if each is not None
            for (topic, partition), seen in each.items()
        ]
        return json_reply(SightingsBody(self._url, self._rules, sightings))


def _read(body: bytes) -> SightingsAsked:
    try:
        asked = msgspec.json.decode(body, type=SightingsAsked)
    except BAD_JSON as error:
        raise BadRequest(wrong("body", f"is not what workers ask each other ({error})")) from error
    most = max((len(question.identities) for question in asked.questions), default=0)
    if len(asked.questions) > MAX_TOPICS or most > MAX_IDENTITIES:
        raise BadRequest(wrong("body", f"asks for more than {MAX_IDENTITIES:,} identities"))
    return asked


def _both(one: Seen, other: Seen) -> Seen:
    """What two looks at one topic-partition, one after the other, say together."""
    return Seen(
        min(one.next_offset, other.next_offset),
        max(one.since, other.since),
        one.size,
        [*one.entries, *other.entries],
    )


def _is_whole(questions: Sequence[WindowQuestion], seen: Mapping[Place, Seen]) -> bool:
    """Whether each place is handled as far as was asked."""
    return all(seen[q.topic, q.partition].next_offset > q.until for q in questions)


Ask = Callable[[Sequence[WindowQuestion], float], Awaitable[Told]]
