"""Whom a comparison asks: living owners, looked for once for both sides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.config import Settings
from app.upgrades import fleet
from app.upgrades.diff import diffing
from app.upgrades.fleet import Beat, Fleet
from core.stages import Role
from web.cluster.heartbeats import Claim, Heartbeat

NOW_MS = 1_000_000


def a_beat(version: int, url: str, *partitions: int, ago_ms: int = 100) -> Beat:
    claims = tuple(Claim(p, "active", Role.ACTIVE, position="sales-0@9") for p in partitions)
    return Beat(NOW_MS - ago_ms, Heartbeat(version, 2, "b", url, url, 1, claims=claims))


class Heartbeats:
    """What is heard, one more each time that somebody listens; and how often somebody did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rounds: list[Beat]) -> None:
        self.rounds, self.listened = [*rounds], 0
        monkeypatch.setattr(fleet, "heard", self._heard)

    async def _heard(
        self, settings: Settings, enough: Callable[[Fleet], bool], within_s: float
    ) -> Fleet:
        self.listened += 1
        there = Fleet(self.rounds.pop(0), NOW_MS)
        enough(there)
        await asyncio.sleep(0)
        return there


def owners() -> Any:
    return diffing._Owners(Settings.from_env({}, partitions=2), (1, 2))


async def test_both_sides_listen_once_and_each_is_told_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = [a_beat(1, "http://a:1", 0, 1), a_beat(2, "http://b:1", 0), a_beat(2, "http://c:1", 1)]
    heard, asked = Heartbeats(monkeypatch, both), owners()

    found = await asyncio.gather(asked.of(1), asked.of(2))

    assert [*found] == [
        {0: "http://a:1", 1: "http://a:1"},
        {0: "http://b:1", 1: "http://c:1"},
    ]
    assert heard.listened == 1


async def test_who_asks_again_is_told_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heartbeats(
        monkeypatch, [a_beat(1, "http://a:1", 0, 1)], [a_beat(1, "http://b:1", 0, 1)]
    )
    asked = owners()
    await asked.of(1)

    assert await asked.of(1) == {0: "http://b:1", 1: "http://b:1"}
    assert heard.listened == 2


async def test_who_has_fallen_silent_owns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = a_beat(1, "http://a:1", 0, ago_ms=4_000)
    Heartbeats(monkeypatch, [silent, a_beat(1, "http://b:1", 1)])

    assert await owners().of(1) == {1: "http://b:1"}
