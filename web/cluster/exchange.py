"""One connection to another worker: a request, its answer, then the next.

A body comes whole, or in pieces where it is large and the caller can pass it on. Of a body in
pieces no more is held than `MAX_HELD_BYTES`: the rest waits at the sender.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple

import msgspec
from multidict import CIMultiDict

#: Of a body that is wanted whole; far above a page of 1,000 rows with the longest ids.
MAX_ANSWER_BYTES = 32 * 2**20
#: A body above this comes in pieces to those who can pass it on.
PIECES_ABOVE_BYTES = 256 * 2**10
#: So much of a body in pieces is held, and what one read of the socket brings.
MAX_HELD_BYTES = 256 * 2**10
#: A worker that began, or said that it will, and then sends nothing for this long, is gone.
PEER_SILENCE_S = 30.0
_FIRST_LINE = re.compile(r"HTTP/1\.1 [1-5][0-9]{2}( |$)")
#: Of an announcement: the answer is being made and takes longer than usual.
_PROCESSING = 102


class PeerFailed(Exception):
    """The other worker gave no usable answer. The text says why, for our own 503."""


class PeerAnswer(msgspec.Struct, frozen=True):
    """What another worker said."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


class PlainAnswer(NamedTuple):
    """A row, as another worker wrote it: all its bytes, and what two of its headers say."""

    data: bytes
    role: str
    position: str


class Head(NamedTuple):
    """Status and headers; `length` of the body in bytes."""

    status: int
    headers: CIMultiDict[str]
    length: int


