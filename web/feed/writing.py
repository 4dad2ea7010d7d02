"""An answer without an end, written straight to its client's connection.

aiohttp's own `write` joins each piece once more and waits, without a deadline, once 64 KiB went
out. A deadline around each write costs more than the write, most of which the kernel takes whole.
So a piece goes to the transport at once, and a timer runs only while something of it is left.
"""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web


class TakesNothing(Exception):
    """A reader that has not taken a piece in its time."""


class Outlet:
    """Where the pieces of one answer go. Holds one piece at most, as `write` waits for it.

    Args:
        request: of the client.
        response: prepared; nothing of its body is written.
        take_s: within which a piece must be taken.
    """

    def __init__(self, request: web.Request, response: web.StreamResponse, take_s: float) -> None:
        self._request, self._take_s = request, take_s
        # Not for a client of HTTP/1.0.
        self._is_chunked = response.headers.get(hdrs.TRANSFER_ENCODING) == "chunked"
        request.writer.send_headers()  # if it has not yet

    async def write(self, data: bytes) -> None:
        """Hand it to the kernel; returns once that, or for TLS the transport, has room for more.

        Raises:
            TakesNothing: it had none in time.
            ConnectionError: the client is gone.
        """
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        assert isinstance(transport, asyncio.Transport)  # aiohttp says less
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        if transport.get_write_buffer_size() == 0:
            return
        try:
            async with asyncio.timeout(self._take_s):
                await self._request.writer.drain()
        except TimeoutError as late:
            raise TakesNothing from late
