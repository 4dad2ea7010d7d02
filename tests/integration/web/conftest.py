from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.inside.fleet import Fleet, a_fleet
from tests.support.inside.patience import hedge_after


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is said who answers, or who was asked, a slow machine must not change it."""
    hedge_after(monkeypatch, 600.0)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with a_fleet(3, count=6, rows=60) as fleet:
        yield fleet
