"""Read a request's body within its bounds, or say why not."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from msgspec import Struct

from web.http.conditions import refusal_of
from web.http.gate import refusal_by_now
from web.http.problems import Problem, problem
from web.http.replies import JSON

FORM = "application/x-www-form-urlencoded"
#: Everything that msgspec raises for bytes that are no JSON of the wanted shape. It raises
#: RecursionError for what is nested too deep, and that is no MsgspecError.
BAD_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_SHOWN_CHARS = 200


def json_fault(error: Exception) -> str:
    """What of it a caller is told: it quotes names that the body holds, which may be long."""
    said = str(error)
    return said if len(said) <= _SHOWN_CHARS else said[: _SHOWN_CHARS - 3] + "..."


class Room:
    """The memory for bodies that are not whole yet, of all requests.

    Whoever sends slowly holds its own connection and its own bytes, and nobody's turn. When
    the room is full, the one that has been sending for longest goes.
    """

    def __init__(self, bytes_: int) -> None:
        self._limit = bytes_
        self._held = 0
        #: Bytes of each, longest first, by what ends it.
        self._reading: dict[asyncio.Timeout, int] = {}

    def reading(self) -> int:
        """How many are being read."""
        return len(self._reading)

    @asynccontextmanager
    async def place(self, timeout_s: float) -> AsyncIterator[asyncio.Timeout]:
        """Around the reading of one body; raises TimeoutError when its time is over."""
        async with asyncio.timeout(timeout_s) as clock:
            self._reading[clock] = 0
            try:
                yield clock
            finally:
                self._held -= self._reading.pop(clock, 0)

    def grow(self, clock: asyncio.Timeout, size: int) -> None:
        """So many bytes more have come."""
        if clock not in self._reading:
            return  # it has to go, at its next wait
        self._reading[clock] += size
        self._held += size
        while self._held > self._limit:
            slowest = next(iter(self._reading))
            self._held -= self._reading.pop(slowest)
            if not slowest.expired():
                slowest.reschedule(0)


class BodyLimits(Struct, frozen=True):
    """Bounds on one request's body, after decompression; `room` is what all share."""

    bytes: int = 1024 * 1024
    timeout_s: float = 10.0
    room: Room = Room(32 * 2**20)


async def read_json(
    request: web.Request, limits: BodyLimits, types: Collection[str] = (JSON,)
) -> bytes | web.Response:
    """The body, decompressed but not parsed; or the problem to answer with.

    Args:
        request: whose body; gzip and deflate are undone by aiohttp.
        limits: how large, how slow.
        types: media types taken. With `application/json` among them, JSON without a type
            or under curl's default type is taken too: see `_named_by_default`.
    """
    if (refused := refusal_of(request.headers)) is not None:
        return refused
    if not _is_taken(request, types):
        return _unsupported(request, types)
    body = await read_raw(request, limits)
    if isinstance(body, web.Response):
        return body
    if body.lstrip()[:1] not in b"{[" and JSON in types and _media_type(request) in ("", FORM):
        return _unsupported(request, types)
    return body


async def read_raw(request: web.Request, limits: BodyLimits) -> bytes | web.Response:
    """The body, decompressed, whatever it is; or the problem to answer with.

    Who was shut out while it came is refused.
    """
    if (request.content_length or 0) > limits.bytes:
        return _too_large(limits)
    content = request.content
    if content.is_eof() and content.exception() is None:  # it came with its head, as most do
        body = content.read_nowait()
        return body if len(body) <= limits.bytes else _too_large(limits)
    try:
        async with limits.room.place(limits.timeout_s) as clock:
            read = await _read(request, limits, clock)
    except TimeoutError:
        detail = f"The body did not arrive within {limits.timeout_s:g} s, or before others'."
        response = problem(Problem.REQUEST_TIMEOUT, detail)
        response.force_close()
        return response
    except (web.RequestPayloadError, web.HTTPException) as broken:
        return problem(Problem.INVALID_REQUEST, f"The body could not be read: {broken}.")
    if read is None:
        return _too_large(limits)
    late = refusal_by_now()
    return read if late is None else late


async def _read(request: web.Request, limits: BodyLimits, clock: asyncio.Timeout) -> bytes | None:
    """None when there is more than the limit; the rest is left unread."""
    chunks, size = [], 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > limits.bytes:
            return None
        limits.room.grow(clock, len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _media_type(request: web.Request) -> str:
    """In lower case without parameters; empty without the header."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _is_taken(request: web.Request, types: Collection[str]) -> bool:
    if "Content-Encoding" not in request.headers and request.headers.get("Content-Type") in types:
        return True
    taken = _media_type(request) in types or (JSON in types and _named_by_default(request))
    charset = (request.charset or "utf-8").lower()
    coding = request.headers.get("Content-Encoding", "identity").lower()
    return taken and charset in ("utf-8", "utf8") and coding in ("identity", "gzip", "deflate")


def _named_by_default(request: web.Request) -> bool:
    """Whether nobody chose the type: `curl -d` says form without being asked.

    Not from a browser: it sends these two types to any address without asking first (CORS),
    so a web page could write to a worker that its reader can reach. It says where it comes
    from, curl does not.
    """
    headers = request.headers
    browser = "Origin" in headers or "Sec-Fetch-Site" in headers or "Referer" in headers
    return _media_type(request) in ("", FORM) and not browser


def _too_large(limits: BodyLimits) -> web.Response:
    return problem(Problem.TOO_LARGE, f"The body is larger than {limits.bytes:,} bytes.")


def _unsupported(request: web.Request, types: Collection[str]) -> web.Response:
    named = request.headers.get("Content-Type") or "no Content-Type"
    coding = request.headers.get("Content-Encoding")
    encoded = f" in {coding}" if coding else ""
    wanted = " or ".join(types)
    # A header may hold any bytes, JSON may not: ascii() keeps both readable.
    given = ascii(f"{named}{encoded}"[:200])
    detail = f"This call takes UTF-8 JSON as {wanted}, not {given}."
    return problem(Problem.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept": ", ".join(types)})
