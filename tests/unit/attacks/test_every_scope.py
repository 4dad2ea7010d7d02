"""Whatever the document allows or forbids, by every kind of caller: refused where it must be.

tests/unit/attacks/test_scopes.py asks each call once; here Schemathesis asks it in all the
ways that it can think of, and no way is a bug, gets in, or is refused to who may. What it asks
once, all the others ask again: no token, one that was revoked, one for each scope, and one that
may write for one till in one store.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import StreamReader, web
from aiohttp.test_utils import TestServer

from dev.workers import ROOT
from domain.rows import Row
from tests.unit.attacks.test_scopes import Client, Need, needs
from tests.unit.web.access_files import Keys
from tests.unit.web.fakes import URL, FakeLoader, FakeTable
from tests.unit.web.serving import LIMITS, a_web
from web.access.access import Demand
from web.access.callers import Scope
from web.http.replies import Handler
from web.writes.appending import Outgoing, Receipt

#: Of each call; the same in every run, and in torture others.
SHORT = ("--generation-deterministic", "--phases", "examples,fuzzing", "--max-examples", "3")
PACE = ("--max-examples", "50")
#: Of a request, what each one who asks says for himself; bodies come unpacked.
OWN = {b"host", b"authorization", b"connection", b"content-length", b"content-encoding",
       b"transfer-encoding", b"expect"}  # fmt: skip
#: More than any: a body that was taken once is not waited for again.
MOST_BODY_BYTES = 2**26
#: Of the document's own example.
SOURCE, PLACE = "till-17", "store-007"


class Asked(NamedTuple):
    """A request of Schemathesis, as others can send it again."""

    need: Need
    line: bytes
    headers: bytes
    body: bytes

    def by(self, token: str | None) -> bytes:
        """The same, by somebody else."""
        own = b"" if token is None else f"Authorization: Bearer {token}\r\n".encode()
        length = b"Content-Length: %d\r\n" % len(self.body) if self.body else b""
        return self.line + own + length + self.headers + b"\r\n" + self.body


async def as_it_came(request: web.Request, need: Need) -> Asked:
    """Who is asked reads the body again."""
    body = await request.content.read()
    request._payload = StreamReader(
        request.protocol, MOST_BODY_BYTES, loop=asyncio.get_running_loop()
    )
    request._payload.feed_data(body)
    request._payload.feed_eof()
    lines = [b"%b: %b\r\n" % line for line in request.raw_headers if line[0].lower() not in OWN]
    line = f"{request.method} {request.raw_path} HTTP/1.1\r\nHost: x\r\n"
    return Asked(need, line.encode(errors="surrogateescape"), b"".join(lines), body)


class Watched:
    """A worker, and what it answered to one token: statuses by method and path."""

    def __init__(self, keys: Keys, token: str) -> None:
        self.answered: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
        self.asked: list[Asked] = []
        self.appended: list[dict[str, Any]] = []
        #: It is still Schemathesis that asks.
        self.is_kept = True
        self.loader, need_of = FakeLoader(), needs()

        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            resource = request.match_info.route.resource
            if self.is_kept and resource is not None and resource.canonical in need_of:
                self.asked.append(await as_it_came(request, need_of[resource.canonical]))
            response = await handler(request)
            # It tries other tokens too, and none.
            if resource and request.headers.getall("Authorization", []) == [f"Bearer {token}"]:
                self.answered[request.method, resource.canonical][response.status] += 1
            return response

        table, self.app = FakeTable(), web.Application(middlewares=[watch])
        table.rows["SKU-1", "s-7"] = Row(received=10, sold=3, events=2, checksum=7, updated_at=1)
        part = a_web(table, LIMITS, keys.access(URL), loader=self.loader)
        part._facts._append = self._append
        part.attach(self.app)

    async def _append(self, records: Sequence[Outgoing]) -> Receipt:
        self.appended += [json.loads(record.value) for record in records]
        return Receipt([0] * len(records), None)


async def schemathesis(url: str, token: str, folder: Path, pace: Sequence[str] = PACE) -> str:
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file"),
        *(str(ROOT / "tests" / "schemathesis.toml"), "run", f"{url}openapi.json", "--url", url),
        *("--header", f"Authorization: Bearer {token}", *pace),
        cwd=folder,  # it keeps what it found where it runs
        env={**os.environ, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    said = output.decode(errors="replace")
    assert process.returncode == 0, said[-8000:]
    return said


def is_as_it_must_be(need: Need, held: Scope, status: int) -> bool:
    match need:
        case Demand.NOTHING | Demand.ANY_TOKEN:
            return status not in (401, 403)
        case Demand.WORKER:
            return status == 401
        case _:
            scope = Scope.OPERATE if need is Demand.OPERATOR else need
            return status not in (401, 403) if scope is held else status == 403


@pytest.mark.torture
@pytest.mark.parametrize("held", Scope)
async def test_a_scope_is_refused_exactly_where_it_must_be(
    tmp_path: Path, held: Scope, record_property: Callable[[str, object], None]
) -> None:
    keys = Keys(tmp_path)
    token = keys.token(held)
    worker = Watched(keys, token)
    async with TestServer(worker.app) as server:
        said = await schemathesis(str(server.make_url("/")), token, tmp_path)

    asked = needs()
    wrong = {
        call: dict(statuses)
        for call, statuses in worker.answered.items()
        if not all(is_as_it_must_be(asked[call[1]], held, status) for status in statuses)
    }
    assert wrong == {}
    # It came to all of them: what is refused, and what is not.
    assert re.search(r"[0-9]+ generated", said), said[-2000:]
    assert len(worker.answered) > 20
    statuses = sum(worker.answered.values(), Counter())
    record_property("tried", statuses.total())
    assert statuses[403] > 20
    assert token not in said.replace(f"Bearer {token}", "")


def is_told_why(need: Need, scope: Scope | None, status: int, answer: bytes) -> bool:
    """A problem that says what is wanting. `scope`: of who asked, None: nobody who is known."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not body:  # HEAD
        return b"application/problem+json" in head
    told = json.loads(body)
    if status == 401:
        return bool(told["type"] == "/problems/unauthenticated" and b"WWW-Authenticate" in head)
    wanted = Scope.OPERATE if need is Demand.OPERATOR else need
    return bool(
        told["type"] == "/problems/missing-scope"
        and (scope is wanted or (told["scope"] == wanted and f'scope="{wanted}"'.encode() in head))
    )


