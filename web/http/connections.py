"""What aiohttp's server lacks: a deadline for a request's head, and a bound on connections.

Faust makes the server from an aiohttp Application, and aiohttp has no setting for either
(3.14.5: web_protocol.py arms its keep-alive timer when a connection opens and after each
answer; a head that trickles in is cut off only by that). `guard` makes the Application
build its connections from the class below. All private names of aiohttp that Onhand
touches are in this file; tests/unit/web/http/test_connections.py says what broke.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from ssl import SSLContext
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_response import StreamResponse
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy

from web.http.outbox import Outbox
from web.http.problems import PAGES, Problem, last_answer, problem
from web.http.raw.handshakes import Doorstep, Handshakes, tell_of_tls
from web.http.raw.places import ConnectionPlaces
from web.http.raw.shortcuts import LATER, OPERATIONS, Shortcut, is_one_whole, never

log = logging.getLogger(__name__)

LARGE_BYTES = 64 * 1024
#: Of a request whose answer has no end: called when its client closes, or only ends its side.
WHEN_LEFT = web.RequestKey[Callable[[], None]]("when its client has left")


class ConnectionLimits(Struct, frozen=True):
    """Bounds on what one connection, and all of them, may cost.

    keepalive_timeout_s: of an idle one; above the 60 s of common load balancers: they close.
    head_timeout_s: from a request's first byte to the end of its headers.
    linger_s: how long the rest of a refused body is read and thrown away.
    connections: of clients, at once. Beyond them the one that was served longest ago goes.
    for_operations: beyond these, while all are being served, for /live, /ready and /metrics alone.
    handshakes: beside all these, that have not finished theirs; each has `head_timeout_s`.
    line_bytes: of a request's first line: a position names three topics of 1,000 partitions.
    write_timeout_s: who does not take what is sent within this is cut off.
    stalled: how many may keep answers waiting that they do not take; see `ConnectionPlaces`.
    """

    keepalive_timeout_s: float = 75.0
    head_timeout_s: float = 10.0
    linger_s: float = 2.0
    write_timeout_s: float = 30.0
    line_bytes: int = 128 * 2**10
    connections: int = 4096
    for_operations: int = 64
    handshakes: int = 256
    stalled: int = 512


class Connection(RequestHandler):
    """One client connection, with a deadline for each request's head."""

    __slots__ = (
        "_asked", "_at_boundary", "_behind", "_body", "_has_ended", "_head_deadline", "_limits",
        "_server", "_take_deadline", "_wire", "counts", "for_operations",
    )  # fmt: skip

    def __init__(self, server: "Server", limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._server = server
        self._limits = limits
        self._head_deadline: asyncio.TimerHandle | None = None
        #: While the client does not take what is sent.
        self._take_deadline: asyncio.TimerHandle | None = None
        #: As `transport`, also while that is closing.
        self._wire: asyncio.Transport | None = None
        self._at_boundary = True
        #: The request whose answer comes later by the shortcut, and what came behind it.
        self._asked: bytes | None = None
        self._behind = b""
        #: Of the request that came last; those before it are whole.
        self._body: StreamReader | None = None
        #: It has one of the places that are bounded.
        self.counts = False
        #: Beyond the bound: it may ask what operations ask, and nothing else.
        self.for_operations = False
        #: The client will send nothing more: close after the last answer.
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find a place for it; see `ConnectionPlaces.take_in`."""
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport
        if self.ssl_context is None:
            # Tell at once where the kernel takes no more: what is closed with something unsent
            # stays open for as long as its client likes. TLS closes within a second.
            transport.set_write_buffer_limits(high=0)
        until = self._loop.time() + self._limits.keepalive_timeout_s
        self._server.places.take_in(self, until)

    def pause_writing(self) -> None:
        """The client does not take what is sent: it has a deadline for that."""
        super().pause_writing()
        self._server.places.stalls(self)
        if self._wire is not None:
            delay_s = self._limits.write_timeout_s
            self._take_deadline = self._loop.call_later(delay_s, self._wire.abort)

    def resume_writing(self) -> None:
        """It has taken all of it."""
        super().resume_writing()
        self._server.places.flows(self)
        if self._take_deadline is not None:
            self._take_deadline.cancel()

    def data_received(self, data: bytes) -> None:
        """Take the shortcut, or hand on and arm the deadline while a head is incomplete."""
        if self._asked is not None:
            # Requests are answered in their order: what is not here yet waits with its sender.
            self._behind += data
            if self.transport is not None:
                self.transport.pause_reading()
            return
        is_quiet = self._is_quiet()
        if is_quiet and self._at_boundary and self.counts and self._is_answered(data):
            return
        if is_quiet:
            tell_of_tls(data)
        if self.for_operations and not data.startswith(OPERATIONS):
            self._refuse(Problem.TOO_BUSY)
            return
        self._hand_on(data, is_quiet)

    def _hand_on(self, data: bytes, is_quiet: bool) -> None:
        """The usual way."""
        if data:  # behind a body aiohttp calls this itself, with nothing
            self._at_boundary = is_quiet and self._at_boundary and is_one_whole(data)
        super().data_received(data)
        if self._messages:
            self._body = self._messages[-1][1]
            self._server.places.serves(self)
        if self._is_quiet():
            # Bytes came, and no request came of them.
            if self._head_deadline is None:
                delay_s = self._limits.head_timeout_s
                self._head_deadline = self._loop.call_later(delay_s, self._head_is_late)
        elif self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _is_answered(self, data: bytes) -> bool:
        """Whether the shortcut took it. Not while the client does not read what it gets."""
        if self._paused or self.transport is None:
            return False
        try:
            response = self._server.shortcut(data, partial(self._take, data))
        except Exception:
            log.exception("The shortcut met a bug; the request goes the usual way")
            return False
        if response is None:
            return False
        if response is LATER:
            self._asked = data
        else:
            self.transport.write(response)
        self._next_keepalive_close_time = self._loop.time() + self._limits.keepalive_timeout_s
        return True

    def _take(self, request: bytes, response: bytes | None) -> None:
        """The answer that was to come later; None: the request goes the usual way."""
        transport = self.transport
        if request is not self._asked or transport is None or transport.is_closing():
            return
        self._asked = None
        if response is None:
            self._hand_on(request, is_quiet=True)
        else:
            transport.write(response)
            if self._has_ended:  # then nothing came behind
                self.force_close()
        if self._behind:
            behind, self._behind = self._behind, b""
            transport.resume_reading()
            self.data_received(behind)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own has this answer
        """Whether to stay: a client that ends its side after its request gets its answer.

        Without this, asyncio closes both sides at once (`nc -N`, HTTP/1.0 clients, tests that
        write and shut down). Not for a request that is not whole: the rest cannot come.
        """
        if self.ssl_context is not None:
            return False  # TLS has no half of a connection
        is_whole = self._body is not None and self._body.is_eof() and not self._is_quiet()
        if (self._asked is None and not is_whole) or self._leaves() is not None:
            return False
        self._has_ended = True
        return True

    def _is_quiet(self) -> bool:
        """Whether it waits for a request, or will: the first may come with the TLS handshake."""
        waiter = self._waiter
        return self._request_count == 0 if waiter is None else not waiter.done()

    def _leaves(self) -> Callable[[], None] | None:
        """Tells an answer that has no end that nobody reads it any more."""
        request = self._current_request
        return None if request is None else request.get(WHEN_LEFT)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Disarm."""
        if (leaves := self._leaves()) is not None:
            leaves()
        for deadline in (self._head_deadline, self._take_deadline):
            if deadline is not None:
                deadline.cancel()
        self._asked = self._wire = None
        self._server.places.let_go(self)
        super().connection_lost(exc)

    def has_been_quiet_since(self) -> float | None:
        """When it was served last, plus the keep-alive time; None while it is being served.

        Half of a head is no request yet, and one whose answer is written, and whose body is only
        thrown away, is none any more.
        """
        if self._messages or self._asked is not None or self._request_in_progress:
            return None
        lingers = self._body is not None and not self._body.is_eof()
        return self._next_keepalive_close_time if lingers or self._is_quiet() else None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """A problem instead of aiohttp's plain text: 400 for what is not HTTP, else a bug."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client went away in the middle of its request: nobody's bug
        if status != 400:
            log.error("%s %s met a bug", request.method, request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has been sent in part: nothing can be added")
        if status == 400:
            # Up to the colon: behind it aiohttp quotes what was sent.
            why = (message or "").splitlines()[:1] or ["it could not be read"]
            detail = f"Not a valid HTTP request: {why[0].partition(':')[0]}."
            response = problem(Problem.INVALID_REQUEST, detail)
        else:
            response = problem(Problem.INTERNAL_ERROR, "The worker's log has the details.")
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Not for a body that cannot be unpacked: the client has its answer already."""
        if not isinstance(kwargs.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kwargs)

    async def finish_response(
        self, request: web.BaseRequest, resp: StreamResponse, start_time: float | None
    ) -> tuple[StreamResponse, bool]:
        """Write the answer; where it is the last, close behind it."""
        written = await self._write(request, resp, start_time)
        if self._has_ended and not self._messages:
            self.close()
        until = self._loop.time() + self._limits.keepalive_timeout_s
        self._server.places.served(self, until)
        return written

    async def _write(
        self, request: web.BaseRequest, resp: StreamResponse, start_time: float | None
    ) -> tuple[StreamResponse, bool]:
        """A large answer with a deadline and a bound: who does not read must not hold it."""
        body, transport = getattr(resp, "body", None), self.transport
        is_large = isinstance(body, bytes) and len(body) >= LARGE_BYTES
        if not (is_large and isinstance(transport, asyncio.Transport)):
            return await super().finish_response(request, resp, start_time)
        parcel = self._server.outbox.parcel()
        if not parcel.grow(len(body)):  # type: ignore[arg-type]  # bytes
            resp = problem(Problem.TOO_BUSY, "Large answers wait for those who asked for them.")
        else:
            parcel.waits(transport.abort)
        try:
            async with asyncio.timeout(self._limits.write_timeout_s):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            transport.abort()
            return resp, True
        finally:
            parcel.close()

    def _head_is_late(self) -> None:
        if self._is_quiet():
            self._refuse(Problem.REQUEST_TIMEOUT)

    def _refuse(self, name: Problem) -> None:
        """Answer without a request, then close."""
        if self.transport is not None:
            self.transport.write(last_answer(name, PAGES[name].happened))
        self.force_close()

    def give_way(self) -> None:
        """Close at once: others need the place.

        TLS would wait for the client's goodbye, and what is unsent until it takes that.
        """
        if self._wire is not None and (self.ssl_context is not None or self._paused):
            self._wire.abort()
        self.force_close()


class Server(web.Server):
    """aiohttp's server, making connections of our kind."""

    def __init__(
        self,
        plain: web.Server,
        limits: ConnectionLimits,
        shortcut: Shortcut,
        outbox: Outbox,
        tls: Callable[[], SSLContext] | None,
    ) -> None:
        settings = {
            **plain._kwargs,  # noqa: SLF001  not public, see above
            "keepalive_timeout": limits.keepalive_timeout_s,
            "lingering_time": limits.linger_s,
            "max_line_size": limits.line_bytes,
            "access_log": None,
        }
        self._plain_handler = plain.request_handler
        super().__init__(
            self._answer,
            request_factory=plain.request_factory,
            loop=plain._loop,  # noqa: SLF001  not public, see above
            **settings,
        )
        self._limits = limits
        self.shortcut, self.outbox = shortcut, outbox
        self.places = ConnectionPlaces(limits.connections, limits.for_operations, limits.stalled)
        self.handshakes = tls and Handshakes(
            limits.handshakes, limits.head_timeout_s, tls, self._connection
        )

    async def _answer(self, request: web.BaseRequest) -> StreamResponse:
        """As the application does; what it cannot even route is answered here.

        `CONNECT host:1`, `OPTIONS *`: no route of ours can take these, and aiohttp's own
        answer to them fails on an `Expect` that is no text.
        """
        if not request.path.startswith("/"):
            return problem(Problem.UNKNOWN_PATH, "What is asked for begins with a /.")
        return await self._plain_handler(request)

    def __call__(self) -> RequestHandler | Doorstep:  # type: ignore[override]  # asyncio wants any
        """Make the protocol of one new connection."""
        return self._connection() if self.handshakes is None else self.handshakes.begin()

    def _connection(self) -> Connection:
        return Connection(self, self._limits, loop=self._loop, **self._kwargs)

    def pre_shutdown(self) -> None:
        """Nobody new comes: those go as well that have not finished their handshakes."""
        if self.handshakes is not None:
            self.handshakes.close()
        super().pre_shutdown()


def leave_out(request: web.Request, beginning: str) -> None:
    """Take the headers whose names begin so, in lower case, out of a request."""
    # Not `request.clone`: it fails on values that are not UTF-8.
    kept = CIMultiDict(
        pair for pair in request.headers.items() if not pair[0].lower().startswith(beginning)
    )
    request._headers = CIMultiDictProxy(kept)  # noqa: SLF001  not public, see above
    request._cache.pop("headers", None)  # noqa: SLF001  not public, see above


def guard(
    app: web.Application,
    limits: ConnectionLimits,
    shortcut: Shortcut = never,
    outbox: Outbox | None = None,
    tls: Callable[[], SSLContext] | None = None,
) -> None:
    """Let `app` build guarded connections, whoever runs it. Call it before it is run.

    `tls`: asked for each connection, it gives what that one is to use; None: plain HTTP.
    """
    make_server = app._make_handler  # noqa: SLF001  not public, see above

    def make_guarded_server(**kwargs: Any) -> Server:
        return Server(make_server(**kwargs), limits, shortcut, outbox or Outbox(), tls)

    # Not setattr: in development mode aiohttp warns about it.
    object.__setattr__(app, "_make_handler", make_guarded_server)
