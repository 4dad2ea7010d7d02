"""One worker asks another over a socket: what it says of its caller is taken, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from domain.rows import Row
from tests.unit.web.access_files import OTHER, Keys
from tests.unit.web.fakes import FakeTable
from tests.unit.web.serving import a_web
from web.access.callers import CALLER, Caller, Scope
from web.cluster.peers import Peers, get, hop_headers, post, through_door
from web.config import Limits
from web.http.connections import ConnectionLimits
from web.operations.small import attach_small

ROW = "/v1/inventory/SKU-1/s-7"


@pytest.mark.parametrize("has_tokens", [True, False])
async def test_every_kind_of_request_between_workers_proves_itself(
    tmp_path: Path, has_tokens: bool
) -> None:
    keys = Keys(tmp_path)
    token = keys.token(Scope.READ, Scope.WRITE)
    table = FakeTable()
    table.rows["SKU-1", "s-7"] = Row(received=10, events=2, checksum=7, updated_at=1)
    app = web.Application()
    server = TestServer(app)
    await server.start_server()
    # Its address is known only now.
    url = str(server.make_url("")).rstrip("/")
    await server.close()
    access = keys.access(url, has_tokens=has_tokens)
    app = web.Application()
    a_web(table, Limits(), access).attach(app)
    asking = keys.access("http://10.0.0.9:6066")
    async with TestServer(app, port=int(url.rpartition(":")[2])):
        odd = 'X-Odd: \udcff\r\nIf-None-Match: W/"a"\r\n'
        requests = [
            get(url, ROW, {"min_position": "", "wait_ms": "0"}, hop_headers(1)),
            get(url, ROW, {}, hop_headers(1)),
            get(url, "/v1/inventory/SKU-1", {}, hop_headers(1) + "Onhand-In-Pieces: 1\r\n"),
            get(url, "/v1/inventory", {"cursor": ""}, hop_headers(1) + "Onhand-Partitions: 0\r\n"),
            post(url, "/v1/lookup", {}, hop_headers(1), b'{"keys":[{"sku":"a","location":"b"}]}'),
            post(url, "/v1/sightings", {}, hop_headers(1), b"{}"),
            through_door("GET", url, ROW, 1, 0, odd, b""),
            through_door("POST", url, "/v1/sales?a=%20", 1, 0, "Content-Type: a/b\r\n", b"{}"),
            get(url, "/v1/upgrade", {}, ""),
        ]
        set_for = CALLER.set(Caller(token[7:15], "x", frozenset(Scope)))
        try:
            for secrets, refused in ((None, False), (OTHER, True)):
                keys.share(secrets or "5" * 64)
                for request in requests:
                    keys.share(secrets or "5" * 64)
                    signed = asking.signed(url, request)
                    keys.share("5" * 64)
                    answer = await Peers().ask(url, signed)
                    assert (answer.status == 401) is (refused and has_tokens) or (
                        refused and b"sightings" in request
                    ), (request, answer)
                    if not refused:
                        assert answer.status not in (401, 403), (request, answer)
        finally:
            CALLER.reset(set_for)


async def test_the_small_servers_of_a_bridge_and_an_audit_are_for_those_who_run_them(
    tmp_path: Path,
) -> None:
    keys = Keys(tmp_path)
    operator, reader = keys.token(Scope.OPERATE), keys.token(Scope.READ)

    async def ok(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    paths = ("/live", "/ready", "/metrics", "/v1/audit")
    routes = [web.get(path, ok) for path in paths]
    attach_small(app, routes, keys.access(), ConnectionLimits(), "Ask a worker.")
    async with TestClient(TestServer(app)) as client:
        for token, status in ((operator, 200), (reader, 403), ("", 401)):
            for path in paths:
                async with client.get(path, headers={"Authorization": f"Bearer {token}"}) as said:
                    is_open = path in ("/live", "/ready")
                    assert said.status == (200 if is_open else status), (path, token)
