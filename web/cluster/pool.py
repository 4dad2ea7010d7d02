"""The connections of this worker to one other."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from core.words import in_words
from web.cluster.exchange import (
    Knows,
    LargeAnswer,
    PeerAnswer,
    PeerConnection,
    PeerFailed,
    PlainAnswer,
)
from web.http.raw.handshakes import connect_secured

log = logging.getLogger(__name__)

#: A worker that does not even accept a connection for this long is not worth waiting for.
_CONNECT_TIMEOUT_S = 1.0
#: Requests under way to one worker. A frozen worker must not collect more.
MAX_CONNECTIONS = 256
#: Those beside them that wait for a position over there: they keep nobody else out.
MAX_WAITING = 128
#: Bodies that one worker sends us in pieces. Slow clients hold these, and nobody else's place.
MAX_LARGE = 64
#: How often the log says of one worker that there is no TLS with it.
_SAY_EVERY_S = 60.0


class PeerCrowded(PeerFailed):
    """It was not even asked: this worker has too many requests under way to it."""


class AtOnce(NamedTuple):
    """A request under way. answer: raises PeerFailed for none. give_up: then there is none."""

    answer: asyncio.Future[PeerAnswer | PlainAnswer]
    give_up: Callable[[], None]


class PeerAddress(NamedTuple):
    """Where another worker listens. name: for `Host`."""

    tls: bool
    host: str
    port: int
    name: str


@lru_cache(maxsize=1024)
def address_of(url: str) -> PeerAddress:
    """Read a worker's `ONHAND_URL`, as its heartbeats tell it: nobody has checked it.

    Raises:
        PeerFailed: nothing can be reached there, or it would not fit into a request.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError as error:
        raise PeerFailed("Its address is none.") from error
    is_clean = parts.netloc.isascii() and parts.netloc.isprintable() and " " not in parts.netloc
    if parts.scheme not in ("http", "https") or not host or not is_clean:
        raise PeerFailed("Its address is none.")
    tls = parts.scheme == "https"
    return PeerAddress(tls, host, port or (443 if tls else 80), parts.netloc)


class Pool:
    """The connections to one worker, and how many requests are under way on them."""

    def __init__(self, url: str, tls: Callable[[], ssl.SSLContext]) -> None:
        self._address = address_of(url)
        self._tls = tls
        self._say_at = 0.0
        self.idle: list[PeerConnection] = []
        #: With those that are being made.
        self._open: set[PeerConnection] = set()
        self._is_closed = False
        #: Requests under way, those that do not wait for a position and those that do.
        self.under_way = [0, 0]
        self.large = 0
        self.asked_at = time.monotonic()

    @property
    def open(self) -> int:
        """How many connections there are, with those that are being made."""
        return len(self._open)

    @contextmanager
    def place(self, waits: bool) -> Iterator[None]:
        """Around one request.

        Raises:
            PeerCrowded: there are too many of its kind.
        """
        if self.under_way[waits] >= (MAX_WAITING if waits else MAX_CONNECTIONS):
            raise PeerCrowded("It has too many requests of ours under way.")
        self.under_way[waits] += 1
        try:
            yield
        finally:
            self.under_way[waits] -= 1

    async def connect(self) -> PeerConnection:
        """One connection more; raises PeerFailed."""
        connection = PeerConnection(self.lost)
        self._open.add(connection)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                host, port = self._address.host, self._address.port
                if self._address.tls:
                    await connect_secured(connection, self._tls(), host, port)
                else:
                    loop = asyncio.get_running_loop()
                    await loop.create_connection(lambda: connection, host, port)
        except BaseException as error:
            if not connection.was_made:
                self._open.discard(connection)  # else `lost` does it
            if isinstance(error, TimeoutError):
                raise PeerFailed("It accepts no connection.") from error
            if isinstance(error, ssl.SSLError):
                raise PeerFailed(self._not_believed(error)) from error
            if isinstance(error, OSError):
                raise PeerFailed("It refuses connections.") from error
            raise
        if self._is_closed:
            connection.abort()
            raise PeerFailed("This worker stops.")
        return connection

    def _not_believed(self, error: ssl.SSLError) -> str:
        """Why there is no TLS with it; nobody would find out from refused requests alone."""
        why = getattr(error, "verify_message", "") or in_words(error)
        now = time.monotonic()
        if now >= self._say_at:
            self._say_at = now + _SAY_EVERY_S
            log.warning(
                "The worker at https://%s cannot be asked (%s): its certificate must be signed by "
                "one in ONHAND_TLS_CA and name this host.",
                *(self._address.name, why),
            )
        return f"There is no TLS with it ({why})."

    def take(self) -> PeerConnection | None:
        """One that is idle, if there is any."""
        # Newest first: under light load the others fall idle and are closed by their server.
        while self.idle:
            connection = self.idle.pop()
            if connection.reusable:
                return connection
            connection.abort()
        return None

    def give_back(self, connection: PeerConnection) -> None:
        """After a request: keep it for the next one if it can be used again."""
        if connection.is_free():
            self.idle.append(connection)
        else:
            connection.abort()

    def ask_at_once(self, request: bytes, knows: Knows) -> AtOnce | None:
        """Send one on a connection that is idle; None where none is, or no more may be."""
        if self.under_way[False] >= MAX_CONNECTIONS:
            return None
        connection = self.take()
        if connection is None:
            return None
        self.under_way[False] += 1
        answer = connection.ask_plainly(request, knows)

        def end(answer: asyncio.Future[PeerAnswer | PlainAnswer]) -> None:
            self.under_way[False] -= 1
            self.give_back(connection)

        answer.add_done_callback(end)
        return AtOnce(answer, connection.abort)

    def keep(self, large: LargeAnswer, connection: PeerConnection) -> None:
        """A place for a body in pieces, until it is closed.

        Raises:
            PeerCrowded: there are too many.
        """
        if self.large >= MAX_LARGE:
            large.close()
            raise PeerCrowded("It sends us too many large answers.")
        self.large += 1

        def end() -> None:
            self.large -= 1
            self.give_back(connection)

        large.ended = end

    def close(self) -> None:
        """Close all: nobody asks any more, but an answer may still be under way (a hedge's)."""
        self._is_closed = True
        for connection in list(self._open):
            connection.abort()

    def lost(self, connection: PeerConnection) -> None:
        """It is closed."""
        self._open.discard(connection)
        with suppress(ValueError):
            self.idle.remove(connection)
