"""A fact that comes alone: by either way the same is appended, and the same answered."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from tests.unit.web.access_files import SECRET, Keys
from tests.unit.web.fakes import FakeTable
from tests.unit.web.reads.test_both_ways import Answer, answer_of
from tests.unit.web.serving import a_web
from tests.unit.web.shop import a_line, an_event
from web.access import proofs
from web.access.access import OPEN, Access
from web.access.callers import Scope
from web.config import Limits
from web.server import Web
from web.writes.appending import Outgoing, Receipt
from web.writes.quick import MOST_BYTES
from web.writes.singles import TellOffset

TROUBLE = "Kafka did not confirm within 4 s."
MEDIA = "Content-Type: application/json"
EVENT = "Content-Type: application/cloudevents+json"
PATHS = ["/v1/sales", "/v1/adjustments", "/v1/events", "/v1/sales?outcome=true", "/v1/nothing"]
HEADERS = [
    f"Host: x\r\n{MEDIA}", f"Host: x\r\n{EVENT}", "Host: x", f"Host: x\r\nHost: y\r\n{MEDIA}",
    MEDIA, "hOST: x\r\nCONTENT-TYPE: application/json\r\nUser-Agent: a\r\nAccept: */*",
    f"Host: x\r\n{MEDIA}; charset=utf-8", f"Host: x\r\n{MEDIA}; charset=latin-1",
    f"Host: x\r\n{MEDIA}\r\n{EVENT}", f"Host: x\r\n{MEDIA}\r\nConnection: keep-alive",
    f"Host: x\r\n{MEDIA}\r\nConnection: close", f"Host: x\r\n{MEDIA}\r\nOrigin: http://y",
    f"Host: x\r\n{MEDIA}\r\nIdempotency-Key: k 1", f"Host: x\r\n{MEDIA}\r\nIdempotency-Key: k-1",
    f"Host: x\r\n{MEDIA}\r\nIdempotency-Key: a\r\nIdempotency-Key: b",
    f"Host: x\r\n{MEDIA}\r\nContent-Encoding: gzip", f"Host: x\r\n{MEDIA}\r\nIf-Match: *",
    f"Host: x\r\n{MEDIA}\r\nce-specversion: 1.0", f"Host: x\r\n{MEDIA}\r\nOnhand-Hop: 1",
    f"Host: x\r\n{MEDIA}\r\nOnhand-Version: 2", f"Host: x\r\n{MEDIA}\r\nExpect: 100-continue",
]  # fmt: skip
BODIES = [json.dumps(body).encode() for body in (
    a_line(reason="found", time="2026-11-23T10:00:00Z", reference="ä\n"), a_line(), [a_line()],
    a_line(id=...), a_line(id=None, source="s"), a_line(quantity=0), a_line(location=" x"),
    a_line(tme="x"), a_line(source=7), an_event(), an_event(shop="a", id='"'), [an_event()],
    an_event(type="inventory.none.v1"), 7, {},
)] + [
    b"", b"{", b" " + json.dumps(a_line()).encode(), json.dumps(an_event()).encode() + b"\r\n\r\n",
    json.dumps(a_line()).encode() + b"{}", b'{"source":"\xff"}', b"[" * 5000,
]  # fmt: skip


class Log:
    """Takes records by both ways, each at the next offset; or confirms none."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.quick = 0
        self.trouble: str | None = None
        #: What the worker counts of each.
        self.outcomes: list[str] = []

    def observe(self, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes.append(outcome)

    async def append(self, records: Sequence[Outgoing]) -> Receipt:
        first = len(self.records)
        self.records += records
        if self.trouble is not None:
            return Receipt([None] * len(records), self.trouble)
        return Receipt(list(range(first, len(self.records))), None)

    def append_one(self, record: Outgoing, told: TellOffset) -> bool:
        self.quick += 1
        self.records.append(record)
        at = None if self.trouble is not None else len(self.records) - 1
        asyncio.get_running_loop().call_soon(told, at, self.trouble)
        return True


@asynccontextmanager
async def a_worker(
    access: Access = OPEN, is_quick: bool = True, writes: int = 9
) -> AsyncIterator[tuple[Web, BaseTestServer, Log]]:
    log, app = Log(), web.Application()
    part = a_web(FakeTable(), Limits(writes=writes, notice_s=0, drain_s=0.1), access)
    part.attach(app)
    part._facts._append = log.append
    part._quick_posts._append = log.append_one
    part._quick_posts._observe = part._facts._observe = log.observe
    if not is_quick:
        part._quick_posts.answer = lambda head, body, take: None  # type: ignore[method-assign]
    async with TestServer(app) as server:
        yield part, server, log


def a_post(path: str, headers: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\n{headers}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def both(
    requests: Sequence[bytes], access: Access = OPEN, trouble: str | None = None
) -> list[tuple[bytes, Answer]]:
    """What was taken by the short way, and its answers; all are held against the usual way."""
    taken = []
    async with a_worker(access) as (_, one, log), a_worker(access, False) as (_, other, usual):
        log.trouble = usual.trouble = trouble
        for request in requests:
            before = log.quick
            answer = await answer_of(one, request)
            assert answer == await answer_of(other, request), request
            assert log.records == usual.records, request
            assert log.outcomes == usual.outcomes, request
            if log.quick > before:
                taken.append((request, answer))
    assert not usual.quick
    return taken


async def test_a_post_has_the_same_effect_by_either_way() -> None:
    requests = [a_post(*each) for each in itertools.product(PATHS, HEADERS[:2], BODIES)]
    requests += [
        a_post(path, headers, body)
        for path, headers in itertools.product(PATHS[:3], HEADERS[2:])
        for body in (BODIES[1], BODIES[4], BODIES[9])
    ]

    taken = await both(requests)

    assert len(taken) >= 10
    assert {answer[0] for _, answer in taken} == {b"HTTP/1.1 202 Accepted"}
    assert any(b"Idempotency-Key: k-1" in request for request, _ in taken)
    assert any(b"/v1/events" in request for request, _ in taken)


async def test_a_fact_that_kafka_did_not_confirm_is_told_alike() -> None:
    taken = await both([a_post(PATHS[0], HEADERS[0], BODIES[1])], trouble=TROUBLE)

    [(_, (status, headers, body))] = taken
    assert status == b"HTTP/1.1 503 Service Unavailable"
    assert headers[b"Retry-After"]
    assert json.loads(body)["events"] == [{"id": "1", "status": "unknown"}]


async def test_who_may_write_is_judged_alike_by_either_way(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    tokens = {
        "writer": keys.token(Scope.WRITE),
        "reader": keys.token(Scope.READ),
        "of one till": keys.token(Scope.WRITE, sources=["till-17"]),
        "of another": keys.token(Scope.WRITE, sources=["till-18"]),
        "revoked": keys.token(Scope.WRITE),
    }
    keys.revoke(tokens["revoked"])
    spellings = (
        "Authorization: Bearer {}", "AUTHORIZATION: bearer {}", "Authorization: Basic {}",
        "Authorization: Bearer {}\r\nAuthorization: Bearer {}", "Authorization: Bearer {}\r\n x",
        "X: Authorization: Bearer {}", "Authorization: Bearer {}\r\nOnhand-Hop: door",
    )  # fmt: skip
    requests = [
        a_post("/v1/sales", f"{HEADERS[0]}\r\n{line.format(token, token)}", BODIES[1])
        for line, token in itertools.product(spellings, (*tokens.values(), ""))
    ]
    # What a body holds is no header.
    inside = json.dumps(a_line(reference=f"Authorization: Bearer {tokens['writer']}")).encode()
    requests.append(a_post("/v1/sales", HEADERS[0], inside))
    secrets = proofs.PeerSecrets(proofs.PeerMode.SIGN, (SECRET.encode(),))
    for caller in (tokens["writer"][7:15], "-"):
        by = proofs.signed(secrets, a_post("/v1/sales", HEADERS[0], b""), "http://me", caller)
        requests.append(by.replace(b"Length: 0", b"Length: %d" % len(BODIES[1])) + BODIES[1])

    for mode in ("require", "sign"):
        keys.share(SECRET, mode=mode)
        taken = await both(requests, keys.access())
        by_token = [name for name, token in tokens.items() for r, _ in taken if token.encode() in r]
        assert set(by_token) == {"writer", "of one till"}
        assert len(taken) >= 2


async def test_what_follows_a_post_is_answered_behind_it() -> None:
    """On one connection: short way, usual way, short way again, in their order."""
    line, lines = (a_post("/v1/sales", HEADERS[0], body) for body in (BODIES[1], BODIES[2]))
    async with a_worker() as (_, server, log):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        for request in (line, lines, line):
            writer.write(request)
            assert (await read_one(reader))["accepted"] == 1
        writer.write(line + lines + line)  # at once: nobody may cut them anew
        answers = [await read_one(reader) for _ in range(3)]
        writer.close()

    assert log.quick >= 1  # the third may come before the second is over, and go behind it
    assert [answer["position"].partition("@")[2] for answer in answers] == ["3", "4", "5"]


async def read_one(reader: asyncio.StreamReader) -> Any:
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        return json.loads(await reader.readexactly(length))


async def test_beyond_the_places_for_writes_a_post_is_told_so() -> None:
    request = a_post("/v1/sales", HEADERS[0], BODIES[1])
    told: list[TellOffset] = []
    is_in = asyncio.Event()

    def waits(record: Outgoing, tell: TellOffset) -> bool:
        told.append(tell)
        is_in.set()
        return True

    async with a_worker(writes=1) as (part, server, _):
        part._quick_posts._append = waits
        first = asyncio.create_task(answer_of(server, request))
        await asyncio.wait_for(is_in.wait(), 30)
        refused = await answer_of(server, request)
        told[0](7, None)
        taken = await first

    assert (refused[0], taken[0]) == (b"HTTP/1.1 503 Service Unavailable", b"HTTP/1.1 202 Accepted")
    assert part._gates["write"].inside == 0


async def test_while_the_worker_leaves_posts_go_the_usual_way() -> None:
    async with a_worker() as (part, server, log):
        part._ops.draining = part._gates["write"].draining = True
        _, headers, _ = await answer_of(server, a_post("/v1/sales", HEADERS[0], BODIES[1]))

    assert headers[b"Connection"] == b"close"
    assert not log.quick


BODY = BODIES[1]


@pytest.mark.parametrize(
    ("said", "body", "has_place"),
    [
        pytest.param(BODY, BODY, False, id="no place in a batch"),
        pytest.param(BODY, BODY[:-1], True, id="a body that is not whole"),
        pytest.param(BODY, BODY + b" ", True, id="more than its head says"),
        pytest.param(BODY, BODY + BODY, True, id="two, and the head says one"),
        pytest.param(BODY + b" " * MOST_BYTES, BODY + b" " * MOST_BYTES, True, id="a long body"),
    ],
)
async def test_what_cannot_be_taken_at_once_is_taken_later(
    said: bytes, body: bytes, has_place: bool
) -> None:
    head = a_post("/v1/sales", HEADERS[0], said)[: -len(said)]
    taken: list[bytes | None] = []

    async with a_worker() as (part, _, log):
        part._quick_posts._append = lambda record, told: has_place
        assert part._quick_posts.answer(head, body, taken.append) is None

    assert not taken
    assert part._gates["write"].inside == 0
    assert not log.records
