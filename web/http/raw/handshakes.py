"""TLS before HTTP: how a connection becomes a secured one, and what it may cost until it is.

asyncio's own way gives no bound: a client that begins a handshake and goes no further holds a
socket for a minute, and the server is told of it only when it is over. And each secured
connection holds 256 KiB there, four thousand of them a gigabyte. So a new connection waits in a
`Doorstep` until its client says something; what is no TLS is told so in plain HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import ClassVar

from web.http.problems import Problem, last_answer

log = logging.getLogger(__name__)

#: How a TLS connection begins: a handshake record.
_HANDSHAKE = 0x16
#: The other side's last word is waited for no longer than this.
_GOODBYE_S = 1.0
#: The same, of any version, at a port for plain HTTP.
_TLS = b"\x16\x03"
_SPEAKS_TLS = (
    "A client speaks TLS to the port for plain HTTP: its address must begin with http://, or this "
    "worker needs ONHAND_TLS_CERT and ONHAND_TLS_KEY."
)
_NO_TLS = "This port speaks TLS: begin its address with https://."


def tell_of_tls(data: bytes) -> None:
    """Log where a client speaks TLS that speaks to nobody who understands it."""
    if data.startswith(_TLS):
        log.warning(_SPEAKS_TLS)


class Secured(SSLProtocol):
    """A TLS connection as asyncio speaks it, with a buffer of two records."""

    max_size: ClassVar[int] = 32 * 1024


class Handshakes:
    """Of one server: those that are not over.

    Args:
        limit: how many; beyond it, the oldest one is cut off.
        timeout_s: for each.
        context: asked when a client begins; a new certificate is in the next handshake.
        make: the protocol that speaks HTTP, one for each connection.
    """

    def __init__(
        self,
        limit: int,
        timeout_s: float,
        context: Callable[[], ssl.SSLContext],
        make: Callable[[], asyncio.Protocol],
    ) -> None:
        self._limit = limit
        self.timeout_s, self.context, self.make = timeout_s, context, make
        self._open: dict[Doorstep, None] = {}

    def begin(self) -> Doorstep:
        """For a new connection."""
        return Doorstep(self)

    def enter(self, one: Doorstep) -> None:
        """It is there."""
        self._open[one] = None
        if len(self._open) > self._limit:
            next(iter(self._open)).cut_off()

    def leave(self, one: Doorstep) -> None:
        """It is over, whatever came of it."""
        self._open.pop(one, None)

    @property
    def count(self) -> int:
        """How many are not over."""
        return len(self._open)

    def close(self) -> None:
        """The server ends."""
        for one in list(self._open):
            one.cut_off()


class Doorstep(asyncio.Protocol):
    """One connection, until its handshake is over."""

    def __init__(self, all_of_them: Handshakes) -> None:
        self._all = all_of_them
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._all.timeout_s, self.cut_off)
        self._all.enter(self)

    def data_received(self, data: bytes) -> None:
        """Of asyncio: the first bytes."""
        assert self._transport is not None
        if data[0] != _HANDSHAKE:
            self._transport.write(last_answer(Problem.INVALID_REQUEST, _NO_TLS))
            self._transport.close()
            return
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        over.add_done_callback(self._over)
        secured = Secured(
            loop,
            self._all.make(),
            self._all.context(),
            over,
            server_side=True,
            ssl_shutdown_timeout=_GOODBYE_S,
        )
        self._transport.set_protocol(secured)
        secured.connection_made(self._transport)
        while data and not self._transport.is_closing():
            room = secured.get_buffer(len(data))
            piece = data[: len(room)]
            room[: len(piece)] = piece
            secured.buffer_updated(len(piece))
            data = data[len(piece) :]

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio: the client went before it said anything, or was refused."""
        self._end()

    def cut_off(self) -> None:
        """Others need the place, or it took too long."""
        self._end()
        if self._transport is not None:
            self._transport.abort()

    def _over(self, how: asyncio.Future[None]) -> None:
        if not how.cancelled():
            how.exception()  # of a client's making; asyncio has closed the connection
        self._end()

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._all.leave(self)


async def connect_secured(
    protocol: asyncio.Protocol, context: ssl.SSLContext, host: str, port: int
) -> None:
    """Connect a client's protocol by TLS; what the other side shows must be of that host.

    Raises:
        OSError: no connection, or (as ssl.SSLError) no certificate that is believed.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    transport, _ = await loop.create_connection(
        lambda: Secured(
            loop, protocol, context, over, server_hostname=host, ssl_shutdown_timeout=_GOODBYE_S
        ),
        host,
        port,
    )
    try:
        await over
    except BaseException:
        transport.abort()
        raise
    if transport.is_closing():
        raise ConnectionResetError("The other side closed the connection.")
