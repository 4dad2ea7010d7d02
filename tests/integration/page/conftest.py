"""One browser for all tests of a process that do not end it: a start costs more than a view."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.support.page.browsing import chromium_here


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Each test opens a context of its own in it, with its own storage and caches."""
    async with chromium_here() as started:
        yield started
