"""A switch that is built wrong is found out: each guard is taken away, and the verdict says so.

The door and the switch are real, the other version is played. The same with real workers is in
tests/torture/upgrades/test_long_upgrades.py.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from core.positions import format_position, parse_position
from core.stages import Role
from core.versions import promote, stage, to_bytes
from dev.reads.answers import Answer
from dev.switches.verdicts import Moved, judge_switches
from tests.support.breaking.mutated import MUTATIONS
from tests.support.inputs.builders import an_active_version
from tests.unit.upgrades.test_switch_verdicts import KEY, oracles, row
from tests.unit.web.fakes import FakeTable
from web.cluster.admission import Admission
from web.cluster.exchange import PeerAnswer
from web.cluster.heartbeats import Claim, Heartbeat
from web.cluster.roster import WorkerView
from web.http.bodies import BodyLimits
from web.versions import switch as switches
from web.versions.door import Door
from web.versions.switch import Switch

PLACE = ("sales", 0)
#: What worker a (version 1) has counted and told; worker c (version 2) is behind at first.
TOLD, BEHIND = 1, 0
OLD, NEW = 2, 3  # epochs: version 2 staged, version 2 active


class Play:
    """Worker a, of version 1, as a door; and c, of version 2, which is asked by it."""

    def __init__(self) -> None:
        self.view, table = an_active_version(1), FakeTable(1)
        self.table, self.admission = table, Admission(table, ["sales"])
        self.at = BEHIND
        peers: Any = self
        self.switch = Switch(self.view, table, self.admission, self.workers, peers)
        args = (self.view, self.switch, table, self.admission, peers, self.workers, BodyLimits())
        self.door = Door(*args)
        self.answers: list[Answer] = []
        self.switch.start()
        self.record(stage)

    def record(self, move: Any) -> None:
        last = self.view.last
        assert last is not None
        begun = (last.versions["1"],) if move is stage else ()
        self.view.learn([(to_bytes(move(last, 2, *begun)), last.epoch, 0)])

    def workers(self) -> list[WorkerView]:
        claim = Claim(0, "active", Role.ACTIVE, position=f"sales-0@{self.at}")
        beat = Heartbeat(2, 3, "b", "http://c:1", "c", 1, claims=(claim,))
        return [WorkerView(beat, True, False, 0.0, False)]

    async def ask(self, url: str, request: bytes, *, waits: bool = False) -> PeerAnswer:
        """What c says. Whose rows they are is for the judge alone."""
        target = request.split(b" ", 2)[1].decode()
        wanted = parse_qs(target.partition("?")[2]).get("min_position", [""])[0]
        if parse_position(wanted).get(PLACE, -1) > self.at:
            return PeerAnswer(503, CIMultiDict(), b"")
        headers = self._headers(2, NEW, self.at) | {"Rows-Of": "2"}
        return PeerAnswer(200, CIMultiDict(headers), b"{}")

    async def own(self, request: web.Request) -> web.StreamResponse:
        """What a says of its own rows."""
        headers = self._headers(*self.table.label, TOLD) | {"Rows-Of": "1"}
        return web.json_response({}, headers=headers)

    def _headers(self, version: int, epoch: int, offset: int) -> dict[str, str]:
        position = f"{format_position({PLACE: offset})},control@{epoch}"
        named = {"Onhand-Version": str(version), "Onhand-Epoch": str(epoch)}
        return {**named, "Onhand-Position": position}

    async def read(self, token: str = "") -> None:
        """One read through a, and what came of it as the open loop writes it down."""
        query = f"?min_position={token}&wait_ms=0" if token else ""
        asked = make_mocked_request("GET", f"/v1/inventory/{'/'.join(KEY)}{query}")
        async with asyncio.timeout(30):
            got = await self.door.guarding(self.own)(asked)
        position = got.headers.get("Onhand-Position", "")
        told: dict[str, Any] = {"position": position, "asked_position": token}
        if got.status == 200:
            self.admission.answered(0, position)
            offset = parse_position(position)[PLACE]
            # Whose rows they are, whatever they are called.
            told["row"] = row(int(got.headers["Rows-Of"]), offset)
            told["version"] = int(got.headers["Onhand-Version"])
            told["epoch"] = int(got.headers["Onhand-Epoch"])
        now = float(len(self.answers))
        self.answers.append(Answer(now, now + 0.5, "a", KEY, got.status, "active", "w", **told))


@pytest.fixture
async def play(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Play]:
    monkeypatch.setattr(switches, "LOOK_S", 0.001)
    played = Play()
    yield played
    await played.switch.stop()


async def test_with_its_guards_a_switch_to_a_version_that_is_behind_has_no_fault(
    play: Play,
) -> None:
    await _switched(play, goes_over=True)
    assert _verdict(play) == {}
    assert [a.version for a in play.answers] == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("without", "faults"),
    [
        ("no-latch", {"failed"}),
        ("no-floors", {"back"}),
        ("never-over", {"failed"}),
        ("no-epochs", {"back"}),
        ("other-label", {"failed", "wrong"}),
    ],
)
async def test_without_one_of_its_guards_the_verdict_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, without: str, faults: set[str]
) -> None:
    MUTATIONS[without](monkeypatch.setattr)
    monkeypatch.setattr(switches, "LOOK_S", 0.001)
    play = Play()
    await _switched(play, goes_over=without in ("no-latch", "no-floors"))
    assert set(_verdict(play)) == faults
    await play.switch.stop()


async def _switched(play: Play, *, goes_over: bool) -> None:
    """Version 2 is promoted while it is behind, and comes to where it has to be."""
    await play.read()
    play.record(promote)
    for _ in range(20):
        await asyncio.sleep(0)
    await play.read()
    await play.read()
    play.at = TOLD
    if goes_over:
        assert await play.switch.reaches(NEW, 30)
    await play.read()
    # A session that version 2 has answered already, through another worker.
    await play.read(f"sales-0@{TOLD},control@{NEW}")


def _verdict(play: Play) -> dict[str, Any]:
    return judge_switches(play.answers, [], oracles(), [Moved(NEW, 2, 0.75)]).faults
