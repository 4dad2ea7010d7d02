"""What a ledger writes is told at once: nobody waits until SQL is asked again."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from dev.workers import until
from ledger.lines import TOPICS
from tests.ledgers.kept import Kept
from tests.ledgers.logs import WINDOW, a_log
from web.ledger import LedgerWeb, LedgerWebConfig

ONCE_S = 600.0


class PaperKeeper:
    """Says of itself only what it has written."""

    def __init__(self) -> None:
        self.when_written: Any = None


async def page(server: BaseTestServer, after: str, wait_ms: int) -> dict[str, Any]:
    asked = {"after": after, "wait_ms": str(wait_ms)}
    async with aiohttp.request("GET", server.make_url("/v1/changes"), params=asked) as answer:
        assert answer.status == 200
        found: dict[str, Any] = await answer.json()
        return found


async def fail(sentence: str, error: BaseException | None) -> None:
    raise AssertionError(sentence)


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
async def test_what_is_written_is_told_without_another_look_at_sql(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.feed.answering._LOOK_S", ONCE_S)
    records = a_log(5, 40)
    kept.feed(records[:20])
    keeper: Any = PaperKeeper()
    config = LedgerWebConfig(
        url="http://127.0.0.1:1", version=1, rules=2, kafka={}, topics=TOPICS,
        members_topic="members", build="0", window=WINDOW,
    )  # fmt: skip
    ledger, app = LedgerWeb(config, kept.history, keeper, fail), web.Application()
    ledger.attach(app)
    news = ledger._changes._news

    async def has_looked() -> bool:
        return news.known > 0

    async with TestServer(app) as server:
        end = (await page(server, "end", 0))["after"]
        asking = asyncio.create_task(page(server, end, 10_000))
        await until(has_looked, "looked: for news", 60)
        before = news.known

        kept.feed(records[20:])
        keeper.when_written()

        told = await asking
        assert len(told["changes"]) == 20
        # Not by the last look of a question whose time is over.
        assert news.known > before