class LargeAnswer:
    """An answer whose body is taken in pieces, or one that is only announced yet.

    Whoever gets one must `close` it, whether all of it was taken or not.
    """

    def __init__(self, connection: PeerConnection) -> None:
        self._connection = connection
        self._news = asyncio.Event()
        self._held = bytearray()
        self._why: str | None = None
        #: None while it is only announced.
        self.head: Head | None = None
        #: URL of the worker, for those who have to tell.
        self.url = ""
        #: Called once, by `close`.
        self.ended: Callable[[], None] = connection.abort

    async def begin(self) -> Head:
        """Wait for status and headers; raises PeerFailed."""
        while self.head is None:
            await self._wait()
        return self.head

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body, piece by piece; raises PeerFailed where it breaks off."""
        left = (await self.begin()).length
        while left:
            while not self._held:
                await self._wait()
            piece = bytes(self._held)
            self._held.clear()
            self._connection.hold(False)
            left -= len(piece)
            yield piece

    def close(self) -> None:
        """Let the connection go: for the next request if the body was whole, else for good."""
        ended, self.ended = self.ended, _nothing
        ended()

    def feed(self, data: bytes) -> None:
        """More of the body."""
        self._held += data
        self._connection.hold(len(self._held) > MAX_HELD_BYTES)
        self._news.set()

    def begun(self, head: Head) -> None:
        """Status and headers are there."""
        self.head = head
        self._news.set()

    def fail(self, why: str) -> None:
        """Nothing more will come; what is held is still given."""
        self._why = why
        self._news.set()

    async def _wait(self) -> None:
        if self._why is not None:
            raise PeerFailed(self._why)
        self._news.clear()
        try:
            async with asyncio.timeout(PEER_SILENCE_S):
                await self._news.wait()
        except TimeoutError as error:
            raise PeerFailed("It fell silent in the middle of its answer.") from error


def _nothing() -> None:
    pass


FromPeer = PeerAnswer | LargeAnswer
#: The answer, if these bytes are a whole one of the plain kind.
Knows = Callable[[bytes], PlainAnswer | None]


def _nothing_plain(data: bytes) -> None:
    pass


class PeerConnection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, lost: Callable[[PeerConnection], None]) -> None:
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        #: Of FromPeer, or what `_knows` makes of it.
        self._answer: asyncio.Future[Any] | None = None
        self._knows: Knows = _nothing_plain
        self._buffer = bytearray()
        self._head: Head | None = None
        self._may_be_large = False
        self._large: LargeAnswer | None = None
        #: Of the body in pieces.
        self._left = 0
        self._is_held = False
        self.reusable = False
        self.was_made = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.reusable = self.was_made = True

    def ask(self, request: bytes, may_be_large: bool) -> asyncio.Future[FromPeer]:
        """Send it. may_be_large: the caller can take a LargeAnswer."""
        assert self._transport is not None
        self._may_be_large, self._knows = may_be_large, _nothing_plain
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def ask_plainly(self, request: bytes, knows: Knows) -> asyncio.Future[PeerAnswer | PlainAnswer]:
        """Send it. knows: a plain answer, by its bytes; to read one takes five times as long."""
        answer: asyncio.Future[Any] = self.ask(request, may_be_large=False)
        self._knows = knows
        return answer

    def is_free(self) -> bool:
        """Whether another request may be sent on it."""
        return self.reusable and self._answer is None and self._large is None

    def hold(self, on: bool) -> None:
        """Let the sender wait, or go on."""
        if on is not self._is_held and self._transport is not None:
            self._is_held = on
            if on:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Of asyncio: the next bytes of the answer."""
        if self._large is not None and self._head is not None:
            self._take_piece(data)
            return
        if self._answer is not None and not self._buffer and self._head is None:
            plain = self._knows(data)
            if plain is not None:
                self._tell(plain)
                return
        self._buffer += data
        is_asked = self._answer is not None or self._large is not None
        if not is_asked or len(self._buffer) > MAX_ANSWER_BYTES:
            self.abort()  # it talks unasked, or too much
            return
        while self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            try:
                head = self._read_head(bytes(self._buffer[:end]))
            except (ValueError, IndexError, LookupError):
                self.abort("It did not answer in HTTP/1.1 with a Content-Length.")
                return
            del self._buffer[: end + 4]
            if head.status == _PROCESSING:
                self._begin_large()
                continue
            self._head = head
        if self._large is None and self._may_be_large and self._head.length > PIECES_ABOVE_BYTES:
            self._begin_large()
        if self._large is not None:
            self._large.begun(self._head)
            self._left = self._head.length
            rest = bytes(self._buffer)
            self._buffer.clear()
            self._take_piece(rest)
        else:
            self._take_whole(self._head)

    def _take_whole(self, head: Head) -> None:
        if len(self._buffer) < head.length:
            return
        body = bytes(self._buffer[: head.length])
        if len(self._buffer) > head.length:
            self.reusable = False
        self._buffer.clear()
        self._head = None
        self._tell(PeerAnswer(head.status, head.headers, body))

    def _begin_large(self) -> None:
        """Announced once or more often, then begun."""
        if self._large is None:
            self._large = LargeAnswer(self)
            self._tell(self._large)

    def _take_piece(self, data: bytes) -> None:
        assert self._large is not None
        if len(data) > self._left:
            self.reusable = False
        piece = data[: self._left]
        self._left -= len(piece)
        if self._left == 0:
            large, self._large, self._head = self._large, None, None
            large.feed(piece)
            self.hold(False)
        else:
            self._large.feed(piece)

    def _tell(self, answer: FromPeer | PlainAnswer) -> None:
        asked, self._answer = self._answer, None
        if asked is not None and not asked.done():
            asked.set_result(answer)

    def _read_head(self, head: bytes) -> Head:
        start, *lines = head.decode().split("\r\n")
        if not _FIRST_LINE.match(start) or not all(map(str.isprintable, lines)):
            raise ValueError(start)
        status = int(start[9:12])
        headers = CIMultiDict(
            (name, value.strip()) for name, _, value in (line.partition(":") for line in lines)
        )
        if status < 200:
            if status != _PROCESSING or not self._may_be_large:
                raise ValueError(status)
            return Head(status, headers, 0)
        if headers.get("Connection", "").lower() == "close":
            self.reusable = False
        length = 0 if status in (204, 304) else int(headers["Content-Length"])
        is_bounded = not (self._may_be_large and status == 200)
        if length < 0 or (is_bounded and length > MAX_ANSWER_BYTES):
            raise ValueError(length)
        return Head(status, headers, length)

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio."""
        self.abort("It closed the connection.")
        self._transport = None
        self._lost(self)

    def abort(self, why: str = "The connection was given up.") -> None:
        """Close at once; whoever waits for the answer is told."""
        self.reusable = False
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(PeerFailed(why))
        large, self._large = self._large, None
        if large is not None:
            large.fail(why)
        if self._transport is not None:
            self._transport.abort()
