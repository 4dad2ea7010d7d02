"""One request at one worker: what goes out, and what comes back or fails."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from onhand_client.cluster import ClusterMap
from onhand_client.errors import ProblemError, problem_of

#: A token, or what gives it: asked before each request, for tokens that change.
Token = str | Callable[[], str] | None

CONNECT_S = 1.0
#: Statuses besides those from 500 on, after which the same request may succeed.
_AGAIN = frozenset({408, 429})


class Kind(Enum):
    """Requests that take about as long as each other."""

    KEY = "key"
    MANY = "many"
    PAGE = "page"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, whoever is asked.

    Attributes:
        path: percent-encoded.
        query: the same, without `?`.
        kind: how long such a request takes.
        body: as it goes out, each time the very same.
        headers: besides those of every request.
        of_rows: the answer has freshness.
        floor: for `min_position`; added with a wait that fits the time that is left.
        partition: whose owner is asked first; None asks anybody.
        any_holder: a standby will do.
        waits: it may have to wait for an own write: whoever is slow then need not hang.
        waits_for_outcome: of a write: the answer says what became of its events.
    """

    method: str
    path: str
    query: str = ""
    kind: Kind = Kind.KEY
    body: bytes | None = None
    headers: Mapping[str, str] | None = None
    of_rows: bool = False
    floor: str = ""
    partition: int | None = None
    any_holder: bool = False
    waits: bool = False
    waits_for_outcome: bool = False

    @property
    def is_write(self) -> bool:
        """Whether facts are sent: to one worker at a time."""
        return self.kind is Kind.WRITE


class Reply(NamedTuple):
    """A whole answer that says yes, or that a key is unknown."""

    status: int
    body: Any
    asked: str


class Failed(Exception):
    """No answer that counts.

    problem: what the worker said, if it said no. sent: false where surely nothing arrived.
    gone: the worker could not be reached, or broke off.
    """

    def __init__(
        self, why: str, *, problem: ProblemError | None = None, sent: bool = True, gone: bool
    ) -> None:
        super().__init__(why)
        self.problem, self.sent, self.gone = problem, sent, gone


class Transport:
    """Connections to all workers; opened when first used, kept, and closed once."""

    def __init__(
        self,
        cluster: ClusterMap,
        *,
        token: Token,
        tls: ssl.SSLContext | None,
        user_agent: str,
        connections: int,
    ) -> None:
        self._cluster = cluster
        self._token = token
        self._tls = tls
        self._user_agent = user_agent
        self._connections = connections
        self._http: aiohttp.ClientSession | None = None
        self._is_closed = False

    def _session(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise RuntimeError("The client is closed.")
        if self._http is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                limit_per_host=self._connections,
                ssl=True if self._tls is None else self._tls,
            )
            self._http = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": self._user_agent, "Accept": "application/json"},
                # Deadlines are of calls, not of requests.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            )
        return self._http

    async def send(self, url: str, request: Request, wait_ms: int | None) -> Reply:
        """Ask one worker.

        Args:
            url: of the worker.
            request: what.
            wait_ms: how long it may wait for the floor or the outcome; None where there is none.

        Raises:
            Failed: another worker, or the same one later, may answer.
            ProblemError: nobody would answer otherwise.
        """
        # In the order in which a worker takes them by its short way.
        parts = [f"min_position={request.floor}"] if request.floor else []
        parts += [f"wait_ms={wait_ms}"] if wait_ms is not None else []
        parts += [request.query] if request.query else []
        target = f"{url}{request.path}{'?' if parts else ''}{'&'.join(parts)}"
        headers = dict(request.headers) if request.headers else {}
        if self._token is not None:
            token = self._token if isinstance(self._token, str) else self._token()
            # A file that holds one ends with a line break, as often as not.
            headers["Authorization"] = f"Bearer {token.strip()}"
        session, began, took_s = self._session(), time.monotonic(), None
        self._cluster.began(url)
        try:
            async with session.request(
                request.method,
                URL(target, encoded=True),
                data=request.body,
                headers=headers,
                # A token is for the workers, not for where somebody sends us.
                allow_redirects=False,
            ) as response:
                data = await response.read()
            took_s = time.monotonic() - began
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Failed(f"{url} cannot be reached: {error}", sent=False, gone=True) from error
        except (aiohttp.ClientError, OSError) as error:
            why = f"{url} broke off: {type(error).__name__} {error}".rstrip()
            raise Failed(why, gone=True) from error
        finally:
            self._cluster.ended(url, took_s, request.kind is Kind.KEY)
        return _judged(url, request, response, data)

    async def close(self) -> None:
        """Close every connection. May be called twice."""
        self._is_closed = True
        if self._http is not None:
            await self._http.close()


def _judged(url: str, request: Request, response: aiohttp.ClientResponse, data: bytes) -> Reply:
    status = response.status
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    if status < 300:
        if not isinstance(body, dict) or (request.of_rows and "freshness" not in body):
            raise Failed(f"{url} answered {status} with something else.", gone=True)
        return Reply(status, body, url)
    problem = problem_of(status, body if isinstance(body, dict) else {}, _retry_after_s(response))
    if problem.name == "unknown-key":
        return Reply(status, body, url)
    if status >= 500 or status in _AGAIN:
        raise Failed(f"{url} answered {problem}", problem=problem, gone=False)
    raise problem


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    """Whole seconds, as workers write it; a date, as some proxies do, says nothing here."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 9 else None
