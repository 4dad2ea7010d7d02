"""What a load asks of its worker: by the calls that everybody has, as whoever is answered.

By way of its own address, as it asks other workers: so the same doors, bounds and rights hold, and
a worker that is no longer of the active version passes the question on.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from web.cluster.exchange import PeerFailed
from web.cluster.peers import Peers, get, post
from web.http.problems import Problem

#: A question of the past may wait for a position, and for a ledger.
_ANSWER_S: Final = 40.0
_UNPROVEN: Final = (
    "This worker asked itself at %s, and what answers there does not take it for a worker: "
    "ONHAND_URL must lead to this very worker, and ONHAND_PEER_SECRET must name the file of the "
    "secret that all workers share (docs/security.md)"
)


class OwnQuestions:
    """Asks this worker.

    Args:
        peers: connections.
        url: of this worker.
    """

    def __init__(self, peers: Peers, url: str) -> None:
        self._peers, self._url = peers, url

    async def __call__(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        """See `LoadQuestions`; where there is no answer, 503 says why."""
        url = self._url
        request = get(url, path, {}, "") if body is None else post(url, path, {}, "", body)
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await self._peers.ask(url, request, waits="wait_ms=" in path)
        except (PeerFailed, TimeoutError) as error:
            return _none(str(error) or f"No answer came within {_ANSWER_S:g} s.")
        return _none(_UNPROVEN % url) if answer.status == 401 else (answer.status, answer.body)


def _none(why: str) -> tuple[int, bytes]:
    told = {"type": f"/problems/{Problem.NOT_READY}", "detail": why}
    return 503, msgspec.json.encode(told)
