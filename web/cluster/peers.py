"""How one worker asks another: the public calls, with headers that say so.

`Onhand-Hop: 1`: answer from your own rows or not at all. `Onhand-Version`: only if
you are of this version. `Onhand-Partitions`: a list of these partitions; the others count
as missing. Whoever sends them gets no wrong answer, only fewer. `Onhand-In-Pieces: 1`: the
answer may be large, and may be announced by a 102 that ends the race for it.

The client is our own: aiohttp's would add 0.35 ms to each forwarded read, this one adds 0.1.
It knows what our server says and no more: `Content-Length` bodies, one request at a time on
each connection, connections kept for the next request.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlencode

from web.access.certificates import PLAIN
from web.cluster.exchange import (
    FromPeer,
    Knows,
    LargeAnswer,
    PeerAnswer,
    PeerConnection,
    PeerFailed,
)
from web.cluster.pool import AtOnce, PeerCrowded, Pool, address_of

HOP = "Onhand-Hop"
HOP_VERSION = "Onhand-Version"
#: Of the record of versions by which a door passes a request on.
HOP_EPOCH = "Onhand-Epoch"
PARTITIONS = "Onhand-Partitions"
#: Of a worker that takes a body in pieces, and word that an answer is being made (102).
IN_PIECES = "Onhand-In-Pieces"
#: In the answer to a list or lookup: partitions that had not reached `min_position`.
NOT_CAUGHT_UP = "Onhand-Not-Caught-Up"
#: The same, of partitions whose last owner does not know the next one: worth asking again.
BETWEEN_OWNERS = "Onhand-Between-Owners"

#: A worker not asked for this long is forgotten: each one that is started anew in a cluster
#: of containers has another address.
FORGET_S = 60.0
#: Connections to all workers, busy and idle.
MAX_OPEN = 4096
#: As aiohttp reads heads: what is not UTF-8 comes out as it went in.
_CODEC = ("utf-8", "surrogateescape")


class Peers:
    """Asks other workers. Deadlines are the caller's: cancel `ask` to give up."""

    def __init__(
        self,
        limit: int = MAX_OPEN,
        signed: Callable[[str, bytes], bytes] | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """`signed`: the request to a URL, with what proves who sends it.

        `tls`: asked for each connection to an https URL; None: the system's authorities.
        """
        self._limit = limit
        self._signed = signed or _as_it_is
        self._tls = tls or PLAIN.client
        self._peers: dict[str, Pool] = {}

    async def ask(self, url: str, request: bytes, *, waits: bool = False) -> PeerAnswer:
        """Send one request, made by `get` or `post`, and return the answer.

        Args:
            url: of the other worker.
            request: the bytes.
            waits: it may wait over there, for a position that a caller named.

        Raises:
            PeerCrowded: too many of ours are under way; this says nothing about that worker.
            PeerFailed: no connection, or no answer on it.
        """
        answer = await self._ask(url, request, waits, may_be_large=False)
        assert isinstance(answer, PeerAnswer)
        return answer

    async def ask_in_pieces(self, url: str, request: bytes, *, waits: bool = False) -> FromPeer:
        """As `ask`; what is large, or announced, is for the caller to take and to close."""
        return await self._ask(url, request, waits, may_be_large=True)

    async def _ask(self, url: str, request: bytes, waits: bool, may_be_large: bool) -> FromPeer:
        peer = self._peers.get(url)
        if peer is None:
            self._forget()
            peer = self._peers[url] = Pool(url, self._tls)
        peer.asked_at = time.monotonic()
        request = self._signed(url, request)
        with peer.place(waits):
            connection = peer.take()
            if connection is not None:
                # It may have been closed by the other side just now, which says nothing
                # about that worker: all our requests are reads, so ask once more.
                try:
                    return await self._exchange(peer, connection, request, may_be_large)
                except PeerCrowded:
                    raise
                except PeerFailed:
                    pass
            self._make_room()
            return await self._exchange(peer, await peer.connect(), request, may_be_large)

    def has_idle(self, url: str) -> bool:
        """Whether a connection to that worker waits for a request."""
        peer = self._peers.get(url)
        return peer is not None and bool(peer.idle)

    def ask_at_once(self, url: str, request: bytes, knows: Knows) -> AtOnce | None:
        """As `ask`, without a task; None, and nothing sent, where no connection may take it.

        knows: see `PeerConnection.ask_plainly`.
        """
        peer = self._peers.get(url)
        if peer is None:
            return None
        peer.asked_at = time.monotonic()
        return peer.ask_at_once(self._signed(url, request), knows)

    def _make_room(self) -> None:
        """For one connection more: at the cost of one that is idle.

        Raises:
            PeerCrowded: none is.
        """
        if sum(peer.open for peer in self._peers.values()) < self._limit:
            return
        for peer in self._peers.values():
            if peer.idle:
                peer.idle.pop(0).abort()
                return
        raise PeerCrowded("This worker has no connection left for it.")

    async def _exchange(
        self, peer: Pool, connection: PeerConnection, request: bytes, may_be_large: bool
    ) -> FromPeer:
        try:
            answer = await connection.ask(request, may_be_large)
        except BaseException:
            connection.abort()  # also when cancelled: an answer may still come on it
            raise
        if isinstance(answer, LargeAnswer):
            peer.keep(answer, connection)
        else:
            peer.give_back(connection)
        return answer

    def _forget(self) -> None:
        """Drop the workers that nobody has asked for long; with every new one."""
        since = time.monotonic() - FORGET_S
        for url, peer in list(self._peers.items()):
            if peer.asked_at < since and len(peer.idle) == peer.open:
                del self._peers[url]
                peer.close()

    async def close(self) -> None:
        """Close every connection, after the last request."""
        for peer in self._peers.values():
            peer.close()
        self._peers.clear()
        await asyncio.sleep(0)  # lets the transports close


def _as_it_is(url: str, request: bytes) -> bytes:
    return request


def get(url: str, path: str, parameters: Mapping[str, str], headers: str) -> bytes:
    """A GET of the percent-encoded path; each line in `headers` ends with CRLF."""
    return _head("GET", url, path, parameters, headers)


def post(url: str, path: str, parameters: Mapping[str, str], headers: str, body: bytes) -> bytes:
    """A POST of JSON."""
    about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}"
    return _head("POST", url, path, parameters, about) + body


