"""A plain read of a row that another worker owns, handed on from the bytes that came in.

aiohttp and its task for each request take several times of what the hop itself takes. So the
usual forwarded read goes without them: to the owner, if that is known, nothing speaks against it
and a connection to it is idle; its answer goes back as it comes. All else goes the usual way
(`web/cluster/asking.py`), and so does what the owner did not answer, or not in time: it is asked
for anew, of whoever is next. Nothing was sent to the client until then.
"""

from __future__ import annotations

import asyncio
import re
import time
from http import HTTPStatus
from typing import TypeAlias

from aiohttp.helpers import rfc822_formatted_time

from tables.reading import Reading
from web.cluster.admission import OWN_WAIT_S
from web.cluster.answers import for_client, problem_of
from web.cluster.exchange import PeerAnswer, PeerFailed, PlainAnswer
from web.cluster.peers import HOP_VERSION
from web.cluster.pool import AtOnce
from web.cluster.roster import Holder
from web.cluster.routing import KEY_PATIENCE, Router
from web.http.gate import Gate
from web.http.raw.shortcuts import LATER, Take
from web.http.replies import Observe
from web.reads.questions import Hop, KeyQuestion

#: A row as `QuickReads` of another worker writes it: it may be passed on byte by byte.
_PLAIN = re.compile(
    rb"HTTP/1\.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-cache\r\n"
    rb"Server: onhand\r\nX-Content-Type-Options: nosniff\r\nETag: [!-~]+\r\n"
    rb"Onhand-Role: ([a-z]+)\r\nOnhand-Worker: [!-~]+\r\nOnhand-Position: ([!-~]*)\r\n"
    rb"Onhand-Lag-Events: [0-9]+\r\nOnhand-As-Of: [!-~]+\r\nOnhand-Version: [0-9]+\r\n"
    rb"Onhand-Epoch: [0-9]+\r\nContent-Length: ([0-9]{1,7})\r\nDate: [ -~]+\r\n\r\n"
)
#: How often it is looked whether an owner is slow.
_LOOK_S = 0.05
#: An answer that is met later than this came while this worker did nothing.
_STALE_S = KEY_PATIENCE.hedge_s + 4 * _LOOK_S
_Answer: TypeAlias = asyncio.Future[PeerAnswer | PlainAnswer]


class RowRelay:
    """Hands plain reads on.

    Args:
        router: of this worker.
        table: of this worker; it says by which record of versions answers are given.
        version: whose rows are read.
        gate: has a place for each that is under way.
        observe: is told role, outcome and seconds of each that is answered.
    """

    def __init__(
        self, router: Router, table: Reading, version: int, gate: Gate, observe: Observe
    ) -> None:
        self._router, self._table, self._version = router, table, version
        self._gate, self._observe = gate, observe
        #: Those under way, the oldest first.
        self._errands: dict[_Errand, None] = {}
        self._looking: asyncio.TimerHandle | None = None

    def begin(
        self, question: KeyQuestion, partition: int, owner: Holder, take: Take
    ) -> bytes | None:
        """`LATER`, or None where this is nothing for the short way: then nothing was asked.

        `owner`: whom to ask first, as the router says.
        """
        router, url = self._router, owner.url
        if question.asked.min_position or not router.is_trusted(owner):
            return None
        if not router.peers.has_idle(url) or not self._gate.enter():
            return None
        asked = None
        try:
            floor = router.admission.mark_token(partition)
            hop = Hop(url, self._version, self._table.label[1], floor, OWN_WAIT_S)
            asked = router.peers.ask_at_once(url, question.request(hop), _plain)
        finally:
            if asked is None:
                self._gate.leave()
        if asked is None:
            return None
        errand = _Errand(self, url, partition, asked, take)
        self._errands[errand] = None
        asked.answer.add_done_callback(errand.told)
        if self._looking is None:
            self._look_later()
        return LATER

    def end(self, errand: _Errand, answer: _Answer) -> bytes | None:
        """It is not under way any more: what its client gets of this, if that is all."""
        self._errands.pop(errand, None)
        self._gate.leave()
        age_s = _now() - errand.started
        # Who slept meanwhile, or stood still, may be of another version now: the usual way looks.
        if answer.exception() is not None or age_s > _STALE_S:
            return None
        found, router = answer.result(), self._router
        if isinstance(found, PlainAnswer):
            router.admission.heard([errand.partition], found.position)
            role, outcome, written = found.role, "found", found.data
        else:
            try:
                router.heard(errand.partition, found)
            except PeerFailed:
                return None
            if found.status not in (200, 404) or HOP_VERSION not in found.headers:
                return None
            role = found.headers.get("Onhand-Role", "none")
            outcome, written = str(problem_of(found) or "found"), _written(found)
        router.trust(errand.url)
        self._observe(role, outcome, age_s)
        return written

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        """Who has not answered for long may be frozen: the next one is asked."""
        self._looking = None
        since = _now() - KEY_PATIENCE.hedge_s
        for errand in list(self._errands):
            if errand.started > since:
                break
            if not errand.asked.answer.done():
                self._router.suspect(errand.url)
                errand.asked.give_up()
        if self._errands:
            self._look_later()


class _Errand:
    """One read under way; by identity."""

    def __init__(
        self, relay: RowRelay, url: str, partition: int, asked: AtOnce, take: Take
    ) -> None:
        self._relay, self._take = relay, take
        self.url, self.partition, self.asked = url, partition, asked
        self.started = _now()

    def told(self, answer: _Answer) -> None:
        """What came of it. A bug costs no answer: the usual way gives one."""
        response = None
        try:
            response = self._relay.end(self, answer)
        finally:
            self._take(response)


def _now() -> float:
    """Seconds, those counted in which the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def nobody(response: bytes | None) -> None:
    """Takes an answer that nobody waits for."""


def _plain(data: bytes) -> PlainAnswer | None:
    found = _PLAIN.match(data)
    if found is None or len(data) != found.end() + int(found[3]):
        return None
    return PlainAnswer(data, found[1].decode(), found[2].decode())


def _written(answer: PeerAnswer) -> bytes:
    """The bytes of an answer, as aiohttp would write it."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in for_client(answer.headers).items())
    start = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
    end = f"Content-Length: {len(answer.body)}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
    return (start + lines + end).encode() + answer.body
