"""Who may call what: every door of a worker asks for the same, and says what is missing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from domain.rows import Row
from tests.unit.web.access_files import OTHER, SECRET, Keys
from tests.unit.web.fakes import URL, FakeTable
from tests.unit.web.serving import a_web
from web.access import proofs
from web.access.access import Access
from web.access.callers import Scope
from web.access.tokens import read_tokens
from web.access.watched import AccessError, WatchedFile
from web.config import Limits
from web.openapi.document import document
from web.server import Web
from web.writes.appending import Receipt

ROW = "/v1/inventory/SKU-1/s-7"
LINE = {"source": "till-17", "id": "1", "sku": "SKU-1", "location": "s-7", "quantity": 2}
OPEN_TO_ALL = ("/live", "/ready", "/page/")
#: What each call asks for; every other path asks for some token.
NEEDS: dict[str, Scope] = {
    ROW: Scope.READ,
    f"{ROW}/timeline": Scope.READ,
    "/v1/reports/negative": Scope.READ, "/v1/changes": Scope.READ,
    "/v1/loads": Scope.READ, "/v1/alerts": Scope.READ,
    "/v1/inventory/SKU-1": Scope.READ, "/v1/inventory": Scope.READ,
    "/v1/lookup": Scope.READ,
    "/v1/facts?source=a&id=b": Scope.READ, "/v1/facts/lookup": Scope.READ,
    "/v1/dead-letters": Scope.DEAD_LETTERS,
    "/v1/cluster": Scope.OPERATE,
    "/metrics": Scope.OPERATE,
    "/v1/upgrade": Scope.OPERATE,
    "/v1/audit": Scope.OPERATE,
    **dict.fromkeys(
        ("/v1/shipments", "/v1/dispatches", "/v1/sales", "/v1/returns", "/v1/adjustments",
         "/v1/events", "/v1/documents"), Scope.WRITE,
    ),
}  # fmt: skip


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


class Desk:
    """A worker's web over HTTP."""

    def __init__(self, web_part: Web, app: web.Application, client: Any) -> None:
        self.web, self.app, self.client = web_part, app, client

    async def ask(
        self, path: str, token: str | None = None, method: str = "GET", **more: Any
    ) -> tuple[ClientResponse, bytes]:
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.client.request(method, path, headers=headers, **more) as response:
            return response, await response.read()

    async def status(self, path: str, token: str | None = None, method: str = "GET") -> int:
        return (await self.ask(path, token, method))[0].status


@asynccontextmanager
async def a_desk(access: Access) -> AsyncIterator[Desk]:
    table = FakeTable()
    table.rows["SKU-1", "s-7"] = Row(received=10, sold=3, events=2, checksum=7, updated_at=1)
    web_part = a_web(table, Limits(), access)
    app = web.Application()
    web_part.attach(app)
    async with TestClient(TestServer(app)) as client:
        yield Desk(web_part, app, client)


def paths_of(app: web.Application) -> list[tuple[str, str]]:
    found = []
    for route in app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical.replace("{tail}", "a/b").replace("{path}", "x/y")
        method = "GET" if route.method in ("*", "HEAD") else route.method
        found.append((method, path.replace("{name}", "not-ready")))
    return found


# ---- no door is open


async def test_no_path_answers_without_a_token_but_probes_and_files_of_the_page(keys: Keys) -> None:
    async with a_desk(keys.access()) as desk:
        for method, path in paths_of(desk.app):
            response, body = await desk.ask(path, method=method)

            assert (response.status == 401) is not path.startswith(OPEN_TO_ALL), (method, path)
            assert "SKU-1" not in body.decode()
            if response.status == 401:
                assert response.headers["WWW-Authenticate"].startswith('Bearer realm="onhand"')
                assert json.loads(body)["type"] == "/problems/unauthenticated"


@pytest.mark.parametrize("held", Scope)
async def test_a_call_takes_its_own_scope_alone_and_names_it(keys: Keys, held: Scope) -> None:
    token = keys.token(held)
    async with a_desk(keys.access()) as desk:
        for path, need in NEEDS.items():
            is_post = need is Scope.WRITE or path.endswith("lookup")
            if held is need and path.startswith(("/v1/facts?", "/v1/dead-letters", "/v1/loads")):
                continue  # it is let in, and then waits for a broker
            response, body = await desk.ask(path, token, "POST" if is_post else "GET")

            if held is need:
                assert response.status not in (401, 403), body
            else:
                assert (response.status, json.loads(body)["scope"]) == (403, need), path
                told = response.headers["WWW-Authenticate"]
                assert f'error="insufficient_scope", scope="{need}"' in told


