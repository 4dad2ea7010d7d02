"""Who is asked for a partition, as the heartbeats say."""

from __future__ import annotations

import msgspec

from core.stages import Role
from web.cluster.heartbeats import (
    LEDGER,
    Claim,
    Heartbeat,
    LogClock,
    WorkerState,
    beat_of,
    bytes_of,
)
from web.cluster.roster import SILENCE_S, Roster

URL = "http://10.0.0.{}:6066"


class Clock:
    """Monotonic seconds, set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def a_claim(partition: int = 0, role: Role | None = Role.ACTIVE, handled: int = 10) -> Claim:
    return Claim(partition=partition, state=role or "loading", role=role, handled=handled)


def a_beat(
    number: int,
    *claims: Claim,
    sequence: int = 1,
    state: WorkerState = WorkerState.RUNNING,
    version: int = 1,
    rules: int = 1,
    instance: str = "",
) -> Heartbeat:
    return Heartbeat(
        version=version,
        rules=rules,
        build="test",
        url=URL.format(number),
        instance=instance or f"instance-{number}",
        sequence=sequence,
        state=state,
        claims=claims,
    )


def a_ledger(number: int, *, behind: bool = False, leaving: bool = False) -> Heartbeat:
    state = WorkerState.LEAVING if leaving else WorkerState.RUNNING
    beat = a_beat(number, state=state, instance=f"ledger-{number}")
    return msgspec.structs.replace(beat, kind=LEDGER, behind=behind)


class Cluster:
    """One worker's roster, fed with what others write; time passes for all alike."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.roster = Roster(a_beat(0), self.clock)
        self._sequences: dict[str, int] = {}

    def say(self, beat: Heartbeat) -> None:
        sequence = self._sequences[beat.instance] = self._sequences.get(beat.instance, 0) + 1
        self.roster.hear(
            Heartbeat(
                **{f: getattr(beat, f) for f in beat.__struct_fields__} | {"sequence": sequence}
            ),
            int(self.clock.now * 1000),
        )

    def pass_s(self, seconds: float, *beats: Heartbeat) -> None:
        """Time passes while these workers (and this one) go on with their heartbeats."""
        for _ in range(round(seconds / 0.5)):
            self.clock.now += 0.5
            for beat in (a_beat(0), *beats):
                self.say(beat)

    def asked_for(self, partition: int = 0) -> list[str]:
        return [holder.url for holder in self.roster.holders(partition)]


def urls(*numbers: int) -> list[str]:
    return [URL.format(number) for number in numbers]


def test_the_owner_comes_first_then_the_freshest() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim(role=Role.STANDBY, handled=8)))
    cluster.say(a_beat(2, a_claim(role=Role.STANDBY, handled=9)))
    cluster.say(a_beat(3, a_claim(role=Role.ACTIVE, handled=7)))

    assert cluster.asked_for() == urls(3, 2, 1)
    owner = cluster.roster.owner(0)
    assert owner is not None
    assert owner.url == URL.format(3)
    assert cluster.roster.owner(1) is None


def test_of_two_claims_the_higher_position_wins() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim(handled=10)))
    cluster.say(a_beat(2, a_claim(handled=12)))
    cluster.say(a_beat(3, a_claim(handled=11, role=Role.STANDBY)))

    assert cluster.asked_for() == urls(2, 3, 1)


def test_of_two_claims_at_one_position_the_later_wins_and_keeps_winning() -> None:
    cluster = Cluster()
    cluster.say(a_beat(2, a_claim()))
    cluster.say(a_beat(1, a_claim()))
    cluster.say(a_beat(2, a_claim()))

    assert cluster.asked_for() == urls(1, 2)


def test_who_is_leaving_is_asked_last() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim(), state=WorkerState.LEAVING))
    cluster.say(a_beat(2, a_claim(role=Role.STANDBY, handled=3)))

    assert cluster.asked_for() == urls(2, 1)


def test_nothing_is_asked_of_a_partition_that_still_loads() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim(role=None)))

    assert cluster.asked_for() == []


def test_a_goodbye_counts_at_once() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim()))
    cluster.say(a_beat(1, a_claim(), state=WorkerState.GONE))

    assert cluster.asked_for() == []


def test_a_silent_worker_is_out_within_two_seconds() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim()))
    cluster.say(a_beat(2, a_claim(role=Role.STANDBY)))

    cluster.pass_s(1.5, a_beat(2, a_claim(role=Role.STANDBY)))
    assert cluster.asked_for() == urls(1, 2)
    cluster.clock.now += 0.45
    assert cluster.asked_for() == urls(2)
    assert [holder.url for holder in cluster.roster.holders(0, silent=True)] == urls(1)


