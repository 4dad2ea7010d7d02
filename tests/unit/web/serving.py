"""The whole of HTTP on a table in memory."""

import json
from collections.abc import Sequence
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from app import __version__
from app.channels.document import topics_document
from app.config import Settings
from app.loading.kept import kept_loads
from domain.rules.held import Ruling
from tests.support.inputs.builders import an_active_version
from tests.support.judges.openapi_check import Contract
from tests.unit.web.fakes import URL, FakeLoader, FakeTable
from web.access.access import OPEN, Access
from web.config import Limits, WebConfig
from web.feed.following import FeedLimits
from web.http.connections import ConnectionLimits
from web.server import Web
from web.versions.view import VersionView

Client = TestClient[web.Request, web.Application]


KEY = "/v1/inventory/{sku}/{location}"


LINE = {"source": "till-17", "id": "1", "sku": "SKU-1", "location": "s-7", "quantity": 2}


class Worker:
    """A worker's web, a client of it, and what it says of itself."""

    def __init__(self, web_part: Web, table: FakeTable, client: Client, contract: Contract):
        self.web = web_part
        self.table = table
        self.client = client
        self.contract = contract

    async def ask(
        self, method: str, path: str, template: str | None = None, **kwargs: Any
    ) -> tuple[ClientResponse, Any]:
        """Send, hold the answer against the document, and read it."""
        async with self.client.request(method, path, **kwargs) as response:
            raw = await response.read()
            if template is not None:
                self.contract.check(method, template, response.status, response.headers, raw)
            is_json = response.content_type.endswith("json") and raw
            return response, json.loads(raw) if is_json else raw


def a_web(
    table: FakeTable,
    limits: Limits,
    access: Access = OPEN,
    origins: Sequence[str] = (),
    versions: VersionView | None = None,
    loader: FakeLoader | None = None,
) -> Web:
    config = WebConfig(
        url=URL,
        version=1,
        kafka={"bootstrap_servers": "127.0.0.1:1"},
        topics={"shipments": "shipments", "sales": "sales", "adjustments": "adjustments"},
        members_topic="onhand-members",
        dead_letters="onhand-v1-dlq",
        loads=kept_loads(Settings()),
        build=__version__,
        asyncapi=topics_document(Settings(), __version__),
        limits=limits,
        origins=origins,
    )
    known = versions or an_active_version()
    return Web(config, table, table.stats, known, Ruling(), loader or FakeLoader(), access=access)


LIMITS = Limits(
    connections=ConnectionLimits(linger_s=0.05), reads=2, writes=1, append_timeout_s=0.05,
    notice_s=0, drain_s=0.1, feed=FeedLimits(begin_s=0),
)  # fmt: skip