def _head(method: str, url: str, path: str, parameters: Mapping[str, str], lines: str) -> bytes:
    # Positions stay as they are, readable in logs and for `QuickReads`.
    query = f"?{urlencode(parameters, safe='@,:')}" if parameters else ""
    where = f"Host: {address_of(url).name}"
    return f"{method} {path}{query} HTTP/1.1\r\n{where}\r\n{lines}\r\n".encode(*_CODEC)


def hop_headers(version: int) -> str:
    """The two lines that every request to another worker has."""
    return f"{HOP}: 1\r\n{HOP_VERSION}: {version}\r\n"


def row_headers(version: int, epoch: int) -> str:
    """The lines of one for rows: it is answered by no older record of versions than this."""
    return f"{hop_headers(version)}{HOP_EPOCH}: {epoch}\r\n"


def through_door(
    method: str, url: str, target: str, version: int, epoch: int, lines: str, body: bytes
) -> bytes:
    """Any request, passed on to another version, as its client made it.

    Args:
        method: but HEAD, whose answer has no end that can be seen here.
        url: of the other worker.
        target: path and query, percent-encoded as they came.
        version: to answer it.
        epoch: of the record that says so.
        lines: headers, each ending with CRLF.
        body: whole.
    """
    about = f"{HOP}: door\r\n{HOP_VERSION}: {version}\r\n{HOP_EPOCH}: {epoch}\r\n{lines}"
    if body or method not in ("GET", "OPTIONS"):
        about += f"Content-Length: {len(body)}\r\n"
    return _head(method, url, target, {}, about) + body


def is_for_another_version(given: Mapping[str, str], version: int) -> bool:
    """Whether another worker took this one for one of another version."""
    return given.get(HOP_VERSION, str(version)) != str(version)


def waiting(min_position: str, wait_s: float) -> dict[str, str]:
    """Query parameters that ask for at least this position, if any."""
    if not min_position:
        return {}
    return {"min_position": min_position, "wait_ms": str(max(0, int(wait_s * 1000)))}


def numbers(partitions: Iterable[int]) -> str:
    """Partition numbers as a header's value."""
    return ",".join(map(str, partitions))


def partitions_in(answer: PeerAnswer, header: str) -> set[int]:
    """Partitions that another worker names in this header of its answer."""
    listed = answer.headers.get(header, "").split(",")
    return {int(p) for p in listed if re.fullmatch("[0-9]{1,9}", p)}
