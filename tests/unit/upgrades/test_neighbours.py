"""A worker that hears nothing from Kafka learns from others which version is active."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from core.stages import Role
from core.versions import VersionBegun, Versions, promote, stage, to_bytes
from dev.workers import Late, until
from tests.support.breaking.mutated import MUTATIONS
from tests.support.inputs.builders import an_active_version
from web.cluster.heartbeats import Claim, Heartbeat, WorkerState
from web.cluster.peers import Peers
from web.cluster.roster import WorkerView
from web.versions import neighbours
from web.versions.neighbours import Neighbours
from web.versions.view import VersionView

DEADLINE_S = 30


def record(view: VersionView, after: Versions) -> None:
    assert view._history.take(to_bytes(after), len(view.entries), 0) is None


class Stand:
    """Two workers; the first one is cut off from Kafka, the second one is not."""

    def __init__(self) -> None:
        self.first, self.second = an_active_version(1), an_active_version(2)
        # Of one deployment: both have read the same beginning.
        self.second._history.entries[:] = self.first.entries
        self.is_quiet = True
        self.peers = Peers()
        self.beats = {1: self._beat(1, "http://a:1", "sales-0@3"), 2: self._beat(2, "", "")}
        self.here = self._neighbours(self.first, 1)
        self.there = self._neighbours(self.second, 2)

    def _beat(self, version: int, url: str, position: str) -> Heartbeat:
        claim = Claim(0, "active", Role.ACTIVE, position=position)
        return Heartbeat(version, 2, "b", url, str(version), 1, claims=(claim,))

    def _neighbours(self, view: VersionView, this: int) -> Neighbours:
        def workers() -> list[WorkerView]:
            return [WorkerView(b, True, True, 0.0, v == this) for v, b in self.beats.items()]

        def others() -> list[WorkerView]:
            return [one for one in workers() if not one.this]

        return Neighbours(view, workers, others, lambda seconds: self.is_quiet, self.peers)

    def says(self, version: int, position: str, state: WorkerState = WorkerState.RUNNING) -> None:
        claim = Claim(0, "active", Role.ACTIVE, position=position)
        self.beats[version] = replace(self.beats[version], claims=(claim,), state=state)

    def position_of(self, version: int) -> str:
        view = next(v for v in self.here.workers() if v.beat.version == version)
        return view.beat.claims[0].position


@pytest.fixture
async def stand(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stand]:
    monkeypatch.setattr(neighbours, "EVERY_S", 0.01)
    stand, app = Stand(), web.Application()
    app.add_routes([*stand.there.routes()])
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        stand.beats[2] = replace(stand.beats[2], url=url)
        stand.here.start()
        try:
            yield stand
        finally:
            await stand.here.stop()
            await stand.peers.close()


async def met(condition: Callable[[], object]) -> None:
    async def so() -> bool:
        return bool(condition())

    await until(so, "met", DEADLINE_S, every_s=0.01)


async def test_records_that_only_others_have_read_are_learned_and_told(stand: Stand) -> None:
    told: list[int | None] = []
    stand.first.listeners.append(lambda: told.append(stand.first.epoch))
    staged = stage(stand.second.entries[-1].versions, 2, VersionBegun(2, 100_000))
    record(stand.second, staged)
    record(stand.second, promote(staged, 2))

    await met(lambda: stand.first.epoch == 3)

    assert told == [3]
    assert [entry.versions for entry in stand.first.entries] == [
        entry.versions for entry in stand.second.entries
    ]


async def test_who_asks_nobody_would_learn_nothing(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.DEADLINE_S", 0.5)
    await stand.here.stop()
    MUTATIONS["no-neighbours"](monkeypatch.setattr)
    stand.here.start()
    with pytest.raises(Late):
        await test_records_that_only_others_have_read_are_learned_and_told(stand)


async def test_how_far_others_are_is_what_they_say_now_not_their_last_heartbeat(
    stand: Stand,
) -> None:
    stand.says(2, "sales-0@41")
    await met(lambda: stand.here._told)
    assert stand.position_of(2) == "sales-0@41"

    stand.beats[2] = replace(stand.beats[2], claims=())  # the last that was heard of it
    stand.is_quiet = False

    await met(lambda: not stand.here._told)
    assert stand.here.workers()[1].beat.claims == ()


async def test_nobody_is_asked_while_kafka_speaks_nor_who_has_said_goodbye(stand: Stand) -> None:
    stand.is_quiet = False
    record(stand.second, stage(stand.second.entries[-1].versions, 2, VersionBegun(2, 1)))
    await asyncio.sleep(0.1)
    stand.says(2, "", WorkerState.GONE)
    stand.is_quiet = True
    await asyncio.sleep(0.1)

    assert stand.first.epoch == 1
