"""The door: a worker of another version passes requests to the active one, whatever they ask.

`Onhand-Hop: door` says to the other worker that it is to answer from its version, by itself or
by one more hop; `Onhand-Version` and `Onhand-Epoch` which one that is, by which record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import unquote, unquote_plus

import msgspec
from aiohttp import web

from core.positions import epoch_in
from domain.lookup import TooBusy
from tables.reading import Reading
from web.cluster.admission import Admission
from web.cluster.answers import unanswered_reply
from web.cluster.exchange import PeerAnswer
from web.cluster.peers import (
    HOP,
    HOP_EPOCH,
    Peers,
    is_for_another_version,
    through_door,
)
from web.cluster.roster import WorkerView
from web.cluster.routing import KEY_PATIENCE, LIST_PATIENCE
from web.http.bodies import BodyLimits, read_raw
from web.http.parameters import target_of
from web.http.problems import Problem, problem
from web.http.replies import SERVER, Handler, label
from web.versions.asked import is_about_the_past, is_version, version_named, without_version
from web.versions.passage import Crossing, Passage
from web.versions.switch import Switch
from web.versions.view import VersionView

#: For one try, besides what the caller waits: above what an answer from there may take.
READ_S, WRITE_S = 3.5, 6.0
#: The same of what a ledger answers, or Kafka is read for.
LONG_S = 12.0
#: Who has not answered a question about rows for so long may be frozen: the next one is asked, too.
HEDGE_S = 0.5
#: For what this worker has answered itself. A version may be promoted that is 2 s behind
#: (`app.upgrades.fleet.BEHIND_S`): until it has counted that, a read waits and does not fail.
FLOOR_WAIT_S = 2.5
#: How long a token's epoch may be waited for without a `wait_ms`, and the most with one.
_WAIT_S, _MOST_WAIT_S = 1.0, 10.0
#: For the record that another worker names.
_HINT_S = 1.0

#: In the bytes of a request, as other workers write them.
_HOP = f"\r\n{HOP}: 1\r\n".encode()
_CONTROL = b"control"
_CONTROL_EPOCH = re.compile(rb"control@([0-9]{1,18})")
_READS = re.compile(r"/v1/(?:inventory(?:/|$)|lookup$)")
_FACTS = re.compile(r"/v1/facts(?:/lookup)?$")
_KEY = re.compile(r"/v1/inventory/([^/]+)(?:/[^/]+)?")
_MIN_POSITION = re.compile(r"(^|&)min_position=([^&]*)")
_WAIT_MS = re.compile(r"(?:^|&)wait_ms=([0-9]{1,5})(?:&|$)")
# What of another worker's answer belongs to that connection.
_NOT_PASSED_ON = frozenset(
    ("connection", "keep-alive", "transfer-encoding", "content-length", "date")
)
# What of a request matters to the answer.
_TAKEN_ALONG = (
    "accept", "content-type", "idempotency-key", "if-",
    "last-event-id", "prefer", "ce-", "traceparent", "tracestate", "x-request-id",
    # By these a browser says that a page of somebody else may have asked.
    "origin", "referer", "sec-fetch-",
)  # fmt: skip


class _Positions(msgspec.Struct):
    positions: str = ""


class Door:
    """Chooses, once at its entry, which version answers a request.

    Args:
        view: of the record. switch: what this worker answers from.
        table: of this worker. admission: knows the floors.
        peers: asks other workers. workers: all others that are known.
        limits: of a body that is passed on.
    """

    def __init__(
        self,
        view: VersionView,
        switch: Switch,
        table: Reading,
        admission: Admission,
        peers: Peers,
        workers: Callable[[], Sequence[WorkerView]],
        limits: BodyLimits,
    ) -> None:
        self._view, self._switch = view, switch
        self._table, self._admission = table, admission
        self._passage, self._limits = Passage(peers, workers), limits

    @property
    def answering(self) -> int:
        """The version that whoever names none is answered from now."""
        return self._switch.answering

    def guarding(self, handler: Handler) -> Handler:
        """The handler, for the requests that this worker's own version answers."""

        async def handle(request: web.Request) -> web.StreamResponse:
            await self._switch.awake()
            if HOP in request.headers:
                if is_for_another_version(request.headers, self._view.version):
                    detail = f"This worker is of version {self._view.version}."
                    return problem(Problem.NOT_READY, detail)
                await self._follow(request.headers.get(HOP_EPOCH, ""))
                return self._labelled(await handler(request))
            path, query = target_of(request)
            if (refused := await self._behind(query)) is not None:
                return refused
            named = version_named(path, query)
            if named is not None and not is_version(named):
                return self._labelled(await handler(request))  # which says what is wrong with it
            version = self._switch.answering if named is None else int(named)
            if version == self._view.version:
                return self._labelled(await handler(request))
            return await self._pass_on(request, path, query, version, is_named=named is not None)

        return handle

    def is_plain(self, data: bytes) -> bool:
        """Whether the bytes of a request may be answered from this worker's rows as they come."""
        if self._switch.has_slept():
            return False
        # Most requests name no position: one byte is found out of ten times as fast as a word.
        if b"@" in data and _CONTROL in data:
            named = _CONTROL_EPOCH.findall(data)
            if not named or max(map(int, named)) > self._switch.epoch:
                return False
        return self._switch.is_here or _HOP in data

    def _labelled(self, response: web.StreamResponse) -> web.StreamResponse:
        """Rows say it themselves; all else says it here."""
        if not response.prepared and "Onhand-Version" not in response.headers:
            label(response, *self._table.label)
        return response

    async def _follow(self, hint: str) -> None:
        """Another worker has read this record: so must this one before it answers."""
        if re.fullmatch("[0-9]{1,18}", hint):
            await self._view.reaches(int(hint), _HINT_S)

    async def _behind(self, query: str) -> web.Response | None:
        """The refusal where a caller has seen a record that this worker has not gone over to."""
        if "control" not in query:
            return None
        found = _MIN_POSITION.search(query)
        wanted = 0 if found is None else epoch_in(unquote(found[2]))
        if wanted <= self._switch.epoch:
            return None
        if await self._switch.reaches(wanted, waited_s(query)):
            return None
        detail = f"This worker answers by epoch {self._switch.epoch}, not yet by {wanted}."
        return problem(Problem.NOT_CAUGHT_UP, detail, retry_after_s=1)

    # ---- to another version

    async def _pass_on(
        self, request: web.Request, path: str, query: str, version: int, *, is_named: bool
    ) -> web.StreamResponse:
        body = b""
        if request.can_read_body:
            read = await read_raw(request, self._limits)
            if isinstance(read, web.Response):
                return read
            body = read
        partitions = self._partitions(path, query)
        waits = "min_position" in query
        if is_named:
            query = without_version(query)
        elif partitions:
            query = self._with_floors(query, partitions)
        target = f"{path}?{query}" if query else path
        is_of_now = bool(partitions)
        is_read = request.method in ("GET", "HEAD") or is_of_now
        # A worker answers a HEAD as a GET, and the server leaves the body out.
        method = "GET" if request.method == "HEAD" else request.method
        try_s = waited_s(query) + _patience_s(path, is_read=is_read, is_of_now=is_of_now)

        def hop(url: str) -> bytes:
            epoch = self._view.epoch or 0
            return through_door(method, url, target, version, epoch, _lines_of(request), body)

        # Of a version that a caller names there may be nobody for ever.
        again_s = 0.0 if is_named else _again_s(partitions)
        hedge_s = HEDGE_S if is_of_now else math.inf
        crossing = Crossing(version, hop, try_s, again_s, hedge_s, waits=waits, is_read=is_read)
        answer = await self._passage.answer(crossing, partitions)
        if not isinstance(answer, PeerAnswer):
            return self._labelled(_refusal(version, answer))
        if not is_named and partitions:
            self._heard(answer, partitions)
        return _answer_of(answer)

    async def elsewhere(self, target: str, wait_s: float) -> PeerAnswer | web.Response | None:
        """What the active version's ledger says to a GET of ours; None: this worker is of it.

        Args:
            target: path and query, percent-encoded.
            wait_s: how long whoever answers may wait itself.
        """
        await self._switch.awake()
        version, epoch = self._switch.answering, self._view.epoch or 0
        if version == self._view.version:
            return None

        def hop(url: str) -> bytes:
            return through_door("GET", url, target, version, epoch, "", b"")

        try_s, again_s = wait_s + LONG_S, _again_s([])
        crossing = Crossing(version, hop, try_s, again_s, math.inf, waits=wait_s > 0, is_read=True)
        answer = await self._passage.answer(crossing, [])
        return answer if isinstance(answer, PeerAnswer) else _refusal(version, answer)

    def _partitions(self, path: str, query: str) -> list[int]:
        """Whose rows of now a read may show; none for what is no such read.

        A ledger may be behind what workers have told, and is asked about its own moment.
        """
        if not _READS.match(path) or is_about_the_past(path, query):
            return []
        key = _KEY.fullmatch(path)
        if key is None:
            return list(range(self._table.count))
        return [self._table.partition_of(unquote(key[1], errors="replace"))]

    def _with_floors(self, query: str, partitions: Sequence[int]) -> str:
        """The query, asking also for what this worker has told of these partitions."""
        floor = self._admission.floor_token(partitions)
        if not floor:
            return query
        if (given := _MIN_POSITION.search(query)) is not None:
            if unquote_plus(given[2]).strip():
                return f"{query[: given.end()]},{floor}{query[given.end() :]}"
            # An empty one asks for nothing, and is no part of a token.
            query = f"{query[: given.start()]}{query[given.end() :]}".lstrip("&")
        more = f"min_position={floor}"
        if not _WAIT_MS.search(query):
            more += f"&wait_ms={int(FLOOR_WAIT_S * 1000)}"
        return f"{query}&{more}" if query else more

    def _heard(self, answer: PeerAnswer, partitions: Sequence[int]) -> None:
        if answer.status not in (200, 304, 404):
            return
        token = answer.headers.get("Onhand-Position", "")
        if len(partitions) > 1:
            # What is no JSON is rows of one partition, as they are stored.
            with suppress(msgspec.MsgspecError):
                token = msgspec.json.decode(answer.body, type=_Positions).positions
        self._admission.heard(partitions, token)


