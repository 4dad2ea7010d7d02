"""What a worker of another version asks of the active one on behalf of its callers."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request
from msgspec.structs import replace

from app.upgrades.fleet import BEHIND_S
from core.positions import parse_position
from core.versions import to_bytes
from tests.support.inputs.builders import an_active_version
from tests.unit.web.fakes import FakeTable
from web.cluster.admission import Admission
from web.cluster.exchange import PeerAnswer
from web.cluster.heartbeats import Heartbeat
from web.cluster.peers import HOP, HOP_EPOCH, HOP_VERSION, Peers
from web.cluster.roster import WorkerView
from web.http.bodies import BodyLimits
from web.http.replies import Handler
from web.versions import door as doors
from web.versions.door import READ_S, Door
from web.versions.passage import Passage
from web.versions.switch import Switch

COUNT = 2


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """Of a worker that has answered with what was sold up to sales-0@9."""
    view, table = an_active_version(), FakeTable(COUNT)
    admission = Admission(table, ["sales"])
    admission.heard([0], "sales-0@9")
    nobody: Any = None
    switch = Switch(view, table, admission, list, nobody)
    yield Door(view, switch, table, admission, nobody, list, BodyLimits())
    await switch.stop()


async def test_it_waits_for_what_it_answered_as_long_as_a_promoted_version_may_be_behind(
    door: Door,
) -> None:
    query = door._with_floors("", [0])
    found = re.fullmatch(r"min_position=(\S+)&wait_ms=([0-9]+)", query)

    assert found is not None, query
    assert parse_position(found[1]) == {("sales", 0): 9}
    assert BEHIND_S < int(found[2]) / 1000 < READ_S


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("min_position=sales-0@3&wait_ms=0", "min_position=sales-0@3,sales-0@9&wait_ms=0"),
        ("min_position=sales-0@12", "min_position=sales-0@12,sales-0@9"),
    ],
)
async def test_a_caller_with_a_position_waits_as_long_as_he_says(
    door: Door, query: str, expected: str
) -> None:
    assert door._with_floors(query, [0]) == expected


async def test_what_it_has_not_answered_it_does_not_wait_for(door: Door) -> None:
    assert door._with_floors("fields=sku", [1]) == "fields=sku"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/inventory", "as_of=2026-11-23T10:00:00Z"),
        ("/v1/inventory/a/b", "clock=occurred&as_of=2026-11-23T10:00:00Z"),
        ("/v1/inventory/a/b", "at_position=sales-0@3"),
        ("/v1/inventory/a/b/timeline", "limit=3"),
        ("/v1/inventory/a/b/time%6Cine", ""),
    ],
)
async def test_a_question_about_the_past_does_not_wait_for_what_was_told_of_now(
    door: Door, path: str, query: str
) -> None:
    assert door._partitions(path, query) == []


@pytest.mark.parametrize("path", ["/v1/inventory/a/timeline", "/v1/inventory/as_of=1/b"])
async def test_a_key_may_be_spelt_like_a_question_about_the_past(door: Door, path: str) -> None:
    assert len(door._partitions(path, "")) == 1


async def test_a_worker_that_knows_a_later_record_is_answered_once_this_one_has_read_it(
    door: Door,
) -> None:
    async def labels(request: web.Request) -> web.Response:
        return web.Response(headers={"Onhand-Epoch": str(door._table.label[1])})

    view = door._view
    assert view.last is not None
    door._switch.start()
    headers = {HOP: "1", HOP_EPOCH: "2"}
    asked = make_mocked_request("GET", "/v1/inventory/a/b", headers)
    answering = asyncio.create_task(_answered(door.guarding(labels), asked))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not answering.done()

    later = replace(view.last, epoch=2)
    view.learn([(to_bytes(later), 1, 0)])

    assert (await answering).headers["Onhand-Epoch"] == "2"


async def _answered(handler: Handler, request: web.Request) -> web.StreamResponse:
    return await handler(request)


async def test_a_page_of_what_this_worker_tells_on_comes_from_the_active_version(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "_again_s", lambda partitions: 0.0)
    door._switch.start()
    assert await door.elsewhere("/v1/changes?after=", 0) is None  # this worker is of it

    seen: list[tuple[str, ...]] = []

    async def page(request: web.Request) -> web.Response:
        headers = (request.headers[name] for name in (HOP, HOP_VERSION))
        seen.append((request.path_qs, *headers))
        return web.json_response({"after": "sales-0@3"})

    app = web.Application()
    app.router.add_get("/v1/changes", page)
    peers, workers = Peers(), list[WorkerView]()
    door._passage, door._switch.answering = Passage(peers, lambda: workers), 2
    nobody = await door.elsewhere("/v1/changes?after=sales-0@2", 0)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        beat = Heartbeat(2, 2, "b", url, "2", 1)
        workers.append(WorkerView(beat, True, True, 0.0, False))
        told = await door.elsewhere("/v1/changes?after=sales-0@2", 0)
    await peers.close()

    assert isinstance(nobody, web.Response)
    assert nobody.status == 503
    assert isinstance(told, PeerAnswer)
    assert (told.status, told.body) == (200, b'{"after": "sales-0@3"}')
    assert seen == [("/v1/changes?after=sales-0@2", "door", "2")]


async def test_before_its_watch_has_begun_a_worker_takes_no_time_for_sleep(door: Door) -> None:
    door._switch._looked_at -= 10
    assert not door._switch.has_slept()

    door._switch.start()
    await asyncio.sleep(0)
    door._switch._looked_at -= 10
    assert door._switch.has_slept()
