"""A client that posts facts to the real routes, and the log that they write to."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.unit.web.fakes import FakeTable
from web.http.connections import ConnectionLimits, guard
from web.http.gate import Gate
from web.http.paths import add_routes
from web.http.raw.shortcuts import Take
from web.writes.appending import Outgoing, Receipt
from web.writes.facts import Facts
from web.writes.quick import QuickPosts
from web.writes.singles import TellOffset

TOPICS = {"shipments": "eu.shipments", "sales": "eu.sales", "adjustments": "eu.adjustments"}
PARTITIONS = 12


class FakeLog:
    """Keeps what is appended; `take` says how many records it confirms."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.take: int | None = None

    async def append(self, records: Sequence[Outgoing]) -> Receipt:
        first = len(self.records)
        self.records += records
        if self.take is None:
            return Receipt(list(range(first, len(self.records))), None)
        offsets = [first + i if i < self.take else None for i in range(len(records))]
        return Receipt(offsets, "Kafka did not confirm within 4.5 s.")

    def append_one(self, record: Outgoing, told: TellOffset) -> bool:
        at = len(self.records)
        self.records.append(record)
        is_in = self.take is None or self.take > 0
        trouble = None if is_in else "Kafka did not confirm within 4.5 s."
        asyncio.get_running_loop().call_soon(told, at if is_in else None, trouble)
        return True


def serve(
    app: web.Application, facts: Facts, append_one: Callable[[Outgoing, TellOffset], bool]
) -> None:
    """By both ways, as a worker does."""
    add_routes(app, facts.routes())
    quick = QuickPosts(facts, append_one, Gate(4096), FakeTable(), lambda *told: None)

    def one_fact(data: bytes, take: Take) -> bytes | None:
        head, end, body = data.partition(b"\r\n\r\n")
        return quick.answer(head + end, body, take)

    guard(app, ConnectionLimits(), one_fact)


class Shop:
    """One client, and the log that it writes to."""

    def __init__(self, client: TestClient[web.Request, web.Application], log: FakeLog) -> None:
        self.client = client
        self.log = log

    async def post(
        self, path: str, body: Any, content_type: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Content-Type"] = content_type
        async with self.client.post(path, data=data, headers=named) as response:
            return response.status, json.loads(await response.read())


def a_line(**changes: Any) -> dict[str, Any]:
    line = {"source": "till-17", "id": "1", "sku": "SKU-1", "location": "s-7", "quantity": 2}
    return {name: value for name, value in {**line, **changes}.items() if value is not ...}


def an_event(**changes: Any) -> dict[str, Any]:
    event = {
        "specversion": "1.0", "id": "1", "source": "till-17",
        "type": "inventory.sale.completed.v1",
        "data": {"sku": "SKU-1", "location": "s-7", "quantity": 2},
    }  # fmt: skip
    return {**event, **changes}
