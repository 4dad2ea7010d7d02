"""The feed over a switch: what is told is the verdict of the version that is active by then."""

import asyncio
import json
from typing import Any

import pytest
from multidict import CIMultiDict

from web.cluster.exchange import PeerAnswer
from web.feed.pages import FeedPage, FeedPages
from web.feed.source import FeedSource


class Ledgers:
    """One of each version. Version 1 is this worker's; its ledger answers when it is told to."""

    def __init__(self) -> None:
        self.answering = 1
        self.is_asked, self.answers = asyncio.Event(), asyncio.Event()
        self.asked: list[int] = []

    async def elsewhere(self, target: str, wait_s: float) -> PeerAnswer | None:
        """As the door."""
        return None if self.answering == 1 else self._page(2)

    async def ask(self, target: str, wait_s: float) -> PeerAnswer:
        """As the room of history."""
        self.is_asked.set()
        await self.answers.wait()
        return self._page(1)

    def _page(self, version: int) -> PeerAnswer:
        self.asked.append(version)
        line = {"id": "sales-0@1", "event": "fact", "data": {"by": version}}
        page = {"changes": [line], "after": "sales-0@1", "at_end": True}
        return PeerAnswer(200, CIMultiDict(), json.dumps(page).encode())


@pytest.fixture
async def ledgers() -> Ledgers:
    return Ledgers()


def pages_of(ledgers: Ledgers) -> FeedPages:
    door: Any = ledgers
    past: Any = ledgers
    source = FeedSource(past, past, door)
    return FeedPages(source.ask, source.version)


async def told_by(pages: FeedPages) -> int:
    async with asyncio.timeout(30):
        page = await pages.get("/v1/changes?after=sales-0@0", 5)
    assert isinstance(page, FeedPage)
    return int(json.loads(bytes(page._lines[0].data))["by"])


async def test_a_question_that_waited_over_a_switch_is_asked_of_the_new_version(
    ledgers: Ledgers,
) -> None:
    telling = asyncio.create_task(told_by(pages_of(ledgers)))
    await ledgers.is_asked.wait()
    ledgers.answering = 2
    ledgers.answers.set()

    assert await telling == 2
    assert ledgers.asked == [1, 2]


async def test_a_page_that_is_kept_for_others_is_of_the_version_that_told_it(
    ledgers: Ledgers,
) -> None:
    pages = pages_of(ledgers)
    ledgers.answers.set()
    assert await told_by(pages) == await told_by(pages) == 1
    assert ledgers.asked == [1]

    ledgers.answering = 2
    assert await told_by(pages) == 2
