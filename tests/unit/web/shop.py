"""A client that posts facts to the real routes, and the log that they write to."""

import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient

from web.writes.appending import Outgoing, Receipt

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
