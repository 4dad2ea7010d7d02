"""Answers too large to be held whole: sent piece by piece, and cut off where they break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from aiohttp import web
from msgspec import Struct

from web.http.gate import refusal_by_now
from web.http.outbox import Parcel

#: A client that does not take a piece within this is cut off.
PIECE_TIMEOUT_S = 30.0


class BrokenOff(Exception):
    """The rest of a body will not come."""


class Large(Struct, frozen=True):
    """An answer whose body comes in pieces, `length` bytes in all.

    pieces: may raise BrokenOff. close: called in the end, whatever was taken. parcel: what is
        held of it here, until then.
    """

    status: int
    headers: Mapping[str, str]
    length: int
    pieces: AsyncIterator[bytes]
    close: Callable[[], None] = lambda: None
    parcel: Parcel | None = None


async def send(request: web.Request, large: Large) -> web.StreamResponse:
    """Answer with it; no more than a piece or two is on its way to the client at once.

    Where it breaks off, or others need its memory more, the client's connection is cut: it was
    told a length, so nobody takes the part for the whole.
    """
    response = web.StreamResponse(status=large.status, headers=large.headers)
    response.content_length = large.length
    try:
        if large.parcel is not None and request.transport is not None:
            large.parcel.waits(request.transport.abort)
        await response.prepare(request)
        if request.method != "HEAD":
            async for piece in large.pieces:
                async with asyncio.timeout(PIECE_TIMEOUT_S):
                    await response.write(piece)
                await asyncio.sleep(0)  # a quick client must not keep the others waiting
                if refusal_by_now() is not None:
                    raise BrokenOff  # who takes it slowly may be shut out before its end
    except (BrokenOff, TimeoutError, ConnectionError):
        if request.transport is not None:
            request.transport.abort()
    finally:
        large.close()
        if large.parcel is not None:
            large.parcel.close()
    return response


async def announce(request: web.Request) -> None:
    """Say 102 before the answer: it is being made, and takes longer than usual."""
    if request.writer.output_size == 0:
        await request.writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        request.writer.output_size = 0  # else aiohttp thinks that the answer has begun
