"""What other workers know, asked while Kafka says nothing: the record, and how far they are.

A worker that is cut off from Kafka hears neither a new record nor a heartbeat. Others may be
better off: it asks all that it knows, so that it goes over to another version with them, and
does not answer from the old one for as long as the cut lasts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec
from aiohttp import web
from msgspec import Raw, Struct
from msgspec.structs import replace

from core.stages import Role
from core.versions import to_bytes
from tables.tasks import Tasks
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.heartbeats import Claim, Heartbeat, WorkerState
from web.cluster.peers import Peers, get
from web.cluster.roster import WorkerView
from web.http.bodies import BAD_JSON
from web.http.replies import PRIVATE, json_reply
from web.versions.view import VersionView

log = logging.getLogger(__name__)

UPGRADE_PATH = "/v1/upgrade"
#: Heartbeats come twice a second: with none for so long Kafka has nothing to say.
QUIET_S = 1.2
EVERY_S = 0.4
_ANSWER_S = 1.0


class RecordBody(Struct, frozen=True):
    """One record of versions. recorded_ms: when the broker took it, ms since the epoch."""

    offset: int
    recorded_ms: int
    record: Raw


class OwnedBody(Struct, frozen=True):
    """A partition that this worker owns, and how far it has counted it."""

    partition: int
    position: str


class UpgradeBody(Struct, frozen=True):
    """The record of versions as this worker has read it, and how far it is.

    version: of this worker. records: all, oldest first.
    """

    version: int
    records: list[RecordBody]
    owned: list[OwnedBody]


class Neighbours:
    """Asks them, and answers as one.

    Args:
        view: of the record; it is told of records that it does not have.
        workers: all that are known, this one as it is now. others: the same without this one.
        is_quiet: whether Kafka has said nothing for so many seconds.
        peers: to ask with.
    """

    def __init__(
        self,
        view: VersionView,
        workers: Callable[[], Sequence[WorkerView]],
        others: Callable[[], Sequence[WorkerView]],
        is_quiet: Callable[[float], bool],
        peers: Peers,
    ) -> None:
        self._view, self._known, self._others, self._is_quiet = view, workers, others, is_quiet
        self._peers = peers
        self._told: dict[str, UpgradeBody] = {}
        self._tasks = Tasks()

    def routes(self) -> Iterator[web.RouteDef]:
        """The call."""
        yield web.get(UPGRADE_PATH, self.answer)

    def start(self) -> None:
        """Ask whenever Kafka is quiet."""
        self._tasks.keep(self._ask, "neighbours", EVERY_S)

    async def stop(self) -> None:
        """Ask no more. May be called twice."""
        await self._tasks.cancel()

    def workers(self) -> list[WorkerView]:
        """All that are known: as their heartbeats say, or as they have said themselves since."""
        return self._as_now(self._known())

    def others(self) -> list[WorkerView]:
        """The same without this one."""
        return self._as_now(self._others())

    def _as_now(self, views: Sequence[WorkerView]) -> list[WorkerView]:
        told = self._told
        if not told:
            return [*views]
        return [
            view if (said := told.get(view.beat.url)) is None else _as_told(view, said)
            for view in views
        ]

    async def answer(self, request: web.Request) -> web.Response:
        """GET: what this worker knows of versions."""
        records = [
            RecordBody(entry.offset, entry.log_ms, Raw(to_bytes(entry.versions)))
            for entry in self._view.entries
        ]
        mine = next(view.beat for view in self._known() if view.this)
        owned = [
            OwnedBody(claim.partition, claim.position)
            for claim in mine.claims
            if claim.role == Role.ACTIVE
        ]
        return json_reply(UpgradeBody(self._view.version, records, owned), headers=PRIVATE)

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            if not self._is_quiet(QUIET_S):
                self._told = {}
                continue
            others = (view.beat for view in self._others())
            asked = [beat for beat in others if beat.state is not WorkerState.GONE]
            bodies = await asyncio.gather(*(self._ask_one(beat) for beat in asked))
            answers = zip(asked, bodies, strict=True)
            self._told = {beat.url: body for beat, body in answers if body is not None}

    async def _ask_one(self, beat: Heartbeat) -> UpgradeBody | None:
        with suppress(PeerFailed, TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                answer = await self._peers.ask(beat.url, get(beat.url, UPGRADE_PATH, {}, ""))
            if (body := upgrade_body(answer)) is not None:
                self._view.learn((bytes(r.record), r.offset, r.recorded_ms) for r in body.records)
                return body
        return None


def upgrade_body(answer: PeerAnswer) -> UpgradeBody | None:
    """What a worker said of itself; None: it said nothing that can be read."""
    if answer.status == 200:
        with suppress(*BAD_JSON):
            return msgspec.json.decode(answer.body, type=UpgradeBody)
    return None


def _as_told(view: WorkerView, said: UpgradeBody) -> WorkerView:
    claims = tuple(
        Claim(one.partition, "active", Role.ACTIVE, position=one.position) for one in said.owned
    )
    return replace(view, beat=replace(view.beat, version=said.version, claims=claims))
