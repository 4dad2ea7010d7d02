"""Near a read that is answered from its bytes, both ways say the same: also of who asks.

The short way knows a request by a few patterns, the usual one by aiohttp's parser. What one reads
otherwise than the other would be a way round tokens. ONHAND_FUZZ_BOTH_WAYS=100000 asks as often.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from tests.support.breaking.fuzzed import seed_of_this_run
from tests.support.inside.desk import ME, Desk
from tests.support.inside.shelf import Shelf
from tests.unit.web.access_files import OTHER, SECRET, Keys
from web.access import proofs
from web.access.access import Access
from web.access.callers import Scope
from web.http.connections import ConnectionLimits, guard
from web.http.raw.shortcuts import Take

IS_TORTURE = os.environ.get("HYPOTHESIS_PROFILE") == "torture"
REQUESTS = int(os.environ.get("ONHAND_FUZZ_BOTH_WAYS", "30000" if IS_TORTURE else "400"))
ROW = "/v1/inventory/SKU-1/s-7"
LIMITS = ConnectionLimits(head_timeout_s=0.2, linger_s=0.02)
TARGETS = [
    *[ROW] * 8, "/v1/inventory/a%20b/s-7", "/v1/inventory/SKU-9/s-7", "/v1/inventory/%53KU-1/s-7",
    "/v1/inventory/SKU-1/s-7/", "/v1/inventory//SKU-1/s-7", "/v1/inventory/SKU-1%2Fs-7", f"/.{ROW}",
    f"{ROW}?", f"{ROW}?max_lag_events=3", f"{ROW}?min_position=sales-1@9&wait_ms=0", f"{ROW}#a",
    f"{ROW}?min_position=sales-1@9&wait_ms=0&max_lag_events=2", f"{ROW}?wait_ms=0", f"{ROW}?x=1",
    f"{ROW};a", f"{ROW}%00", f"http://x{ROW}", "/v1/inventory/SKU-1/../SKU-2/s-7", f"{ROW}?&&",
    "/v1/inventory/SKU-2/s-7?min_position=&wait_ms=0", ROW.upper(),
    f"{ROW}?min_position=%73ales-1@9",
]  # fmt: skip
LINES = [
    "Accept: */*", "Accept: text/csv", "User-Agent: curl/8", "X-Request-Id: a", "Connection: close",
    "Connection: keep-alive", 'If-None-Match: "x"', "If-None-Match: *", "If-Match: *", "Host: y",
    "Cookie: a=b", "Onhand-Hop: 1", "onhand-hop: 1", "Onhand-Version: 1", "Onhand-Version: 2",
    "ONHAND-VERSION: 1", "Onhand-Partitions: 0,1", "Onhand-Epoch: 0", " folded: 1", "\tfolded",
    "Content-Length: 0", "Transfer-Encoding: chunked", "Expect: 100-continue", "Upgrade: h2c",
    "Origin: https://x", "Range: bytes=0-1", "X: é", "X:", "X", ": a", "X : a", "X: \x01",
    "Accept-Encoding: gzip", "Prefer: x", "If-Modified-Since: x", "Authorization:", "Host:",
]  # fmt: skip


class NearHits:
    """Requests that the short way takes, and what is a step or two away from them.

    Args:
        seed: the same one gives the same requests.
        keys: of the worker that is asked.
    """

    def __init__(self, seed: int, keys: Keys) -> None:
        self._dice = random.Random(seed)
        reader, writer, revoked = keys.token(Scope.READ), keys.token(Scope.WRITE), keys.token()
        keys.revoke(revoked)
        self._reader = reader
        self._said = [
            *[f"Authorization: Bearer {reader}"] * 10, f"authorization: Bearer {reader}",
            f"Authorization: Bearer {writer}", f"Authorization: Bearer {revoked}", "X: y",
            f"Authorization: bearer {reader}", f"AUTHORIZATION: Bearer {reader}",
            f"Authorization:Bearer {reader}", f"Authorization:  Bearer {reader}",
            f"Authorization: Bearer  {reader}", f"Authorization: Bearer {reader} ",
            f"Authorization: Bearer {reader}\t", f"Authorization: Bearer {reader[:-1]}",
            f"Authorization: Bearer\r\n {reader}", f"X-A: Authorization: Bearer {reader}",
            f"Authorization: Bearer {reader}\r\nAuthorization: Bearer {reader}",
            f"Authorization: Bearer {revoked}\r\nauthorization: Bearer {reader}",
            f"authorization: Bearer {reader}\r\nAuthorization: Bearer {writer}",
            f"Authorization: Basic {reader}", f"Authorization: Bearer {reader},{writer}",
        ]  # fmt: skip

    def request(self) -> bytes:
        """One of them, whole unless a byte is lost."""
        dice = self._dice
        if dice.random() < 0.4:
            return self._hit()
        method = dice.choice(["GET"] * 20 + ["HEAD", "get", "POST", "GET "])
        version = dice.choice(["HTTP/1.1"] * 20 + ["HTTP/1.0", "HTTP/1.2", "http/1.1"])
        target = dice.choice(TARGETS)
        lines = ["Host: x", dice.choice(self._said)]
        lines += [dice.choice(LINES) for _ in range(dice.choice([0, 0, 0, 0, 1, 1, 2]))]
        dice.shuffle(lines)
        head = "\r\n".join([f"{method} {target} {version}", *lines, "", ""])
        data = head.encode("latin-1")
        match dice.randrange(12):
            case 0:
                return self._by_worker(target)
            case 1:
                at = dice.randrange(len(data))
                return data[:at] + dice.randbytes(dice.randrange(3)) + data[at + 1 :]
            case _:
                return data

    def _hit(self) -> bytes:
        """One that the short way takes, or would but for a byte."""
        dice = self._dice
        target = dice.choice([ROW, TARGETS[8], TARGETS[9], f"{ROW}?max_lag_events=3"])
        more = dice.choice(["", "", "Accept: */*\r\n", "X-New: 1\r\n"])
        lines = f"Host: x\r\nAuthorization: Bearer {self._reader}\r\n{more}"
        data = f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode()
        at = dice.randrange(len(data))
        return data if dice.random() < 0.5 else data[:at] + dice.randbytes(1) + data[at + 1 :]

    def _by_worker(self, target: str) -> bytes:
        """As another worker asks; now and then one that has no right to."""
        dice = self._dice
        key = dice.choice([SECRET] * 3 + [OTHER])
        caller = dice.choice([self._reader[7:15]] * 4 + [proofs.NOBODY, "0" * 8])
        url = dice.choice([ME.url] * 4 + ["http://other"])
        secrets = proofs.PeerSecrets(proofs.PeerMode.REQUIRE, (key.encode(),))
        hop = f"GET {target} HTTP/1.1\r\nHost: x\r\nOnhand-Hop: 1\r\nOnhand-Version: 1\r\n\r\n"
        data = proofs.signed(secrets, hop.encode("latin-1"), url, caller)
        if dice.random() < 0.3:  # what was not signed
            return data.replace(
                b"Host: x", dice.choice([b"Host: x\r\nX: y", b"Host: y", b"host: x"])
            )
        return data


@asynccontextmanager
async def a_way(
    shelf: Shelf, access: Access, taken: list[bytes] | None
) -> AsyncIterator[BaseTestServer]:
    """A worker; `taken`: what it answers the short way; None: it has none."""
    queries = Desk(shelf=shelf).queries

    def shortcut(data: bytes, take: Take) -> bytes | None:
        answer = None if taken is None else access.at_once(data, take, queries.quick)
        if taken is not None and answer is not None:
            taken.append(data)
        return answer

    app, guarding = web.Application(), access.guarding(Scope.READ)
    for route in queries.routes():
        app.router.add_route(route.method, route.path, guarding(route.path, route.handler))
    guard(app, LIMITS, shortcut)
    async with TestServer(app) as server:
        yield server
    await queries.close()


async def one_answer(reader: asyncio.StreamReader, is_head: bool) -> bytes:
    """What comes, without the time; empty where the connection ends without a word."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    body = b""
    length = re.search(rb"\r\nContent-Length: ([0-9]+)", head)
    if length is not None and not is_head and head[9:12] != b"304":
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            body = await reader.readexactly(int(length[1]))
    return re.sub(rb"\r\nDate: [^\r]+", b"", head) + body


