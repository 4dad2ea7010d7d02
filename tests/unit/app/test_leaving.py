"""In which order a worker that is stopped lets go of what it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.config import Settings
from app.counting.worker import CountingApp
from app.wiring import build
from tables.home.memory import MemoryStores

#: Nobody listens there.
NOWHERE = "127.0.0.1:1"


async def test_the_group_is_left_after_the_last_commit_and_before_stores_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the group knows, nobody owns what this worker gave up, and closing takes long."""
    settings = Settings.from_env({}, kafka=NOWHERE, data_dir=tmp_path)
    app = build(settings, stores=MemoryStores())
    order: list[str] = []

    def noting(name: str) -> Callable[[], Awaitable[None]]:
        async def note() -> None:
            order.append(name)

        return note

    class Consumer:
        leave = staticmethod(noting("group left"))

    [one] = app.counted
    monkeypatch.setattr(one.table, "revoke", noting("committed"))
    monkeypatch.setattr(one.table, "stop", noting("closed"))
    monkeypatch.setattr(one.decoder, "stop", noting("decoder ended"))
    monkeypatch.setattr(CountingApp, "consumer", Consumer())

    await app.leave(noting("requests answered"))

    told = [what for what in dict.fromkeys(order) if what != "requests answered"]
    assert told == ["committed", "group left", "closed", "decoder ended"]
