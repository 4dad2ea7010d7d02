"""A request on its way to another version: asked whom, with which headers, for how long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from core.stages import Role
from tests.support.inputs.builders import an_active_version
from tests.unit.web.fakes import FakeTable
from web.cluster.admission import Admission
from web.cluster.answers import problem_of
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.heartbeats import Claim, Heartbeat, WorkerState
from web.cluster.pool import PeerCrowded
from web.cluster.roster import SILENCE_S, WorkerView
from web.history.passing import _ANSWER_S
from web.http.bodies import BodyLimits
from web.http.problems import Problem
from web.reads.parameters import STORED_ROWS
from web.versions import door as doors
from web.versions.door import Door
from web.versions.switch import Switch

COUNT = 2
OWNER, OTHER = "http://owner:1", "http://other:1"
ROW = "/v1/inventory/SKU-1/here"
Says = Callable[[], Awaitable[PeerAnswer]]


class FakePeers:
    """Workers of version 2, by address; `asked` and `waits` of each request."""

    def __init__(self) -> None:
        self.says: dict[str, Says] = {}
        self.asked: list[tuple[str, bytes]] = []
        self.waits: list[bool] = []

    async def ask(self, url: str, request: bytes, *, waits: bool = False) -> PeerAnswer:
        self.asked.append((url, request))
        self.waits.append(waits)
        return await self.says.get(url, fine)()

    @property
    def targets(self) -> list[str]:
        """Path and query of each request."""
        return [request.split(b" ", 2)[1].decode() for _, request in self.asked]


async def fine() -> PeerAnswer:
    headers = {"Onhand-Position": "sales-0@9", "Access-Control-Allow-Origin": "https://there"}
    return PeerAnswer(200, CIMultiDict(headers), b"{}")


async def silence() -> PeerAnswer:
    await asyncio.sleep(60)
    raise AssertionError


async def failure() -> PeerAnswer:
    raise PeerFailed("It closed the connection.")


async def crowd() -> PeerAnswer:
    raise PeerCrowded("It has too many requests of ours under way.")


class Passing:
    """A door of version 1 while version 2 is active."""

    def __init__(self) -> None:
        #: How long workers of version 2 have been silent, and whether they said goodbye.
        self.silent_s, self.state = 0.0, WorkerState.RUNNING
        table = FakeTable(COUNT)
        self.admission = Admission(table, ["sales"])
        self.peers = FakePeers()
        peers: Any = self.peers
        self.switch = Switch(an_active_version(), table, self.admission, list, peers)
        self.switch.answering = 2
        view = self.switch._view
        args = (view, self.switch, table, self.admission, peers, self.workers, BodyLimits())
        self.door = Door(*args)

    def workers(self) -> list[WorkerView]:
        claims = tuple(Claim(p, "active", Role.ACTIVE) for p in range(COUNT))
        beats = [
            Heartbeat(2, 2, "b", OWNER, "a", 1, self.state, claims=claims),
            Heartbeat(2, 2, "b", OTHER, "b", 1, self.state),
        ]
        alive = self.silent_s <= SILENCE_S and self.state is not WorkerState.GONE
        return [WorkerView(beat, alive, False, self.silent_s, False) for beat in beats]

    async def ask(self, path: str, method: str = "GET", **headers: str) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = make_mocked_request(method, path, named)
        async with asyncio.timeout(30):
            return await self.door.guarding(here)(request)


async def here(request: web.Request) -> web.StreamResponse:
    raise AssertionError("This worker is of another version.")


@pytest.fixture
async def passing() -> AsyncIterator[Passing]:
    made = Passing()
    made.admission.heard(range(COUNT), "sales-0@9,sales-1@9")
    yield made
    await made.switch.stop()


async def test_an_owner_that_is_frozen_is_not_waited_for(
    passing: Passing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "HEDGE_S", 0.01)
    passing.peers.says[OWNER] = silence

    assert (await passing.ask(ROW)).status == 200
    assert [url for url, _ in passing.peers.asked] == [OWNER, OTHER]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/sales"), ("GET", "/v1/reports/movers"), ("GET", f"{ROW}?as_of=x")],
)
async def test_what_takes_long_or_writes_is_asked_of_the_next_only_after_a_failure(
    passing: Passing, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    monkeypatch.setattr(doors, "HEDGE_S", 0.0)

    async def slow() -> PeerAnswer:
        await asyncio.sleep(0.05)
        return await fine()

    passing.peers.says = {OWNER: slow, OTHER: slow}
    assert (await passing.ask(path, method)).status == 200
    assert len(passing.peers.asked) == 1

    passing.peers.says[passing.peers.asked[0][0]] = failure
    assert (await passing.ask(path, method)).status == 200


@pytest.mark.parametrize("path", ["/v1/reports/movers", "/v1/facts", f"{ROW}/timeline"])
def test_a_ledger_has_the_time_that_it_has_without_a_door(path: str) -> None:
    assert doors._patience_s(path, is_read=True, is_of_now=False) > _ANSWER_S


async def test_rows_as_they_are_stored_go_through_a_door_and_raise_its_floor(
    passing: Passing,
) -> None:
    async def page() -> PeerAnswer:
        headers = {"Onhand-Position": "sales-1@12", "Content-Type": STORED_ROWS}
        return PeerAnswer(200, CIMultiDict(headers), b"\x80")

    passing.peers.says = {OWNER: page, OTHER: page}
    answer = await passing.ask("/v1/inventory?limit=3", Accept=STORED_ROWS)

    assert answer.headers["Content-Type"] == STORED_ROWS
    [(_, request)] = passing.peers.asked
    assert f"Accept: {STORED_ROWS}".encode() in request
    assert passing.admission.floor_token(range(COUNT)) == "sales-0@9,sales-1@12"


async def test_an_empty_position_asks_for_nothing(passing: Passing) -> None:
    for empty in ("min_position=", "min_position=%20&limit=3", "limit=3&min_position=+"):
        assert (await passing.ask(f"/v1/inventory?{empty}")).status == 200
    for target in passing.peers.targets:
        assert target.count("min_position=") == 1
        assert "min_position=sales-0@9,sales-1@9" in target
        assert "&&" not in target


async def test_a_request_as_to_a_proxy_is_read_as_any_other(passing: Passing) -> None:
    await passing.ask(f"http://me:1{ROW}")
    await passing.ask(f"http://me:1{ROW}?version=3")
    [target] = passing.peers.targets  # nobody is of version 3
    assert target.startswith(f"{ROW}?min_position=")


@pytest.mark.parametrize("query", ["%76ersion=3", "version=%33", "wait_ms=1&%76%65rsion=%33"])
async def test_a_version_is_named_in_any_spelling(passing: Passing, query: str) -> None:
    answer = await passing.ask(f"{ROW}?{query}")
    assert answer.status == 503
    assert passing.peers.targets == []  # nobody is of version 3


async def test_a_position_is_named_in_any_spelling(passing: Passing) -> None:
    await passing.ask(f"{ROW}?min%5Fposition=sales-0%4012&%77ait_ms=%35")
    [target] = passing.peers.targets
    assert target.count("position=") == 1
    assert "min_position=sales-0@12," in target
    assert target.endswith("&wait_ms=5")
    assert passing.peers.waits == [True]


async def test_a_version_that_is_named_twice_is_for_this_worker_to_refuse(passing: Passing) -> None:
    async def refuses(request: web.Request) -> web.StreamResponse:
        return web.Response(status=400)

    request = make_mocked_request("GET", f"{ROW}?version=2&version=3")
    assert (await passing.door.guarding(refuses)(request)).status == 400
    assert passing.peers.targets == []


async def test_only_who_waits_for_a_position_of_his_own_takes_the_place_of_one_that_waits(
    passing: Passing,
) -> None:
    await passing.ask(ROW)
    await passing.ask(f"{ROW}?min_position=sales-0@3")
    assert passing.peers.waits == [False, True]


async def test_a_page_of_somebody_else_is_known_for_one_through_a_door(passing: Passing) -> None:
    said = {"Origin": "https://evil", "Sec_Fetch_Site": "cross-site", "Referer": "https://evil/x"}
    answer = await passing.ask("/v1/sales", "POST", Content_Type="text/plain", **said)
    [(_, request)] = passing.peers.asked
    for line in (
        b"Origin: https://evil",
        b"Sec-Fetch-Site: cross-site",
        b"Referer: https://evil/x",
    ):
        assert line in request
    # Which pages may read the answer is for this worker to say.
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_condition_is_not_lost_on_the_way(passing: Passing) -> None:
    await passing.ask("/v1/sales", "POST", If_Unmodified_Since="Mon, 30 Nov 2026 00:00:00 GMT")
    assert b"If-Unmodified-Since: Mon, 30 Nov 2026" in passing.peers.asked[0][1]


@pytest.mark.parametrize(("method", "path"), [("GET", ROW), ("POST", "/v1/sales")])
async def test_a_version_whose_heartbeats_are_late_is_asked_all_the_same(
    passing: Passing, method: str, path: str
) -> None:
    passing.silent_s = 30.0
    assert (await passing.ask(path, method)).status == 200
    assert [url for url, _ in passing.peers.asked] == [OWNER]


async def test_who_said_goodbye_is_not_asked(
    passing: Passing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "_again_s", lambda partitions: 0.0)
    passing.silent_s, passing.state = 30.0, WorkerState.GONE
    assert (await passing.ask(ROW)).status == 503
    assert not passing.peers.asked


async def test_who_is_silent_and_did_not_answer_is_asked_again_after_its_next_heartbeat(
    passing: Passing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "_again_s", lambda partitions: 0.0)
    passing.silent_s, passing.peers.says = 30.0, {OWNER: failure, OTHER: failure}
    for _ in range(3):
        assert (await passing.ask(ROW)).status == 503
    assert sorted(url for url, _ in passing.peers.asked) == [OTHER, OWNER]

    passing.silent_s, passing.peers.says = 0.0, {}  # it is heard
    assert (await passing.ask(ROW)).status == 200


@pytest.mark.parametrize("first", [failure, crowd], ids=["failed", "crowded"])
@pytest.mark.parametrize(("method", "path"), [("GET", ROW), ("POST", "/v1/sales")])
async def test_where_nobody_answers_all_are_asked_again_in_a_moment(
    passing: Passing, method: str, path: str, first: Says
) -> None:
    async def then_fine() -> PeerAnswer:
        return await (first if len(passing.peers.asked) <= 2 else fine)()

    passing.peers.says = {OWNER: then_fine, OTHER: then_fine}
    assert (await passing.ask(path, method)).status == 200
    assert len(passing.peers.asked) == 3


async def test_who_is_heard_while_a_request_waits_answers_it(passing: Passing) -> None:
    passing.state = WorkerState.GONE
    asking = asyncio.create_task(passing.ask(ROW))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not passing.peers.asked

    passing.state = WorkerState.RUNNING
    assert (await asking).status == 200


async def test_a_version_that_is_named_and_has_nobody_is_not_waited_for(
    passing: Passing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def waits(seconds: float) -> None:
        raise AssertionError("It waited.")

    monkeypatch.setattr(asyncio, "sleep", waits)
    assert (await passing.ask(f"{ROW}?version=3")).status == 503


async def test_where_too_many_requests_are_under_way_that_is_what_is_said(
    passing: Passing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "_again_s", lambda partitions: 0.0)
    passing.peers.says = {OWNER: crowd, OTHER: crowd}
    answer = await passing.ask(ROW)
    assert problem_of(answer) is Problem.TOO_BUSY
