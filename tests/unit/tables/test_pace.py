"""How often a broker is asked: at once for a few facts, seldom for many."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import wire.fetch
from wire.fetch import Pace

FIRST_BYTE = 1


@pytest.fixture
def fetcher() -> Any:
    return SimpleNamespace(_fetch_min_bytes=0, _fetch_max_wait_ms=0)


@pytest.fixture
def after(fetcher: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, int]]:
    """What is asked for (bytes, ms) once so many fetches came, each after so many seconds."""
    now = 1000.0
    monkeypatch.setattr(wire.fetch, "monotonic", lambda: now)
    pace = Pace(SimpleNamespace(_fetcher=fetcher), 0.1)  # all it needs

    def fetches(count: int, batches: int, every_s: float, urgent: bool = False) -> tuple[int, int]:
        nonlocal now
        for _ in range(count):
            now += every_s
            pace.saw(batches, urgent)
        return fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms

    return fetches


def test_a_fact_now_and_then_is_fetched_at_once(after: Callable[..., tuple[int, int]]) -> None:
    assert after(50, 1, every_s=0.1)[0] == FIRST_BYTE


def test_much_is_fetched_together_for_longer_than_a_commit_interval(
    after: Callable[..., tuple[int, int]],
) -> None:
    least_bytes, wait_ms = after(10, 12, every_s=0.15)

    assert least_bytes > FIRST_BYTE
    assert 100 < wait_ms <= 150


def test_once_it_is_quiet_the_first_fact_is_fetched_at_once(
    after: Callable[..., tuple[int, int]],
) -> None:
    after(10, 12, every_s=0.15)

    assert after(6, 0, every_s=0.5)[0] == FIRST_BYTE


def test_a_restore_waits_for_nobody_while_it_gets_on(
    after: Callable[..., tuple[int, int]],
) -> None:
    assert after(10, 12, every_s=0.01, urgent=True) == (FIRST_BYTE, Pace.URGENT_WAIT_MS)


def test_a_restore_that_stands_still_does_not_ask_all_the_time(
    after: Callable[..., tuple[int, int]],
) -> None:
    after(10, 12, every_s=0.01, urgent=True)

    assert after(1, 0, every_s=0.01, urgent=True) == (FIRST_BYTE, Pace.LONGEST_WAIT_MS)
