"""What a load asks of its worker goes by the worker's own door, and is never guessed."""

from __future__ import annotations

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from web.cluster.peers import Peers
from web.writes.questions import OwnQuestions


async def answered(request: web.Request) -> web.Response:
    if "secret" in request.path:
        return web.Response(status=401)
    body = await request.read()
    return web.Response(status=404, body=b"%b %b" % (request.raw_path.encode(), body))


async def test_a_question_is_asked_as_it_is_and_its_answer_handed_on() -> None:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answered)
    peers = Peers()
    async with TestServer(app) as server:
        ask = OwnQuestions(peers, str(server.make_url("/")).rstrip("/"))

        path = "/v1/inventory/A%2FB/shop-7?as_of=2026-11-23T10%3A00%3A00Z&wait_ms=10000"
        assert await ask(path, None) == (404, path.encode() + b" ")
        assert await ask("/v1/facts/lookup", b"{}") == (404, b"/v1/facts/lookup {}")
        status, body = await ask("/secret", None)
        await peers.close()

    assert status == 503
    assert "ONHAND_PEER_SECRET" in msgspec.json.decode(body)["detail"]


async def test_no_answer_is_told_as_one_that_may_come_later() -> None:
    peers = Peers()
    status, body = await OwnQuestions(peers, "http://127.0.0.1:9")("/v1/inventory", None)
    await peers.close()

    told = msgspec.json.decode(body)
    assert (status, told["type"]) == (503, "/problems/not-ready")
    assert told["detail"]
