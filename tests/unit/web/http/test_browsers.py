"""What browsers are told: types, policies of pages, and whose pages may ask."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from domain.rows import Row
from tests.unit.web.access_files import Keys
from tests.unit.web.fakes import FakeTable
from tests.unit.web.serving import LIMITS, Client, Worker, a_web
from web.access.access import OPEN, Access
from web.http.browsers import EXPOSED

SHOP, OTHER = "https://shop.example", "https://other.example"
ROW = "/v1/inventory/SKU-1/s-7"


async def client_of(access: Access = OPEN, *origins: str) -> AsyncIterator[Client]:
    table = FakeTable()
    table.rows["SKU-1", "s-7"] = Row(received=10, sold=3, events=2, checksum=7, updated_at=1)
    web_part, app = a_web(table, LIMITS, access, origins), web.Application()
    web_part.attach(app)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
async def shop_may(tmp_path: Path) -> AsyncIterator[Client]:
    """A worker with tokens, whom the shop's pages may ask."""
    async for client in client_of(Keys(tmp_path).access(), SHOP):
        yield client


@pytest.fixture
async def shop_may_without_tokens() -> AsyncIterator[Client]:
    async for client in client_of(OPEN, SHOP):
        yield client


PATHS = [
    ROW,  # the short way
    ROW + "?max_lag_events=9",  # the usual one
    "/v1/inventory/SKU-1", "/v1/inventory", "/v1/inventory/SKU-1/none", "/v1/dead-letters", "/live",
    "/ready", "/metrics", "/v1/cluster", "/openapi.json", "/problems/too-busy", "/none",
    "/asyncapi.json", "/docs",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_no_browser_makes_another_type_of_an_answer(
    worker: Worker, method: str, path: str
) -> None:
    async with worker.client.request(method, path) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/v1/cluster", "/metrics", "/v1/upgrade", "/v1/none"])
async def test_what_is_for_operators_is_kept_nowhere(worker: Worker, path: str) -> None:
    async with worker.client.get(path) as answer:
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_page_runs_nothing_and_tells_nobody_where_it_was_left(worker: Worker) -> None:
    async with worker.client.get("/problems/too-busy") as answer:
        text = await answer.text()
        policy = answer.headers["Content-Security-Policy"]

        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
    # The style that the policy names by its hash is the one that stands in the page.
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    assert hash_of(style) in policy


def hash_of(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


async def test_without_the_setting_no_page_of_another_origin_may_read(worker: Worker) -> None:
    async with worker.client.get(ROW, headers={"Origin": SHOP}) as answer:
        assert not [name for name in answer.headers if name.startswith("Access-Control")]


async def test_a_page_of_the_origin_may_read_and_one_of_another_may_not(
    shop_may_without_tokens: Client,
) -> None:
    client = shop_may_without_tokens
    for path in PATHS:
        for origin, allowed in (
            (SHOP, SHOP),
            (OTHER, None),
            (SHOP + ".evil", None),
            ("null", None),
        ):
            async with client.get(path, headers={"Origin": origin}) as answer:
                assert answer.headers.get("Access-Control-Allow-Origin") == allowed, path
                assert "Origin" in ", ".join(answer.headers.getall("Vary"))
                assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_a_page_may_read_all_that_an_answer_says_of_itself(
    shop_may_without_tokens: Client,
) -> None:
    async with shop_may_without_tokens.get(ROW, headers={"Origin": SHOP}) as answer:
        ours = {name for name in answer.headers if name.startswith(("Onhand-", "ETag"))}
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")

    assert len(ours) > 5
    assert ours <= set(exposed) == set(EXPOSED)


async def test_the_browsers_question_before_the_question_needs_no_token(shop_may: Client) -> None:
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    async with shop_may.options("/v1/sales", headers={"Origin": SHOP, **asks}) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        for name in ("Authorization", "Content-Type", "Idempotency-Key"):
            assert name in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": OTHER, "Access-Control-Request-Method": "POST"},
        {"Access-Control-Request-Method": "POST"},
        {"Origin": SHOP},
    ],
)
async def test_whoever_else_asks_so_needs_a_token(
    shop_may: Client, headers: dict[str, str]
) -> None:
    async with shop_may.options("/v1/sales", headers=headers) as answer:
        assert answer.status == 401
    async with shop_may.post("/v1/sales", json={}, headers=headers) as answer:
        assert answer.status == 401


async def test_a_refusal_can_be_read_by_the_page_that_is_refused(shop_may: Client) -> None:
    async with shop_may.get(ROW, headers={"Origin": SHOP}) as answer:
        assert answer.status == 401
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
