from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from domain.rules.held import Ruling
from tests.unit.web.shop import PARTITIONS, TOPICS, FakeLog, Shop
from web.http.bodies import BodyLimits
from web.server import add_routes
from web.writes.facts import FactLimits, Facts


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    log, app = FakeLog(), web.Application()
    limits = FactLimits(body=BodyLimits(bytes=600_000), event_bytes=50_000)
    add_routes(app, Facts(log.append, TOPICS, PARTITIONS, limits, Ruling()).routes())
    async with TestClient(TestServer(app)) as client:
        yield Shop(client, log)
