"""A request on its way to another version: asked whom, with which headers, for how long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from core.stages import Role
from tests.support.builders import an_active_version
from tests.unit.web.fakes import FakeTable
from web.cluster.admission import Admission
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.heartbeats import Claim, Heartbeat
from web.cluster.roster import WorkerView
from web.history.passing import _ANSWER_S
from web.http.bodies import BodyLimits
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


class Passing:
    """A door of version 1 while version 2 is active."""

    def __init__(self) -> None:
        table = FakeTable(COUNT)
        self.admission = Admission(table, ["sales"])
        self.switch = Switch(an_active_version(), table, self.admission, list)
        self.switch.answering, self.peers = 2, FakePeers()
        peers: Any = self.peers
        view = self.switch._view
        args = (view, self.switch, table, self.admission, peers, self.workers, BodyLimits())
        self.door = Door(*args)

    def workers(self) -> list[WorkerView]:
        claims = tuple(Claim(p, "active", Role.ACTIVE) for p in range(COUNT))
        beats = [
            Heartbeat(2, 2, "b", OWNER, "a", 1, claims=claims),
            Heartbeat(2, 2, "b", OTHER, "b", 1),
        ]
        return [WorkerView(beat, True, False, 0.0, False) for beat in beats]

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
