"""With tokens too, both ways to a row give the same answer, let in or not."""

from __future__ import annotations

import itertools
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.inside.desk import ME, Desk
from tests.support.inside.shelf import Shelf
from tests.unit.web.access_files import OTHER, SECRET, Keys
from tests.unit.web.reads.test_both_ways import answer_of
from web.access import proofs
from web.access.callers import Scope
from web.http.connections import ConnectionLimits, guard
from web.http.paths import add_routes
from web.http.raw.shortcuts import Take
from web.reads.queries import Queries

PATHS = ["/v1/inventory/SKU-1/s-7", "/v1/inventory/SKU-9/s-7", "/v1/inventory/SKU-1"]
SPELLINGS = [
    "Authorization: Bearer {}", "authorization: Bearer {}", "AUTHORIZATION: bearer {}",
    "Authorization:Bearer {}", "Authorization: Bearer  {}", "Authorization: Basic {}",
    "Authorization: Bearer {}\r\nAuthorization: Bearer {}", "X-Authorization: Bearer {}",
    "Authorization: Bearer {}\r\nOnhand-Hop: 1", "Authorization: Bearer {}\r\nonhand-version: 2",
    "Authorization: Bearer {}\r\n x", "X: Authorization: Bearer {}",
]  # fmt: skip


async def test_a_request_is_judged_alike_by_either_way(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    reader, writer = keys.token(Scope.READ), keys.token(Scope.WRITE)
    revoked = keys.token(Scope.READ)
    keys.revoke(revoked)
    requests = [
        f"GET {path} HTTP/1.1\r\nHost: x\r\n{line.format(token, token)}\r\n\r\n".encode()
        for path, line, token in itertools.product(
            PATHS, SPELLINGS, (reader, writer, revoked, reader[:-1], "")
        )
    ]
    hops = (SECRET, reader[7:15]), (SECRET, writer[7:15]), (SECRET, "-"), (OTHER, reader[7:15])
    for secret, caller in hops:
        for path, line in itertools.product(PATHS, ("Onhand-Hop: 1", "Onhand-Version: 1", "A: b")):
            plain = f"GET {path} HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode()
            secrets = proofs.PeerSecrets(proofs.PeerMode.SIGN, (secret.encode(),))
            whole = proofs.signed(secrets, plain, ME.url, caller)
            requests += [whole, whole.replace(b"Onhand-Proof", b"ONHAND-PROOF")]
    for mode in ("require", "sign"):
        keys.share(SECRET, mode=mode)
        taken = await alike(keys, requests)
        # The short way was tried, and taken by none that had no right to it.
        assert len(taken) >= 4
        assert all(reader[7:15].encode() in one or b" - " in one for one in taken)


async def alike(keys: Keys, requests: list[bytes]) -> list[bytes]:
    shelf = Shelf(4, ME.url)
    shelf.hold(range(4), sales=10)
    shelf.put("SKU-1", "s-7", received=5, events=1, checksum=7, updated_at=1764000000123)
    access, taken = keys.access(ME.url), []
    servers = []
    for quick in (True, False):
        queries = Desk(shelf=shelf).queries

        def shortcut(
            data: bytes, take: Take, queries: Queries = queries, quick: bool = quick
        ) -> bytes | None:
            answer = access.at_once(data, take, queries.quick) if quick else None
            if answer is not None:
                taken.append(data)
            return answer

        app = web.Application()
        add_routes(app, queries.routes(), guarding=access.guarding(Scope.READ))
        guard(app, ConnectionLimits(), shortcut)
        servers.append(TestServer(app))
    async with servers[0] as one, servers[1] as other:
        for request in requests:
            assert await answer_of(one, request) == await answer_of(other, request), request
    return taken
