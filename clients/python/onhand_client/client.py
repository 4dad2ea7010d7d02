"""The client on asyncio, and sessions of it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from onhand_client.asking import STALLED_S, Asking
from onhand_client.cluster import ClusterMap
from onhand_client.many import ManyReads
from onhand_client.pacing import HedgeDelay
from onhand_client.past import PastReads
from onhand_client.positions import Positions, imported
from onhand_client.transport import Kind, Token, Transport
from onhand_client.writing import Writes

#: Of this package, which is released by itself.
__version__ = "0.1.0"

#: Least and most seconds until a second worker is asked, by kind of request.
HEDGES = {
    Kind.KEY: (0.02, 0.25),
    Kind.MANY: (0.05, 0.5),
    Kind.PAGE: (0.1, 1.0),
    Kind.WRITE: (1.0, 1.0),  # never
}


class Calls(ManyReads, PastReads, Writes):
    """Every call; as they stand, or of a session."""

    def __init__(
        self,
        asking: Asking,
        seen: Positions | None,
        source: str | None,
        timeout_s: float,
        write_timeout_s: float,
    ) -> None:
        self._asking, self._seen, self._source = asking, seen, source
        self._timeout_s, self._write_timeout_s = timeout_s, write_timeout_s


class AsyncClient(Calls):
    """Asks workers and sends them facts, from one event loop.

    Use it as `async with`, or call `close`. Many tasks may share it. Answers of calls that follow
    each other may come from different workers, and one may be older than the one before; a
    `session` forbids that.

    Args:
        urls: of one worker or some, such as `http://localhost:6066`. All others are learned.
        token: for `Authorization: Bearer`; or a function that gives it, asked for each request.
        tls: for https; None takes the system's certificates.
        source: of lines that name none.
        direct: false behind a load balancer: only `urls` are asked, nobody else is learned.
        timeout_s: for a read, with all its tries.
        write_timeout_s: for each request of a write, with all its tries. A worker says after 5 s
            that Kafka does not answer: a few times as much lets a broker restart.
        hedge: whether a second worker is asked when the first is slow; without it, when it hangs.
        connections: most to each worker.
        user_agent: in front of this package's own.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        token: Token = None,
        tls: ssl.SSLContext | None = None,
        source: str | None = None,
        direct: bool = True,
        timeout_s: float = 10.0,
        write_timeout_s: float = 30.0,
        hedge: bool = True,
        connections: int = 100,
        user_agent: str = "",
    ) -> None:
        cluster = ClusterMap([urls] if isinstance(urls, str) else urls, direct)
        transport = Transport(
            cluster,
            token=token,
            tls=tls,
            user_agent=f"{user_agent} onhand-client/{__version__}".strip(),
            connections=connections,
        )

        def new_hedge(kind: Kind) -> HedgeDelay:
            least_s, most_s = HEDGES[kind] if hedge else (STALLED_S, STALLED_S)
            return HedgeDelay(least_s, most_s)

        asking = Asking(cluster, transport, new_hedge)
        super().__init__(asking, None, source, timeout_s, write_timeout_s)

    def session(self, seen: str = "") -> Session:
        """Calls that never see time go back, and see what they wrote, through any worker.

        Args:
            seen: what `Session.export` gave, or the position of any answer; empty begins anew.

        Raises:
            ValueError: it is neither.
        """
        of_mine = Positions(imported(seen))
        return Session(self._asking, of_mine, self._source, self._timeout_s, self._write_timeout_s)

    async def close(self) -> None:
        """End what goes on behind the scenes, and close every connection."""
        await self._asking.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class Session(Calls):
    """One caller's view: each answer is as new as all before it, and holds its own writes.

    It costs nothing to make; a web application makes one for each of its users, and carries
    `export` in a cookie from one request to the next. It ends with its client.
    """

    @property
    def position(self) -> str:
        """What it has seen, as one position of workers: for `min_position` by other means."""
        assert self._seen is not None
        return self._seen.token()

    def export(self) -> str:
        """The same for `AsyncClient.session`, short, and fit for a cookie.

        Who changes it can only make his own reads fail.
        """
        assert self._seen is not None
        return self._seen.export()