@pytest.mark.parametrize("pace", [SHORT, pytest.param(PACE, marks=pytest.mark.torture)])
async def test_what_one_may_ask_is_refused_to_all_who_may_not(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    pace: Sequence[str],
    record_property: Callable[[str, object], None],
) -> None:
    keys = Keys(tmp_path)
    token, gone = keys.token(), keys.token()
    narrow = keys.token(Scope.WRITE, sources=[SOURCE], locations=[PLACE])
    callers: dict[str | None, Scope | None] = {None: None, gone: None, narrow: Scope.WRITE}
    callers |= {keys.token(scope): scope for scope in Scope}
    keys.revoke(gone)
    worker = Watched(keys, token)
    async with TestServer(worker.app) as server:
        await schemathesis(str(server.make_url("/")), token, tmp_path, pace)
        # Of both of these none could be let in.
        worker.is_kept, worker.appended, worker.loader.asked = False, [], []
        assert server.port is not None
        client, wrong, counted = Client(server.port), [], Counter[int]()
        # By whoever may not: who may has been asked for above, and waits for a broker that is away.
        for asked in worker.asked:
            for one, scope in callers.items():
                is_his = one is narrow and asked.need is Scope.WRITE
                if is_open_to(asked.need, scope) and not is_his:
                    continue
                status, answer = await client.ask(asked.by(one))
                counted[status] += 1
                is_refused = status in (401, 403) and is_told_why(asked.need, scope, status, answer)
                if not (is_refused or (is_his and (status < 500 or is_honest(status, answer)))):
                    wrong.append((status, scope, asked.line, answer[:500]))

    assert wrong == []
    assert min(counted[401], counted[403]) > 50
    record_property("tried", counted.total())
    # What a token for one till in one store got in is of that till, and of that store.
    assert {(fact["source"], fact["data"]["location"]) for fact in worker.appended} <= {
        (SOURCE, PLACE)
    }
    assert {asked.need for asked in worker.asked} >= {*Scope}
    assert "met a bug" not in caplog.text
    assert all(secret not in caplog.text for secret in filter(None, (*callers, token)))


def is_honest(status: int, answer: bytes) -> bool:
    """It says what is not there, and when to come again."""
    return status == 503 and b"application/problem+json" in answer and b"Retry-After: " in answer


def is_open_to(need: Need, scope: Scope | None) -> bool:
    """Whether it is answered; a caller without a scope has no token that is good."""
    match need:
        case Demand.NOTHING:
            return True
        case Demand.OPERATOR:
            return scope is Scope.OPERATE
        case _:
            return scope is not None and need in (scope, Demand.ANY_TOKEN)
