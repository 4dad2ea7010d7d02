"""How far a version is, from the heartbeats alone."""

from typing import Any

import pytest
from msgspec.structs import replace

from app.upgrades.fleet import Beat, Fleet, Observed, progress
from core.stages import Role
from web.cluster.heartbeats import Claim, Heartbeat, WorkerState

NOW_MS = 1_000_000_000


def beats(
    version: int = 2,
    *,
    seconds: tuple[float, float] = (-100, 0),
    url: str = "",
    role: Role = Role.ACTIVE,
    epoch: int = 1,
    behind_s: float = 0,
    rate: float = 10,
    **fields: Any,
) -> list[Beat]:
    """Heartbeats twice a second, of one worker that holds partition 0.

    Args:
        version: of the worker.
        seconds: from when to when, before now.
        url: of the worker.
        role: of its claim.
        epoch: of its claim.
        behind_s: how far its position is behind a log that grows by `rate` a second.
        rate: records a second.
        fields: of the heartbeat.
    """
    url = url or f"http://w{version}:1"
    told = []
    for half in range(int(seconds[0] * 2), int(seconds[1] * 2) + 1):
        claim = Claim(0, role, role, epoch, handled=int((1000 + half / 2 - behind_s) * rate))
        beat = Heartbeat(version, 2, "b", url, url, half, claims=(claim,))
        if fields:
            beat = replace(beat, **fields)
        told.append(Beat(NOW_MS + half * 500, beat))
    return told


def observed(*groups: list[Beat], standbys: int = 0) -> tuple[Observed, str]:
    fleet = Fleet(sorted((b for g in groups for b in g), key=lambda b: b.log_ms), NOW_MS)
    found = progress(fleet, 2, 1, 1, standbys)
    return found.observed, "; ".join(found.why)


def test_one_that_follows_the_active_version_for_a_minute_is_caught_up() -> None:
    assert observed(beats(1), beats(2, behind_s=1.5)) == (Observed.CAUGHT_UP, "")


def test_for_how_long_one_has_been_caught_up_is_told_where_that_is_not_long_enough() -> None:
    def steady_s(*groups: list[Beat]) -> int:
        fleet = Fleet(sorted((b for g in groups for b in g), key=lambda b: b.log_ms), NOW_MS)
        return progress(fleet, 2, 1, 1, 0).steady_s

    assert steady_s(beats(1), beats(2, seconds=(-20, 0))) == 20
    assert steady_s(beats(1), beats(2, behind_s=3, seconds=(-20, 0))) == 0
    assert steady_s(beats(1), beats(2)) == 0  # it is caught up


@pytest.mark.parametrize(
    ("groups", "is_", "why"),
    [
        ([beats(1)], Observed.WAITING, "has no owner"),
        ([beats(1), beats(2, seconds=(-50, 0))], Observed.CATCHING_UP, "too short a time"),
        ([beats(1), beats(2, behind_s=3)], Observed.CATCHING_UP, "more than 2 s behind"),
        (
            [beats(1), beats(2, seconds=(-100, -30)), beats(2, seconds=(-30, 0), epoch=2)],
            Observed.CATCHING_UP,
            "changed its owner",
        ),
        (
            [beats(1), beats(2, seconds=(-100, -30)), beats(2, seconds=(-27, 0))],
            Observed.CATCHING_UP,
            "too short a time",
        ),
        (
            [beats(1), beats(2, seconds=(-100, -30)), beats(2, seconds=(-30, 0), build="c")],
            Observed.CATCHING_UP,
            "changed its owner",
        ),
        ([beats(1), beats(2, rate=0)], Observed.STALLED, "behind"),
        ([beats(1), beats(2, seconds=(-100, -3))], Observed.WAITING, "has no owner"),
    ],
)
def test_one_that_does_not_is_said_to_be_what_it_is(
    groups: list[list[Beat]], is_: Observed, why: str
) -> None:
    found, said = observed(*groups)

    assert found is is_
    assert why in said


def test_standbys_count_as_far_as_there_are_workers_for_them() -> None:
    owner, live = beats(2), beats(1)
    follower = beats(2, url="http://s:1", role=Role.STANDBY)
    late = beats(2, url="http://s:1", role=Role.STANDBY, seconds=(-20, 0))

    assert observed(live, owner, standbys=1)[0] is Observed.CAUGHT_UP
    assert observed(live, owner, follower, standbys=1)[0] is Observed.CAUGHT_UP
    assert observed(live, owner, late, standbys=1) == (
        Observed.CATCHING_UP,
        "partition 0 has 0 of 1 standbys for 60 s",
    )


def test_with_no_owner_of_the_active_version_it_has_to_be_at_the_end() -> None:
    at_the_end = beats(2)
    lagging = [Beat(ms, _with_lag(beat)) for ms, beat in at_the_end]

    assert observed(at_the_end)[0] is Observed.CAUGHT_UP
    assert observed(lagging)[0] is Observed.CATCHING_UP


def _with_lag(beat: Heartbeat) -> Heartbeat:
    return replace(beat, claims=(replace(beat.claims[0], lag_events=5),))


def test_who_fell_silent_without_goodbye_may_come_back() -> None:
    gone = beats(1, url="http://gone:1", seconds=(-100, -3))
    gone[-1] = Beat(gone[-1].log_ms, _gone(gone[-1].beat))
    silent = beats(1, url="http://silent:1", seconds=(-100, -3))

    fleet = Fleet([*gone, *silent, *beats(1)], NOW_MS)

    assert [(seen.beat.url, seen.silent_s) for seen in fleet.silent()] == [("http://silent:1", 3)]


def _gone(beat: Heartbeat) -> Heartbeat:
    return replace(beat, state=WorkerState.GONE)


def test_a_worker_that_falls_silent_has_not_confirmed_and_one_that_said_goodbye_is_not_asked() -> (
    None
):
    told = [
        *beats(1, url="http://a:1", epoch=1),
        *beats(1, url="http://silent:1", seconds=(-100, -10)),
        *beats(2, url="http://gone:1", seconds=(-100, -10), state=WorkerState.GONE),
        *beats(2, url="http://b:1"),
    ]
    read = [
        Beat(b.log_ms, replace(b.beat, epoch=5)) if b.beat.url == "http://b:1" else b for b in told
    ]
    fleet = Fleet(sorted(read, key=lambda b: b.log_ms), NOW_MS)

    assert [seen.beat.url for seen in fleet.there()] == [
        *("http://a:1", "http://b:1", "http://silent:1")
    ]
    assert [seen.beat.url for seen in fleet.without_record(5)] == ["http://a:1", "http://silent:1"]