def test_the_document_names_the_scope_of_each_call() -> None:
    told: dict[str, Any] = {}
    for path, methods in document("", "")["paths"].items():
        for call in methods.values():
            told[path] = call["security"]
    asked: dict[str, Any] = {"/live": [], "/ready": [], "/v1/sightings": [{"worker": []}]}
    for path, need in NEEDS.items():
        known = (
            path.partition("?")[0]
            .replace("SKU-1", "{sku}")
            .replace("s-7", "{location}")
            .replace("negative", "{name}")
        )
        asked[known] = [{"token": [need]}]
    assert told == asked


async def test_the_probes_are_open_and_metrics_where_the_setting_says_so(keys: Keys) -> None:
    async with a_desk(keys.access()) as desk:
        assert [await desk.status(path) for path in ("/live", "/ready", "/metrics")] == [
            200, 200, 401,
        ]  # fmt: skip
    async with a_desk(keys.access(metrics_are_open=True)) as desk:
        assert await desk.status("/metrics") == 200
        assert await desk.status("/v1/cluster") == 401


@pytest.mark.parametrize(
    "path",
    ["//v1/inventory/SKU-1/s-7", "/live/../v1/inventory/SKU-1/s-7", "/%6cive/..%2fv1/cluster",
     "/v1/./cluster", "/live;/v1/cluster", "/V1/cluster", "http://x/v1/cluster", "/live#/v1"],
)  # fmt: skip
async def test_no_spelling_of_a_path_gets_round_it(keys: Keys, path: str) -> None:
    async with a_desk(keys.access()) as desk:
        raw = await raw_answer(desk, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

        assert b"SKU-1" not in raw.partition(b"\r\n\r\n")[2].replace(path.encode(), b"")
        is_live = raw.endswith(b'{"live":true}')
        assert is_live or raw.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400")), raw


async def raw_answer(desk: Desk, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.client.port)
    writer.write(data)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    lines = dict(line.split(b": ", 1) for line in head[:-4].split(b"\r\n")[1:])
    body = await reader.readexactly(int(lines.get(b"Content-Length", b"0")))
    writer.close()
    return head + body


# ---- tokens


@pytest.mark.parametrize(
    "spoilt",
    [lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"), lambda t: t[:-1], lambda t: t + "A",
     lambda t: t.upper(), lambda t: "", lambda t: t.replace("onhand_", "onhand-"),
     lambda t: t[:7] + "00000000" + t[15:], lambda t: f"{t} {t}", lambda t: f"{t},", lambda t: "é"],
)  # fmt: skip
async def test_what_is_nearly_a_token_is_none(keys: Keys, spoilt: Any) -> None:
    token = keys.token()
    async with a_desk(keys.access()) as desk:
        assert await desk.status(ROW, token) == 200
        assert await desk.status(ROW, spoilt(token)) == 401


async def test_a_token_is_good_from_the_moment_its_file_says_so_until_it_does_not(
    keys: Keys,
) -> None:
    async with a_desk(keys.access()) as desk:
        token = keys.token()
        assert await desk.status(ROW, token) == 200
        other = keys.token()
        keys.revoke(token)

        assert await desk.status(ROW, token) == 401
        assert await desk.status(ROW, other) == 200


async def test_a_file_that_cannot_be_read_again_changes_nothing(
    keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    token = keys.token()
    async with a_desk(keys.access()) as desk:
        for spoilt in (b'{"tokens": 1}', b"{", b"", b'{"tokens":[{"id":"x","secret":"abc123"}]}'):
            keys.tokens.write_bytes(spoilt)
            assert await desk.status(ROW, token) == 200
        keys.tokens.unlink()
        assert await desk.status(ROW, token) == 200
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 5
    assert "abc123" not in caplog.text


def test_a_file_that_is_wrong_at_the_start_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "t"
    for spoilt in ("onhand_00000000_geheim", '{"tokens":[{"sha256":"geheim"}]}', "[1]", ""):
        file.write_text(spoilt)
        with pytest.raises(AccessError, match="make one with") as refused:
            WatchedFile(file, read_tokens)
        assert "geheim" not in str(refused.value)
    with pytest.raises(AccessError, match="cannot be read"):
        WatchedFile(tmp_path / "none", read_tokens)


async def test_two_authorization_headers_are_none(keys: Keys) -> None:
    token = keys.token()
    async with a_desk(keys.access()) as desk:
        for first, second in ((token, token), (token, "x"), ("x", token)):
            head = (
                f"GET {ROW} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {first}\r\n"
                f"Authorization: Bearer {second}\r\n\r\n"
            )
            assert (await raw_answer(desk, head.encode())).startswith(b"HTTP/1.1 401")


async def test_no_secret_is_in_answers_logs_or_metrics(
    keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = keys.token()
    hashes = [entry.sha256 for entry in keys.entries]
    async with a_desk(keys.access()) as desk:
        bodies = b""
        for path in ("/metrics", "/v1/cluster", ROW, "/openapi.json", "/nothing", f"{ROW}?a=b"):
            for given in (token, token + "x", None):
                response, body = await desk.ask(path, given)
                bodies += body + repr(response.headers).encode()
    for secret in (token, token[16:], SECRET, *hashes):
        assert secret not in caplog.text
        assert secret.encode() not in bodies


# ---- who may write what, and who it was


async def test_a_token_for_some_sources_and_locations_writes_no_others(keys: Keys) -> None:
    token = keys.token(Scope.WRITE, sources=["till-1*"], locations=["s-7"])
    sent: list[bytes] = []
    async with a_desk(keys.access()) as desk:
        desk.web._facts._append = recording(sent)
        for changes, status in (
            ({}, 202), ({"source": "till-2"}, 403), ({"location": "s-77"}, 403),
            ({"source": "till-17x"}, 202),
        ):  # fmt: skip
            response, body = await desk.ask(
                "/v1/sales", token, "POST", json=[LINE | changes, LINE | {"id": "2"}]
            )
            assert response.status == status, body
            if status == 403:
                assert [fault["line"] for fault in json.loads(body)["errors"]] == [1]
    assert len(sent) == 4  # all of a body, or nothing


def recording(sent: list[bytes]) -> Any:
    async def append(records: Any) -> Receipt:
        sent.extend(record.value for record in records)
        return Receipt(list(range(len(records))), None)

    return append


async def test_who_posted_a_fact_stands_outside_its_data_and_cannot_be_said_for_another(
    keys: Keys,
) -> None:
    token = keys.token(Scope.WRITE, name="wms@dc-1")
    event = {
        "specversion": "1.0", "id": "1", "source": "wms", "onhandactor": "somebody",
        "type": "inventory.sale.completed.v1", "zone": "é",
        "data": {"sku": "SKU-1", "location": "s-7", "quantity": 2, "actor": "Ann"},
    }  # fmt: skip
    data = json.dumps(event["data"])
    binary = {
        f"ce-{name}": str(event[name])
        for name in ("specversion", "id", "source", "onhandactor", "type")
    }
    sent: list[bytes] = []
    async with a_desk(keys.access()) as desk:
        desk.web._facts._append = recording(sent)
        plain = {"Content-Type": "application/json"}
        kind = {"Content-Type": "application/cloudevents+json"}
        escaped = json.dumps(event).replace("onhandactor", "\\u006fnhandactor")
        for path, headers, body in (
            ("/v1/sales", plain, json.dumps(LINE)),
            ("/v1/events", kind, json.dumps(event)),
            ("/v1/events", kind, escaped),
            ("/v1/events", {"Content-Type": "application/json", **binary}, data),
        ):
            response, said = await desk.ask(path, token, "POST", data=body, headers=headers)
            assert response.status == 202, said
    for value in sent:
        whole: list[tuple[str, Any]] = json.loads(value, object_pairs_hook=list)
        assert [v for k, v in whole if k == "onhandactor"] == ["wms@dc-1"]
        assert "somebody" not in value.decode()
    assert json.loads(sent[1])["zone"] == "é"
    assert json.loads(sent[1])["data"]["actor"] == "Ann"


# ---- workers


def hop(url: str = URL, caller: str = proofs.NOBODY, secret: str = SECRET, **more: Any) -> bytes:
    lines = more.get("lines", "Onhand-Hop: 1\r\nOnhand-Version: 1\r\n")
    request = f"GET {more.get('path', ROW)} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()
    secrets = proofs.PeerSecrets(proofs.PeerMode.SIGN, (secret.encode(),))
    return proofs.signed(secrets, request, url, caller, more.get("now"))


async def test_a_worker_vouches_for_whom_it_has_let_in_and_no_token_is_sent_on(keys: Keys) -> None:
    reader, writer = keys.token(Scope.READ), keys.token(Scope.WRITE)
    async with a_desk(keys.access(URL)) as desk:
        for lines in ("Onhand-Hop: 1\r\nOnhand-Version: 1\r\n", "Onhand-Hop: 1\r\nX-New: 1\r\n"):
            for by, status in ((reader[7:15], 200), (writer[7:15], 403), ("00000000", 403)):
                answer = await raw_answer(desk, hop(caller=by, lines=lines))
                assert answer.startswith(b"HTTP/1.1 %d" % status), (lines, by)
            assert b"403" in (await raw_answer(desk, hop(lines=lines)))[:20]
        keys.revoke(reader)
        assert b"403" in (await raw_answer(desk, hop(caller=reader[7:15])))[:20]


FORGED = {
    "another secret": hop(secret=OTHER),
    "another worker's": hop(url="http://10.0.0.8:6066"),
    "an hour old": hop(now=1.0),
    "another path": hop().replace(b"s-7", b"s-8"),
    "a header more": hop().replace(b"Host: x", b"Host: x\r\nOnhand-Epoch: 9"),
    "another caller": hop().replace(b" - ", b" 00000000 "),
    "twice": hop().replace(b"\r\nHost", b"\r\nOnhand-Proof: 1 - 0\r\nHost"),
    "in another spelling": hop().replace(b"Onhand-Proof", b"onhand-proof"),
    "none": b"GET %b HTTP/1.1\r\nHost: x\r\nOnhand-Hop: 1\r\n\r\n" % ROW.encode(),
}


@pytest.mark.parametrize("what", FORGED)
async def test_a_forged_hop_is_a_request_like_any_other(keys: Keys, what: str) -> None:
    async with a_desk(keys.access(URL)) as desk:
        assert (await raw_answer(desk, FORGED[what])).startswith(b"HTTP/1.1 401")
        refused = await raw_answer(desk, hop(path="/v1/sightings").replace(b"GET", b"POST"))
        assert refused.startswith(b"HTTP/1.1 401")
    async with a_desk(keys.access(URL, has_tokens=False)) as desk:
        # Another version's: believed, it would be refused.
        lines = b"Onhand-Hop: 1\r\nOnhand-Version: 2"
        asked = FORGED[what].replace(b"Onhand-Hop: 1", lines)
        if what == "another path":
            asked = asked.replace(b"s-8", b"s-7")
        assert (await raw_answer(desk, asked)).startswith(b"HTTP/1.1 200")


async def test_the_secret_comes_in_without_a_stop(keys: Keys) -> None:
    plain = FORGED["none"].replace(b"Onhand-Hop: 1", b"Onhand-Hop: 1\r\nOnhand-Version: 2")
    keys.share(SECRET, mode="sign")
    async with a_desk(keys.access(URL, has_tokens=False)) as desk:
        assert (await raw_answer(desk, plain)).startswith(b"HTTP/1.1 503")  # believed
        assert (await raw_answer(desk, hop())).startswith(b"HTTP/1.1 200")
        keys.share(SECRET, OTHER)
        assert (await raw_answer(desk, plain)).startswith(b"HTTP/1.1 200")  # the header is not
        for secret in (SECRET, OTHER):
            proved = hop(secret=secret, lines="Onhand-Hop: 1\r\nOnhand-Version: 2\r\n")
            assert (await raw_answer(desk, proved)).startswith(b"HTTP/1.1 503")
        keys.share(OTHER)
        proved = hop(lines="Onhand-Hop: 1\r\nOnhand-Version: 2\r\n")
        assert (await raw_answer(desk, proved)).startswith(b"HTTP/1.1 200")


def test_the_document_of_a_worker_without_tokens_claims_no_refusal() -> None:
    whole = json.dumps(document("", "", guarded=False))
    assert '"security' not in whole