def test_a_worker_that_comes_back_is_asked_again() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim()))
    cluster.pass_s(5)
    assert cluster.asked_for() == []

    cluster.say(a_beat(1, a_claim()))

    assert cluster.asked_for() == urls(1)


def test_nobody_is_aged_out_while_no_heartbeats_arrive_at_all() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim()))

    cluster.clock.now += 3600

    assert cluster.asked_for() == urls(1)


def test_when_kafka_comes_back_workers_may_find_their_way_at_different_speeds() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim()))

    cluster.clock.now += 20  # nobody could write
    cluster.pass_s(3)  # this worker can again, the other is still on its way

    assert cluster.asked_for() == urls(1)
    cluster.pass_s(5)
    assert cluster.asked_for() == []


def test_a_slow_reader_of_the_topic_ages_nobody_out() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim()))
    started = cluster.clock.now
    cluster.clock.now += 10  # the loop stood still; the log went on

    for i in range(20):
        log_ms = int((started + i * 0.5) * 1000)
        cluster.roster.hear(a_beat(0, sequence=100 + i), log_ms)
        cluster.roster.hear(a_beat(1, a_claim(), sequence=100 + i), log_ms + 100)
        assert cluster.asked_for() == urls(1)


def test_no_request_goes_to_another_version_or_other_rules() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim(), version=2))
    cluster.say(a_beat(2, a_claim(), rules=2))

    assert cluster.asked_for() == []
    assert [view.routed for view in cluster.roster.workers()] == [False, False]


def test_this_worker_is_not_its_own_peer_nor_is_its_former_self() -> None:
    cluster = Cluster()
    cluster.say(a_beat(0, a_claim(), instance="before the restart"))
    assert cluster.asked_for() == []

    cluster.say(a_beat(0, a_claim()))

    assert cluster.asked_for() == []
    assert [view.beat.instance for view in cluster.roster.workers()] == ["instance-0"]


def test_a_restarted_worker_replaces_the_one_at_its_address() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, a_claim()))
    cluster.say(a_beat(1, a_claim(role=None), instance="after the restart"))

    assert cluster.asked_for() == []


def test_a_heartbeat_that_comes_twice_or_late_changes_nothing() -> None:
    cluster = Cluster()
    roster = cluster.roster
    roster.hear(a_beat(1, a_claim(), sequence=5), 1_000_000)

    assert not roster.hear(a_beat(1, sequence=4), 1_000_000)
    assert cluster.asked_for() == urls(1)


def test_a_role_of_a_newer_build_is_not_routed_to() -> None:
    cluster = Cluster()
    cluster.say(a_beat(1, Claim(partition=0, state="warm", role="warm")))

    assert cluster.asked_for() == []


def test_a_worker_in_a_state_of_a_newer_build_is_still_asked_for_what_it_claims() -> None:
    raw = bytes_of(a_beat(1, a_claim())).replace(b'"url"', b'"state":"warming","url"')

    beat = beat_of(raw)

    assert beat == a_beat(1, a_claim())


def test_a_heartbeat_survives_the_topic() -> None:
    beat = a_beat(1, a_claim(), a_claim(1, None), state=WorkerState.LEAVING)

    assert beat_of(bytes_of(beat)) == beat


def test_what_is_not_a_heartbeat_is_ignored() -> None:
    assert beat_of(None) is None
    assert beat_of(b"\xff") is None
    assert beat_of(b'{"version": "one"}') is None


def test_fields_of_a_newer_build_are_ignored() -> None:
    raw = bytes_of(a_beat(1, a_claim())).replace(b'{"version":1', b'{"new":[1],"version":1', 1)

    assert beat_of(raw) == a_beat(1, a_claim())


def test_one_worker_alone_keeps_the_clock_running() -> None:
    clock = LogClock()
    heard_at = clock.hear(0, 0.0)
    for i in range(1, 5):
        clock.hear(i * 500, i * 0.5)

    assert clock.silent_for(heard_at, 2.0) == 2.0 > SILENCE_S


def test_a_ledger_that_is_built_beside_another_is_asked_last() -> None:
    cluster = Cluster()
    cluster.say(a_ledger(1))
    cluster.say(a_ledger(2, leaving=True))
    cluster.clock.now += 0.1
    cluster.say(a_ledger(3, behind=True))

    assert cluster.roster.ledgers() == [URL.format(1), URL.format(2), URL.format(3)]
    cluster.say(a_ledger(3))
    assert cluster.roster.ledgers()[0] == URL.format(3)
