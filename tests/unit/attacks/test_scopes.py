"""Each call of each process asks for its own scope: a token of all the others gets nothing.

The calls are those that the process really has, whether the document names them or not, with each
method that a path takes. They come from a client, and from a worker that speaks for that client.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from app.bridge.service import BridgeApp
from app.commands.past.watch import Watched, app_of
from domain.rows import Row
from tables.stats import Stats
from tests.support.inside.shelf import TOPICS, Shelf
from tests.unit.web.access_files import SECRET, Keys
from tests.unit.web.fakes import URL, FakeTable
from tests.unit.web.reads.test_any_rows import ROUTES
from tests.unit.web.serving import LIMITS, a_web
from web.access import proofs
from web.access.access import Access, Demand
from web.access.callers import Scope
from web.cluster.peers import through_door
from web.http.connections import ConnectionLimits
from web.ledger import LedgerWeb, LedgerWebConfig
from web.openapi.document import document
from web.program import ProgramWeb, ProgramWebConfig

Need = Scope | Demand

#: What is in no document: pages for people, what workers and the audit ask of each other.
UNTOLD: dict[str, Need] = {
    "/v1/inventory/{tail}": Scope.READ,
    "/v1/audit/copies/{partition}": Scope.OPERATE,
    "/v1/audit/repairs": Scope.OPERATE,
    "/problems/{name}": Demand.ANY_TOKEN,
    "/openapi.json": Demand.ANY_TOKEN,
    "/asyncapi.json": Demand.ANY_TOKEN,
    "/docs": Demand.ANY_TOKEN,
    "/": Demand.ANY_TOKEN,
    "/{path}": Demand.ANY_TOKEN,
    "/counts/{key}": Scope.READ,
    **{route.path: Scope.READ for route in ROUTES},
}
PLACES = LIMITS.connections
OPEN_FILES = "/page/"
#: A value for each part of a path.
PARTS = {"sku": "SKU-1", "location": "s-7", "tail": "SKU-1", "path": "x/y", "partition": "0"}
ANY_METHOD = "PATCH"


def needs() -> dict[str, Need]:
    """What each path asks for: by the document that a worker gives out, and by the list above."""
    found: dict[str, Need] = dict(UNTOLD)
    for path, calls in document("", "")["paths"].items():
        (security,) = {json.dumps(call["security"]) for call in calls.values()}
        match json.loads(security):
            case []:
                found[path] = Demand.NOTHING
            case [{"worker": []}]:
                found[path] = Demand.WORKER
            case [{"token": [scope]}]:
                found[path] = Scope(scope)
    found["/v1/upgrade"] = Demand.OPERATOR  # workers ask each other for it, too
    return found


async def never_fails(sentence: str, error: BaseException | None) -> None:
    raise AssertionError(sentence)


def of_worker(access: Access, places: ConnectionLimits = PLACES) -> web.Application:
    table, app = FakeTable(), web.Application()
    table.rows["SKU-1", "s-7"] = Row(received=10, sold=3, events=2, checksum=7, updated_at=1)
    a_web(table, replace(LIMITS, connections=places), access).attach(app)
    return app


def of_ledger(access: Access, places: ConnectionLimits = PLACES) -> web.Application:
    config = LedgerWebConfig(
        url=URL, version=1, rules=1, kafka={}, topics=TOPICS, members_topic="m", build="", window=1,
        connections=places,
    )  # fmt: skip
    never: Any = SimpleNamespace(partitions=4, is_behind=False, history=None)
    app = web.Application()
    LedgerWeb(config, never, never, never_fails, access).attach(app)
    return app


def of_program(access: Access, places: ConnectionLimits = PLACES) -> web.Application:
    config = ProgramWebConfig(
        url=URL, version=1, rules=1, kafka={}, topics=("sales",), members_topic="m", build="",
        connections=places,
    )  # fmt: skip
    app = web.Application()
    ProgramWeb(config, Shelf(1, URL), Stats(), ROUTES, never_fails, access).attach(app)
    return app


def of_bridge(access: Access, places: ConnectionLimits = PLACES) -> web.Application:
    app, bridge = web.Application(), SimpleNamespace(access=access, view=None)
    as_faust_does: Any = BridgeApp.on_webserver_init
    as_faust_does(bridge, SimpleNamespace(web_app=app))
    return app


def of_audit(access: Access, places: ConnectionLimits = PLACES) -> web.Application:
    return app_of(Watched(lambda audited: {}), access)


PROCESSES: Mapping[str, Callable[[Access, ConnectionLimits], web.Application]] = {
    "worker": of_worker,
    "ledger": of_ledger,
    "program": of_program,
    "bridge": of_bridge,
    "audit": of_audit,
}
#: What says nothing that matters to the answer, as long as something answers that is ours.
STRANGE_EXPECTATIONS = (b"Expect: 200-ok\r\n", b"Expect: \xff\r\n", b"Expect: 100-continue, x\r\n")


def calls_of(app: web.Application) -> Iterator[tuple[str, str, Need]]:
    """Method, path and need of whatever this process answers."""
    asked, told = needs(), set()
    for route in app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        need = Demand.NOTHING if path.startswith(OPEN_FILES) else asked[path]
        told.add(path)
        yield ANY_METHOD if route.method == "*" else route.method, path, need
    if "/v1/inventory/{tail}" in told:
        # One route takes the paths of several calls.
        for path in filter(re.compile("/v1/inventory/.*{sku}").match, asked):
            yield "GET", path, asked[path]


def line_of(method: str, path: str) -> bytes:
    path = re.sub(r"\{(\w+)\}", lambda part: PARTS.get(part[1], "a"), path)
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode()


class Client:
    """One that says what it likes, on a new connection each time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.asked = 0

    async def ask(self, head: bytes) -> tuple[int, bytes]:
        """Status, and all that came."""
        self.asked += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(head)
            async with asyncio.timeout(30):
                answer = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"\r\nContent-Length: ([0-9]+)", answer)
                if length is not None and not head.startswith(b"HEAD"):
                    answer += await reader.readexactly(int(length[1]))
        finally:
            writer.close()
            await writer.wait_closed()
        return int(answer[9:12]), answer


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[Client]:
    async with TestServer(app) as server:
        assert server.port is not None
        yield Client(server.port)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def by_token(line: bytes, token: str) -> bytes:
    return line + f"Authorization: Bearer {token}\r\n\r\n".encode()


