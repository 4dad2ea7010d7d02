"""What a sender asks about its facts: posts, questions, pages."""

import base64
import itertools
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from tests.support.judges.openapi_check import Contract
from tests.support.topics.logs import Put

Json = dict[str, Any]


def a_sale(event_id: str, sku: str = "TEA-1", **changes: Any) -> Json:
    sale = {"source": "till-1", "id": event_id, "sku": sku, "location": "store-1", "quantity": 2}
    return sale | changes


def an_id() -> str:
    return f"id-{uuid.uuid4().hex[:8]}"


async def post(
    contract: Contract, url: str, lines: Sequence[Json], wait_ms: int = 10_000
) -> list[Json]:
    """The events of the answer, with their outcomes."""
    query = {"outcome": "true", "wait_ms": str(wait_ms)}
    async with aiohttp.request("POST", f"{url}/v1/sales", json=lines, params=query) as response:
        body = await response.read()
        contract.check("POST", "/v1/sales", response.status, response.headers, body)
        assert response.status == 202, body
        events: list[Json] = (await response.json())["events"]
        return events


async def get(
    contract: Contract, url: str, path: str, query: Mapping[str, str], status: int = 200
) -> Json:
    """The answer, held against the document."""
    async with aiohttp.request("GET", f"{url}{path}", params=query) as response:
        body = await response.read()
        contract.check("GET", path, response.status, response.headers, body)
        assert response.status == status, body
        answer: Json = json.loads(body)
        return answer


async def pages_of(contract: Contract, urls: Sequence[str], **query: str) -> list[Json]:
    """All dead letters, page by page, each page from the next worker."""
    items: list[Json] = []
    for url in itertools.cycle(urls):
        page = await get(contract, url, "/v1/dead-letters", query)
        items += page["items"]
        if page["next_cursor"] is None:
            assert page["since"] is None
            return items
        assert page["since"] is not None
        assert page["next_cursor"] != query.get("cursor"), "the page goes on where it began"
        query["cursor"] = page["next_cursor"]
    raise AssertionError


def outcomes(events: Sequence[Json]) -> list[str]:
    return [event["outcome"] for event in events]


# ---- what became of a fact


async def found(contract: Contract, url: str, source: str, event_id: str) -> list[Json]:
    """Each time that a fact came, as this worker says."""
    answer = await get(contract, url, "/v1/facts", {"source": source, "id": event_id})
    (item,) = answer["items"]
    assert (item["source"], item["id"]) == (source, event_id)
    assert answer["looked"]["repeats_complete"]
    assert answer["looked"]["refused_since"] is None
    times: list[Json] = item["times"]
    return times


def in_each_form(name: str, sku: str) -> list[Put]:
    """One sale as clients write it to Kafka: both modes, base64, all forms of a number."""
    kind = "inventory.sale.completed.v1"
    data = {"sku": sku, "location": "store-1", "quantity": 2}
    event = {"specversion": "1.0", "type": kind, "source": "till-1", "id": name}
    attributes = tuple((f"ce_{k}", v.encode()) for k, v in event.items())
    packed = base64.b64encode(json.dumps(data).encode()).decode()
    key = sku.encode()
    return [
        Put(key, json.dumps({**event, "data": data}).encode()),
        Put(key, json.dumps({**event, "data": {**data, "quantity": 2.0}}, indent=1).encode()),
        Put(key, json.dumps({**event, "data": data}).replace(": 2}", ": 20e-1}").encode()),
        Put(key, json.dumps({**event, "data": data}).replace("till-1", "till\\u002d1").encode()),
        Put(key, json.dumps({**event, "data_base64": packed}).encode()),
        Put(key, json.dumps(data).encode(), attributes),
        Put(
            key,
            json.dumps({**data, "quantity": 2.0}).encode(),
            (*attributes, ("content-type", b"application/json; charset=utf-8")),
        ),
    ]