async def answers(server: BaseTestServer, data: bytes, again: bytes) -> list[bytes]:
    """To a request, and to a usual one behind it on the same connection, where it is kept."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        async with asyncio.timeout(60):
            writer.write(data)
            found = [await one_answer(reader, data.startswith(b"HEAD"))]
            is_kept = found[0][9:10] in (b"2", b"3") and b"\r\nConnection: close" not in found[0]
            # What has a body may take the next request for a piece of it, when it has time.
            if is_kept and not re.search(rb"(?i)content-length|transfer-encoding", data):
                writer.write(again)
                found.append(await one_answer(reader, is_head=False))
            return found
    finally:
        writer.transport.abort()


async def test_what_is_near_a_hit_gets_the_same_answer_by_either_way(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    keys, shelf = Keys(tmp_path), Shelf(4, ME.url)
    shelf.hold(range(4), sales=10, lag=2)
    for number, sku in enumerate(("SKU-1", "SKU-2", "a b"), 1):
        shelf.put(sku, "s-7", received=number, events=1, checksum=number, updated_at=1764000000123)
    fuzz = NearHits(seed_of_this_run(), keys)
    usual = (
        f"GET {ROW} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {keys.token(Scope.READ)}\r\n\r\n"
    )
    taken: list[bytes] = []
    statuses: Counter[bytes] = Counter()
    rest = iter(range(REQUESTS))
    async with (
        a_way(shelf, keys.access(ME.url), taken) as quick,
        a_way(shelf, keys.access(ME.url), None) as slow,
    ):

        async def ask() -> None:
            for _ in rest:
                data = fuzz.request()
                one = await answers(quick, data, usual.encode())
                other = await answers(slow, data, usual.encode())
                assert one == other, data
                statuses[one[0][9:12]] += 1

        await asyncio.gather(*(ask() for _ in range(8)))

    record_property("tried", REQUESTS)
    hits = len(taken) - taken.count(usual.encode())
    print(f"{hits} the short way; {dict(statuses)}")  # noqa: T201  for the report of a failure
    # Hits and refusals are among them, not only what nobody answers.
    assert hits > REQUESTS / 20
    assert statuses[b"200"] > REQUESTS / 10
    assert statuses[b"401"] + statuses[b"403"] > REQUESTS / 20
