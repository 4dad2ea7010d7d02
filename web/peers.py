"""A small HTTP/1.1 client for one worker to ask another.

aiohttp's client session would add 0.35 ms to each forwarded read, this one 0.1
(lab). It knows what our own server says and no more: `Content-Length` bodies, one
request at a time on each connection, connections kept for the next request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec

#: A worker that does not even accept a connection for this long is not worth waiting for.
CONNECT_TIMEOUT_S = 1.0
#: Connections to one worker, busy and idle. A frozen worker must not collect more.
MAX_CONNECTIONS = 256
#: Far above a page of 1,000 rows with the longest ids.
MAX_ANSWER_BYTES = 32 * 2**20
#: As aiohttp reads heads: what is not UTF-8 comes out as it went in.
_CODEC = ("utf-8", "surrogateescape")
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date"}


class PeerFailed(Exception):
    """The other worker gave no usable answer. The text says why, for our own 503."""


class PeerAnswer(msgspec.Struct, frozen=True):
    """What another worker said, to be passed on as it is.

    headers: without those that belong to one connection.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of that name, which is given in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, lost: Callable[[_Connection], None]) -> None:
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[PeerAnswer] | None = None
        self._buffer = bytearray()
        self._need = -1
        self.reusable = False
        self.was_made = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.reusable = self.was_made = True

    def ask(self, request: bytes) -> asyncio.Future[PeerAnswer]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answer is None or len(self._buffer) > MAX_ANSWER_BYTES:
            self.abort()  # it talks unasked, or too much
            return
        if self._need < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            try:
                self._head(bytes(self._buffer[:end]))
            except (ValueError, IndexError, LookupError):
                self._fail("It did not answer in HTTP/1.1 with a Content-Length.")
                return
            del self._buffer[: end + 4]
        if len(self._buffer) >= self._need:
            body = bytes(self._buffer[: self._need])
            if len(self._buffer) > self._need:
                self.reusable = False
            self._buffer.clear()
            self._need = -1
            answer, self._answer = self._answer, None
            if not answer.done():
                answer.set_result(PeerAnswer(self._status, self._headers, body))

    def _head(self, head: bytes) -> None:
        lines = head.decode(*_CODEC).split("\r\n")
        self._status = int(lines[0][9:12])
        self._headers = []
        length = 0 if self._status in (204, 304) else None
        for line in lines[1:]:
            name, _, value = line.partition(":")
            value = value.strip()
            lower = name.lower()
            if lower == "content-length":
                length = 0 if self._status == 304 else int(value)
            elif lower == "connection" and value.lower() == "close":
                self.reusable = False
            if lower not in _HOP_BY_HOP:
                self._headers.append((name, value))
        if length is None or not 0 <= length <= MAX_ANSWER_BYTES:
            raise ValueError(length)
        self._need = length

    def _fail(self, why: str) -> None:
        self.reusable = False
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(PeerFailed(why))
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("It closed the connection.")
        self._transport = None
        self._lost(self)

    def abort(self) -> None:
        """Close at once; whoever waits for the answer is told."""
        self._fail("The connection was given up.")


class _Peer:
    """Connections to one worker."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.authority = parts.netloc
        self.idle: deque[_Connection] = deque()
        self.open = 0

    async def connect(self) -> _Connection:
        if self.open >= MAX_CONNECTIONS:
            raise PeerFailed("It has too many requests of ours under way.")
        self.open += 1
        connection = _Connection(self.lost)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, self.host, self.port, ssl=self.tls
                )
        except BaseException as error:
            if not connection.was_made:
                self.open -= 1  # else `lost` does it
            if isinstance(error, TimeoutError):
                raise PeerFailed("It accepts no connection.") from error
            if isinstance(error, OSError):
                raise PeerFailed("It refuses connections.") from error
            raise
        return connection

    def take(self) -> _Connection | None:
        # Newest first: under light load the others fall idle and are closed by their server.
        while self.idle:
            connection = self.idle.pop()
            if connection.reusable:
                return connection
            connection.abort()
        return None

    def give_back(self, connection: _Connection) -> None:
        if connection.reusable:
            self.idle.append(connection)
        else:
            connection.abort()

    def lost(self, connection: _Connection) -> None:
        self.open -= 1
        with suppress(ValueError):
            self.idle.remove(connection)


class Peers:
    """Asks other workers. Deadlines are the caller's: cancel `ask` to give up."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}

    async def ask(self, url: str, request: bytes) -> PeerAnswer:
        """Send one request, made by `get` or `post`, and return the answer.

        Raises:
            PeerFailed: no connection, or no answer on it.
        """
        peer = self._peers.get(url)
        if peer is None:
            peer = self._peers[url] = _Peer(url)
        connection = peer.take()
        if connection is not None:
            # It may have been closed by the other side just now, which says nothing
            # about that worker: all our requests are reads, so ask once more.
            with suppress(PeerFailed):
                return await self._exchange(peer, connection, request)
        return await self._exchange(peer, await peer.connect(), request)

    async def _exchange(self, peer: _Peer, connection: _Connection, request: bytes) -> PeerAnswer:
        try:
            answer = await connection.ask(request)
        except BaseException:
            connection.abort()  # also when cancelled: an answer may still come on it
            raise
        peer.give_back(connection)
        return answer

    def forget(self, url: str) -> None:
        """Close the idle connections to a worker that has gone."""
        peer = self._peers.pop(url, None)
        while peer is not None and peer.idle:
            peer.idle.pop().abort()

    async def close(self) -> None:
        """Close every idle connection."""
        for url in list(self._peers):
            self.forget(url)
        await asyncio.sleep(0)  # lets the transports close


def get(url: str, target: str, headers: str) -> bytes:
    """A GET of `target`, percent-encoded; each header line in `headers` ends with CRLF."""
    authority = urlsplit(url).netloc
    return f"GET {target} HTTP/1.1\r\nHost: {authority}\r\n{headers}\r\n".encode(*_CODEC)


def post(url: str, target: str, headers: str, body: bytes) -> bytes:
    """A POST of JSON to `target`."""
    authority = urlsplit(url).netloc
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode(*_CODEC) + body
