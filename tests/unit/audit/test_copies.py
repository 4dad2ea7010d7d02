"""A copy that breaks off, however it does, is one that could not be read."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from audit import copies
from audit.copies import CopyHolder, CopyUnread, opened_copy, session
from core.stages import Role
from tables.audit.copies import CopyHead

HEAD = CopyHead(
    partition=0, partitions=1, role=Role.ACTIVE, version=1, positions={}, counts={}, window=1,
    rules=2,
)  # fmt: skip
Ends = Callable[[web.Request], Awaitable[None]]


async def killed(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


async def ended(request: web.Request) -> None:
    """As a proxy does that lost its worker."""


async def frozen(request: web.Request) -> None:
    await asyncio.sleep(60)


def framed(part: object) -> bytes:
    frame = msgspec.msgpack.encode(part)
    return len(frame).to_bytes(4) + frame


@pytest.mark.parametrize("end", [killed, ended, frozen])
async def test_a_copy_that_breaks_off_is_not_whole(
    end: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def copy(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(framed(HEAD) + framed([(b"a\x00b", b"{}")]))
        await asyncio.sleep(0)
        await end(request)
        return response

    if end is frozen:
        monkeypatch.setattr(copies, "_SILENCE_S", 0.2)
    app = web.Application()
    app.router.add_get("/v1/audit/copies/0", copy)
    server = TestServer(app)
    await server.start_server()
    place = CopyHolder(str(server.make_url("")).rstrip("/"), "active", "")
    try:
        async with session() as http, opened_copy(http, place, 0) as opened:
            pages = opened.rows()
            assert len(await anext(pages)) == 1
            with pytest.raises(CopyUnread, match="broke off"):
                await anext(pages)
    finally:
        await server.close()
