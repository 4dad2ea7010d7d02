"""A server on whose connections a test says what it likes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class ScriptedServer:
    """Answers each request head with whatever `serve` writes."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.heads: list[bytes] = []
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._came = asyncio.Event()

    async def __aenter__(self) -> ScriptedServer:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.close()

    def is_connected(self) -> bool:
        return any(not writer.is_closing() for writer in self._writers)

    async def asked(self, times: int) -> None:
        """Return once so many requests have come."""
        async with asyncio.timeout(30):
            while len(self.heads) < times:
                self._came.clear()
                await self._came.wait()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                self._came.set()
                await self.serve(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def always(answer: bytes) -> Serve:
    async def serve(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return serve


async def never(head: bytes, writer: asyncio.StreamWriter) -> None:
    """Frozen: reads and says nothing."""
