"""What a client sends makes at most one request to the owner, that nobody can read as two.

Two servers in a row are tricked where each sees another end of one request. Here the second one
reads as strictly as can be, and what it got is held against what was asked for.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp.test_utils import BaseTestServer, TestServer

from tests.unit.attacks.stranger import Stranger, a_worker_of_nothing, read
from tests.unit.web.access_files import Keys
from tests.unit.web.fakes import URL
from web.access.access import OPEN

ROW = b"/v1/inventory/SKU-1/s-7"
#: If it ever arrives as a request of its own, it was smuggled.
INNER = b"GET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
#: Names that a worker gives to another one, or takes along for its client.
TOLD = {
    "host", "accept", "accept-encoding", "content-type", "content-length", "idempotency-key",
    "last-event-id", "prefer", "traceparent", "tracestate", "x-request-id", "origin", "referer",
    "if-none-match",
}  # fmt: skip


def get(*lines: bytes, target: bytes = ROW) -> bytes:
    return b"\r\n".join((b"GET %b HTTP/1.1" % target, b"Host: x", *lines, b"", b""))


def post(*lines: bytes, body: bytes = b"", target: bytes = b"/v1/lookup") -> bytes:
    kind = b"Content-Type: application/json"
    return b"\r\n".join((b"POST %b HTTP/1.1" % target, b"Host: x", kind, *lines, b"", b"")) + body


LOOKUP = b'{"keys":[{"sku":"SKU-1","location":"s-7"}]}'
ATTEMPTS = {
    "two lengths": post(b"Content-Length: 43", b"Content-Length: 5", body=LOOKUP + INNER),
    "two lengths in one line": post(b"Content-Length: 43, 5", body=LOOKUP + INNER),
    "a length with a sign": post(b"Content-Length: +43", body=LOOKUP + INNER),
    "a length in hexadecimal digits": post(b"Content-Length: 0x2b", body=LOOKUP + INNER),
    "a length and pieces": post(
        b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + INNER
    ),
    "pieces that are none": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + INNER),
    "pieces twice": post(
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n" + INNER
    ),
    "pieces with words behind their length": post(
        b"Transfer-Encoding: chunked", body=b"2b;a=\r\n%b\r\n0\r\n\r\n" % LOOKUP
    ),
    "pieces that end in a header": post(
        b"Transfer-Encoding: chunked",
        body=b"2b\r\n%b\r\n0\r\nAuthorization: Bearer x\r\n\r\n" % LOOKUP,
    ),
    "a get with a body": get(b"Content-Length: %d" % len(INNER)) + INNER,
    "a line that goes on": get(b"X-Request-Id: a", b" b: c"),
    "a line feed alone": get(b"X-Request-Id: a\nOnhand-Hop: 1"),
    "a carriage return alone": get(b"X-Request-Id: a\rOnhand-Hop: 1"),
    "a zero": get(b"X-Request-Id: a\x00b"),
    "a space before the colon": get(b"Content-Length : 41") + INNER,
    "an empty name": get(b": a"),
    "no colon": get(b"Onhand-Hop"),
    "escaped line ends in the path": get(target=ROW + b"%0d%0aOnhand-Hop:%201%0d%0a%0d%0a"),
    "escaped line ends in a parameter": get(target=ROW + b"?min_position=%0d%0aA:%20b%0d%0a%0d%0a"),
    "line ends of other kinds": get(target=ROW + "?min_position=\u2028A: b\x85".encode()),
    "a space in the target": get(target=ROW + b" HTTP/1.1\r\nX-Request-Id: a"),
    "a whole address": get(target=b"http://x" + ROW),
    "two requests at once": get() + get(target=b"/v1/inventory/SKU-2"),
    "of the past": get(target=ROW + b"?as_of=2026-11-23T10:00:00Z%0d%0aA:%20b"),
    "of the past, of any name": get(
        b"Accept: text/csv\x0bA: b", target=b"/v1/reports/a%0d%0aA:%20b%3f"
    ),
    "a header that says whose connection it is": get(
        b"Connection: X-Request-Id", b"X-Request-Id: a"
    ),
    "an event in its headers": post(
        b"ce-id: 1", b"ce-source: a\tb", b"ce-specversion: 1.0", b"ce-type: \xff\xfe",
        b"Content-Length: 2", body=b"{}", target=b"/v1/events",
    ),
    "a key of its own": post(
        b"Idempotency-Key: a%0d%0aA: b", b"Content-Length: 2", body=b"[]", target=b"/v1/sales"
    ),
}  # fmt: skip


async def said_and_heard(server: BaseTestServer, data: bytes) -> bytes:
    """Send it with its end; all that comes back until the worker closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("active", [1, 2])
@pytest.mark.parametrize("what", ATTEMPTS)
async def test_nothing_is_smuggled_through_a_worker(what: str, active: int) -> None:
    part, app = a_worker_of_nothing(OPEN, active)
    async with Stranger() as stranger, TestServer(app) as server:
        stranger.claims_all(part, active)
        await said_and_heard(server, ATTEMPTS[what])

        for asked in stranger.requests():
            names = [name for name, _ in asked.headers]
            assert "smuggled" not in asked.target
            assert len(names) == len(set(names)), names
            others = {n for n in names if not n.startswith(("onhand-", "ce-", "if-", "sec-fetch-"))}
            assert others <= TOLD
            # The hop is the worker's own, whatever the client said of one.
            hops = [value for name, value in asked.headers if name == "onhand-hop"]
            assert hops == [b"1"] or (active == 2 and hops == [b"door"]) or not hops


@pytest.mark.parametrize("active", [1, 2])
async def test_what_is_no_attempt_arrives_as_it_was_sent(active: int) -> None:
    part, app = a_worker_of_nothing(OPEN, active)
    async with Stranger() as stranger, TestServer(app) as server:
        stranger.claims_all(part, active)
        length = b"Content-Length: %d" % len(LOOKUP)
        for data in (get(b"X-Request-Id: a"), post(length, body=LOOKUP)):
            await said_and_heard(server, data)

        asked = [(one.method, one.target.encode()) for one in stranger.requests()]
        assert {("GET", ROW), ("POST", b"/v1/lookup")} <= {(m, t.split(b"?")[0]) for m, t in asked}


async def test_a_smuggled_proof_makes_nobody_a_worker(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    token = keys.token()
    part, app = a_worker_of_nothing(keys.access(URL))
    async with Stranger() as stranger, TestServer(app) as server:
        stranger.claims_all(part)
        forged = b"Onhand-Proof: 1 %b %b" % (token[7:15].encode(), b"0" * 64)
        for lines in ((forged,), (b"X-Request-Id: a\n" + forged,), (b"X: a", b" " + forged)):
            answer = await said_and_heard(server, get(*lines))
            assert answer[9:12] in (b"401", b"400"), answer
        assert stranger.heads() == 0


@pytest.mark.parametrize(
    "data",
    [b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nA:b\r\n\r\n", b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
     b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
     b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest"],
)  # fmt: skip
def test_the_reader_of_these_tests_takes_nothing_that_could_be_two(data: bytes) -> None:
    with pytest.raises(AssertionError):
        read(data)
