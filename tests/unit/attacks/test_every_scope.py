"""Whatever the document allows or forbids, by a token of one scope: refused where it must be.

tests/unit/attacks/test_scopes.py asks each call once; here Schemathesis asks it in all the
ways that it can think of, and no way is a bug, gets in, or is refused to who may.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dev.workers import ROOT
from domain.rows import Row
from tests.unit.attacks.test_scopes import Need, needs
from tests.unit.web.access_files import Keys
from tests.unit.web.fakes import URL, FakeTable
from tests.unit.web.serving import LIMITS, a_web
from web.access.access import Demand
from web.access.callers import Scope
from web.http.replies import Handler

#: Of each call.
PACE = ("--max-examples", "50")
Asked = dict[tuple[str, str], Counter[int]]


class Watched:
    """A worker, and what it answered to one token: statuses by method and path."""

    def __init__(self, keys: Keys, token: str) -> None:
        self.answered: Asked = defaultdict(Counter)

        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            resource = request.match_info.route.resource
            # It tries other tokens too, and none.
            if resource and request.headers.getall("Authorization", []) == [f"Bearer {token}"]:
                self.answered[request.method, resource.canonical][response.status] += 1
            return response

        table, self.app = FakeTable(), web.Application(middlewares=[watch])
        table.rows["SKU-1", "s-7"] = Row(received=10, sold=3, events=2, checksum=7, updated_at=1)
        a_web(table, LIMITS, keys.access(URL)).attach(self.app)


async def schemathesis(url: str, token: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file"),
        *(str(ROOT / "tests" / "schemathesis.toml"), "run", f"{url}openapi.json", "--url", url),
        *(
            "--header",
            f"Authorization: Bearer {token}",
            *PACE,
        ),
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
async def test_a_scope_is_refused_exactly_where_it_must_be(tmp_path: Path, held: Scope) -> None:
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
    assert statuses[403] > 20
    assert token not in said.replace(f"Bearer {token}", "")
