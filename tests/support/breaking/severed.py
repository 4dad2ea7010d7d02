"""A line to Kafka that can be cut: what is on its way stays there, and nobody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from dev.kafka import Kafka, start
from dev.kafka.broker import free_port

_CHUNK_BYTES = 1 << 16


class Line:
    """Passes bytes on between whoever connects to `port` and the broker's listener.

    Cut, it reads from neither side and closes nothing, as a network does that drops packets.
    New connections are accepted, and hear nothing.
    """

    def __init__(self, port: int, listener: int) -> None:
        self.port, self.listener = port, listener
        self._is_whole = asyncio.Event()
        self._is_whole.set()
        self._passing: set[asyncio.Task[None]] = set()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        self._is_whole.clear()

    def mend(self) -> None:
        self._is_whole.set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[Line]:
        """It is there during the block; after it every connection is closed."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        try:
            yield self
        finally:
            server.close()
            for task in self._passing:
                task.cancel()
            await asyncio.gather(*self._passing, return_exceptions=True)

    async def _accept(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        await self._is_whole.wait()
        far, to_far = await asyncio.open_connection("127.0.0.1", self.listener)
        for source, sink in ((near, to_far), (far, to_near)):
            task = asyncio.create_task(self._pass(source, sink))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                while chunk := await source.read(_CHUNK_BYTES):
                    await self._is_whole.wait()
                    sink.write(chunk)
                    await sink.drain()
        finally:
            sink.close()


@asynccontextmanager
async def kafka_with_a_line(folder: Path) -> AsyncIterator[tuple[Kafka, Line]]:
    """A broker that answers by two listeners, of which one is at the end of a line.

    Who asks for `kafka.bootstrap` is not concerned by a cut; who asks for the line's is told
    addresses that lead through it.
    """
    port, line = free_port(), Line(free_port(), free_port())
    advertised = f"CLIENT://127.0.0.1:{port},FAR://127.0.0.1:{line.port}"
    with start(
        folder,
        port,
        {"advertised.listeners": advertised},
        listeners={"FAR": ("PLAINTEXT", line.listener)},
    ) as kafka:
        async with line.laid():
            yield kafka, line
