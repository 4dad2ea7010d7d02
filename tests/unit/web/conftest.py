from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from domain.rows import Row
from domain.rules.held import Ruling
from tests.support.judges.openapi_check import Contract
from tests.unit.web.fakes import FakeTable
from tests.unit.web.serving import LIMITS, Worker, a_web
from tests.unit.web.shop import PARTITIONS, TOPICS, FakeLog, Shop, serve
from web.http.bodies import BodyLimits
from web.writes.facts import FactLimits, Facts


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    log, app = FakeLog(), web.Application()
    limits = FactLimits(body=BodyLimits(bytes=600_000), event_bytes=50_000)
    serve(app, Facts(log.append, TOPICS, PARTITIONS, limits, Ruling()), log.append_one)
    async with TestClient(TestServer(app)) as client:
        yield Shop(client, log)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    table = FakeTable()
    table.rows["SKU-1", "s-7"] = Row(received=10, sold=3, events=2, checksum=7, updated_at=1)
    web_part, app = a_web(table, LIMITS), web.Application()
    web_part.attach(app)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/openapi.json") as response:
            contract = Contract(await response.json())
        yield Worker(web_part, table, client, contract)