def _patience_s(path: str, *, is_read: bool, is_of_now: bool) -> float:
    """For one worker's answer, besides what the caller waits."""
    if is_of_now:
        return READ_S
    return LONG_S if is_read or _FACTS.match(path) else WRITE_S


def _again_s(partitions: Sequence[int]) -> float:
    """For how long others are asked anew where nobody answers: as for a read without a door."""
    return (LIST_PATIENCE if len(partitions) > 1 else KEY_PATIENCE).deadline_s


def _refusal(version: int, why: TooBusy | None) -> web.Response:
    if why is not None:
        return unanswered_reply(why)
    detail = f"No worker of version {version} answers now."
    return problem(Problem.NOT_READY, detail, retry_after_s=1)


def waited_s(query: str) -> float:
    """How long a caller waits for its position."""
    wait = _WAIT_MS.search(query)
    return _WAIT_S if wait is None else min(_MOST_WAIT_S, int(wait[1]) / 1000)


def _lines_of(request: web.Request) -> str:
    """The headers that matter, for another worker; the body goes there unpacked."""
    lines = (f"{k}: {v}\r\n" for k, v in request.headers.items() if _is_taken_along(k, v))
    return "".join(lines)


def _is_taken_along(name: str, value: str) -> bool:
    name = name.lower()
    if name == "content-encoding":
        return value.lower() not in ("gzip", "deflate")
    return name.startswith(_TAKEN_ALONG)


def _answer_of(answer: PeerAnswer) -> web.Response:
    # Which pages may read it, this worker says.
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name.lower() not in _NOT_PASSED_ON and not name.lower().startswith("access-control-")
    }
    return web.Response(status=answer.status, body=answer.body, headers={**headers, **SERVER})
