"""For an audit: this worker's own rows at one position, and one of them set right.

`GET /v1/audit/copies/{partition}` is read by `onhand audit` alone. Its body is frames, each a
length of 4 bytes (big-endian) and so many bytes of MessagePack: first `CopyHead`, then lists of
[key, value] as the store has them, last an empty list. What ends earlier is not whole.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import msgspec
from aiohttp import web

from tables.audit.copies import Copy, copy_of
from tables.audit.repairs import Repair, RepairRefused, Repairs
from tables.home.store import StoreError
from tables.reading import Reading
from web.access.callers import CALLER
from web.http.bodies import BAD_JSON, BodyLimits, read_json
from web.http.gate import refusal_by_now
from web.http.large import PIECE_TIMEOUT_S
from web.http.parameters import BadRequest, wrong
from web.http.problems import Problem, problem
from web.http.replies import SERVER, json_reply

COPIES_PATH: Final = "/v1/audit/copies/{partition}"
REPAIRS_PATH: Final = "/v1/audit/repairs"
#: Rows read before the loop gets a turn: about a millisecond.
_ROWS_AT_ONCE: Final = 500
#: Copies read at once: each holds files that RocksDB would have joined meanwhile.
_COPIES: Final = 4
_REPAIR_S: Final = 10.0
#: Headers of proxies, browsers and workers that hand on begin so, in lower case.
_OF_OTHERS: Final = (
    *("x-forwarded-", "forwarded", "via", "x-real-ip", "origin", "sec-fetch-", "onhand-hop"),
)
_HEADERS: Final = {
    "Content-Type": "application/octet-stream",
    "Cache-Control": "no-store",
    **SERVER,
}
_frame = msgspec.msgpack.Encoder().encode


class RepairAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body. found, right: the row as it is stored, as text; None: none. Else as `Repair`."""

    partition: int
    key: str
    found: str | None
    right: str | None
    ownership: str
    group: int


class RepairedBody(msgspec.Struct, frozen=True):
    """The answer, once it is committed. position: of the partition then."""

    partition: int
    position: str


class Auditing:
    """Answers to audits, as a worker."""

    def __init__(self, table: Reading, repairs: Repairs | None, limits: BodyLimits) -> None:
        """`repairs`: None where rows are only read."""
        self._table, self._repairs, self._limits = table, repairs, limits
        self._under_way = 0

    def routes(self) -> Iterator[web.RouteDef]:
        """Both calls."""
        yield web.get(COPIES_PATH, self.copy)
        yield web.post(REPAIRS_PATH, self.repair)

    async def copy(self, request: web.Request) -> web.StreamResponse:
        """GET a copy of a partition, at the position of one moment."""
        raw = request.match_info["partition"]
        if not (raw.isascii() and raw.isdigit() and int(raw[:9]) < self._table.count):
            fault = wrong("partition", f"must be a number below {self._table.count}")
            return BadRequest(fault).reply()
        if request.method == "HEAD":
            return web.Response(headers=_HEADERS)
        if self._under_way >= _COPIES:
            return problem(Problem.TOO_BUSY, f"{_COPIES} copies are being read.")
        try:
            copy = copy_of(self._table, int(raw))
        except StoreError as error:
            return problem(Problem.NOT_READY, f"Partition {raw} cannot be read here: {error}.")
        if copy is None:
            return problem(Problem.NOT_READY, f"Partition {raw} cannot be read here now.")
        self._under_way += 1
        try:
            return await _send(request, copy)
        finally:
            self._under_way -= 1
            copy.rows.close()

    async def repair(self, request: web.Request) -> web.StreamResponse:
        """POST what is missing from a row; to its owner, by a token or from its own machine."""
        may = CALLER.get() is not None or _is_local(request)
        if self._repairs is None or not may:
            detail = "Rows are repaired from the machine of the worker that owns them."
            return problem(Problem.MISSING_SCOPE, detail)
        body = await read_json(request, self._limits)
        if isinstance(body, web.Response):
            return body
        try:
            asked = msgspec.json.decode(body, type=RepairAsked)
        except BAD_JSON as error:
            return BadRequest(wrong("body", f"is no repair ({error})")).reply()
        repair = Repair(
            partition=asked.partition,
            key=asked.key.encode(errors="surrogatepass"),
            found=_bytes(asked.found),
            right=_bytes(asked.right),
            ownership=asked.ownership,
            group=asked.group,
        )
        try:
            await self._repairs.make(repair, _REPAIR_S)
        except RepairRefused as why:
            return problem(Problem.REPAIR_REFUSED, str(why))
        except TimeoutError:
            detail = "It was added and waits for Kafka: audit again to see that it came."
            return problem(Problem.NOT_CAUGHT_UP, detail)
        except StoreError as error:
            return problem(Problem.NOT_READY, f"The row cannot be read: {error}.")
        fresh = self._table.freshness(asked.partition)
        return json_reply(RepairedBody(asked.partition, fresh.position if fresh else ""))


async def _send(request: web.Request, copy: Copy) -> web.StreamResponse:
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    try:
        frame = _frame(copy.head)
        while True:
            async with asyncio.timeout(PIECE_TIMEOUT_S):
                await response.write(len(frame).to_bytes(4) + frame)
            await asyncio.sleep(0)
            if refusal_by_now() is not None:
                raise ConnectionError("who reads it may not do so any more")
            rows = copy.rows.rows(_ROWS_AT_ONCE)
            frame = _frame(rows)
            if not rows:
                await response.write(len(frame).to_bytes(4) + frame)
                break
        await response.write_eof()
    except (StoreError, TimeoutError, ConnectionError):
        # The last frame did not go out, so nobody takes this for the whole.
        if request.transport is not None:
            request.transport.abort()
    return response


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode(errors="surrogatepass")


def _is_local(request: web.Request) -> bool:
    """Whether somebody on this machine asks, for himself as far as can be seen.

    A proxy here passes on what anybody asks, and a page in a browser here is anybody's.
    """
    if any(name.lower().startswith(_OF_OTHERS) for name in request.headers):
        return False
    with suppress(ValueError):
        return ipaddress.ip_address(request.remote or "").is_loopback
    return False
