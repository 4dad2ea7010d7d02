"""A worker that is led to a stranger tells it no token, whatever it was asked, by whichever way."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from tests.unit.attacks.stranger import Stranger, a_worker_of_nothing, read
from tests.unit.web.access_files import SECRET, Keys
from tests.unit.web.fakes import URL
from web.access import proofs
from web.openapi.document import document

LINE = {"source": "till-17", "id": "1", "sku": "SKU-1", "location": "s-7", "quantity": 2}
EVENT = {
    "specversion": "1.0", "id": "1", "source": "wms", "type": "inventory.sale.completed.v1",
    "data": {"sku": "SKU-1", "location": "s-7", "quantity": 2},
}  # fmt: skip
BODIES: dict[str, object] = {
    "/v1/lookup": {"keys": [{"sku": "SKU-1", "location": "s-7"}]},
    "/v1/facts/lookup": {"facts": [{"source": "a", "id": "b"}]},
    "/v1/events": EVENT,
}
#: Beside the parameters that a call must have.
QUERIES = {"/v1/facts": "?source=a&id=b", "/v1/changes": "?after=sales-0@1"}
#: What this worker answers by itself, or asks Kafka about.
NOT_PASSED_ON = {
    "/live", "/ready", "/metrics", "/v1/cluster", "/v1/sightings", "/v1/dead-letters",
    "/v1/upgrade", "/v1/documents", "/v1/loads", "/v1/alerts",
}  # fmt: skip
OF_THE_PAST = "?as_of=2026-11-23T10:00:00Z"


def calls() -> Iterator[tuple[str, str, object]]:
    """Method, target and body of all that another worker, a ledger or an audit may answer."""
    for path, methods in document("", "")["paths"].items():
        if path in NOT_PASSED_ON:
            continue
        target = path.format(sku="SKU-1", location="s-7", name="negative") + QUERIES.get(path, "")
        for method in methods:
            body = BODIES.get(path, LINE) if method == "post" else None
            yield method.upper(), target, body
        if path.startswith("/v1/inventory") and not path.endswith("timeline"):
            yield "GET", target + OF_THE_PAST, None


async def ask(url: str, method: str, target: str, body: object, token: str) -> None:
    """The token in each place where a client might put it, and where others might look for it."""
    kind = "application/cloudevents+json" if body is EVENT else "application/json"
    headers = {"Authorization": f"Bearer {token}", "Cookie": f"token={token}", "Content-Type": kind}
    headers |= {"Proxy-Authorization": f"Bearer {token}", "X-Api-Key": token}
    data = None if body is None else json.dumps(body)
    async with (
        ClientSession() as http,
        http.request(method, url + target, data=data, headers=headers) as answer,
    ):
        await answer.read()


@pytest.mark.parametrize("active", [1, 2])
async def test_who_pretends_to_own_everything_is_told_no_token(
    tmp_path: Path, active: int, record_property: Callable[[str, object], None]
) -> None:
    keys = Keys(tmp_path)
    token = keys.token()
    reached, said = set(), b""
    for method, target, body in calls():
        # A worker of its own for each: nobody was suspected before.
        part, app = a_worker_of_nothing(keys.access(URL), active)
        async with Stranger() as stranger, TestServer(app) as server:
            stranger.claims_all(part, active)
            url = str(server.make_url("")).rstrip("/")
            asking = asyncio.create_task(ask(url, method, target, body, token))
            hearing = asyncio.create_task(stranger.asked(0))
            async with asyncio.timeout(30):
                await asyncio.wait((asking, hearing), return_when=asyncio.FIRST_COMPLETED)
            if stranger.heads():
                reached.add(target)
            for task in (asking, hearing):
                task.cancel()
            await asyncio.gather(asking, hearing, return_exceptions=True)
        said += b"".join(map(bytes, stranger.received))

    record_property("tried", len(list(calls())))
    # All reads come to it, and where it is of the active version all writes.
    kept = {target for _, target, body in calls() if body is EVENT or body is LINE}
    assert {target for _, target, _ in calls()} - reached == (kept if active == 1 else set())
    assert token.encode() not in said
    assert token[16:].encode() not in said
    assert re.search(rb"(?i)bearer|authorization|cookie|x-api-key", said) is None
    assert SECRET.encode() not in said


async def test_a_stranger_can_use_what_it_was_asked_nowhere_else(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    token = keys.token()
    part, app = a_worker_of_nothing(keys.access(URL))
    other = keys.access("http://10.0.0.8:6066")
    async with Stranger() as stranger, TestServer(app) as server:
        stranger.claims_all(part)
        url = str(server.make_url("")).rstrip("/")
        await ask(url, "GET", "/v1/inventory/SKU-1/s-7", None, token)

        (one, *_) = stranger.received
        head = bytes(one).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        (asked,) = read(head)
        assert ("onhand-proof", asked.headers[0][1]) == asked.headers[0]
        # It names the caller, and is good at the stranger's own address alone.
        found = proofs.split(head)
        assert found is not None
        rest = found[1].removesuffix(b"\r\n\r\n")
        secrets = proofs.PeerSecrets(proofs.PeerMode.REQUIRE, (SECRET.encode(),))
        assert proofs.vouched(secrets, found[0], rest, stranger.urls[None]) == token[7:15]
        for there in (URL, url):
            assert proofs.vouched(secrets, found[0], rest, there) is None
        assert other.at_once(head, lambda answer: None, lambda data, take: b"row") is None