def by_worker(line: bytes, token: str) -> bytes:
    """As a worker asks for the client that it has let in by this token."""
    return _proven(line + b"Onhand-Hop: 1\r\nOnhand-Version: 1\r\n\r\n", token)


def by_door(line: bytes, token: str) -> bytes:
    """As a worker of another version passes on what that client asks, whatever it is."""
    method, target, _ = line.decode().split(" ", 2)
    return _proven(through_door(method, URL, target, 1, 0, "", b""), token)


def _proven(request: bytes, token: str) -> bytes:
    secrets = proofs.PeerSecrets(proofs.PeerMode.REQUIRE, (SECRET.encode(),))
    return proofs.signed(secrets, request, URL, token[7:15])


@pytest.mark.parametrize("process", PROCESSES)
async def test_no_call_of_any_process_is_answered_without_a_token(
    keys: Keys, process: str, record_property: Callable[[str, object], None]
) -> None:
    app = PROCESSES[process](keys.access(URL), PLACES)
    async with served(app) as client:
        for method, path, need in calls_of(app):
            status, answer = await client.ask(line_of(method, path) + b"\r\n")

            is_open = need is Demand.NOTHING
            assert (status != 401) is is_open, (method, path)
            assert b"SKU-1" not in answer
    record_property("tried", client.asked)


@pytest.mark.parametrize("process", PROCESSES)
async def test_a_stranger_learns_nothing_of_any_path_nor_by_which_software_it_is_answered(
    keys: Keys, process: str, record_property: Callable[[str, object], None]
) -> None:
    app = PROCESSES[process](keys.access(URL), PLACES)
    paths = {path for _, path, need in calls_of(app) if need is not Demand.NOTHING}
    async with served(app) as client:
        for method, path in product(("GET", "HEAD", "OPTIONS", "PUT"), [*sorted(paths), "/none"]):
            for more in (b"", *STRANGE_EXPECTATIONS):
                status, answer = await client.ask(line_of(method, path) + more + b"\r\n")

                assert status == 401, (method, path, more, answer)
                assert b"\r\nServer: onhand\r\n" in answer
    record_property("tried", client.asked)


@pytest.mark.parametrize("process", PROCESSES)
async def test_a_token_of_all_other_scopes_is_told_which_one_it_lacks(
    keys: Keys, process: str, record_property: Callable[[str, object], None]
) -> None:
    app = PROCESSES[process](keys.access(URL), PLACES)
    others = {one: keys.token(*(scope for scope in Scope if scope is not one)) for one in Scope}
    async with served(app) as client:
        for method, path, need in calls_of(app):
            scope = Scope.OPERATE if need is Demand.OPERATOR else need
            if not isinstance(scope, Scope):
                continue
            for ask in (by_token, by_worker, by_door):
                if need is Demand.OPERATOR and ask is by_worker:
                    continue  # one worker asks another for itself
                status, answer = await client.ask(ask(line_of(method, path), others[scope]))

                assert status == 403, (method, path, ask)
                assert f'scope="{scope}"'.encode() in answer
                assert b"SKU-1" not in answer
    assert client.asked > 5
    record_property("tried", client.asked)


@pytest.mark.parametrize("process", PROCESSES)
async def test_what_asks_for_any_token_takes_each_and_what_workers_ask_takes_none(
    keys: Keys, process: str, record_property: Callable[[str, object], None]
) -> None:
    app = PROCESSES[process](keys.access(URL), PLACES)
    tokens = [keys.token(scope) for scope in Scope]
    all_of_it = keys.token()
    async with served(app) as client:
        for method, path, need in calls_of(app):
            line = line_of(method, path)
            if need is Demand.ANY_TOKEN:
                answers = {(await client.ask(by_token(line, token)))[0] for token in tokens}
                assert not answers & {401, 403}, (method, path)
            elif need is Demand.WORKER:
                assert (await client.ask(by_token(line, all_of_it)))[0] == 401
                assert (await client.ask(by_worker(line, tokens[0])))[0] != 401
                # What a worker of another version does not know it passes on for anybody.
                assert (await client.ask(by_door(line, all_of_it)))[0] == 401
    record_property("tried", client.asked)


async def test_a_new_call_has_to_be_told_of_with_what_it_asks_for(keys: Keys) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="SKU-1")

    app = of_worker(keys.access(URL))
    list(calls_of(app))
    app.router.add_get("/v1/new", answer)
    with pytest.raises(KeyError, match="/v1/new"):
        list(calls_of(app))
