from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.fleet import Fleet, a_fleet


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with a_fleet(3, count=6, rows=60) as fleet:
        yield fleet
