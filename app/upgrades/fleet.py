"""Who runs which version, and how far: from the heartbeats of the last minutes alone.

Times are the broker's, which stamped the heartbeats; nobody's clock is asked. Where workers prove
to be workers (`ONHAND_PEER_SECRET`), a command hears whom a worker would hear.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.access import beats_of
from app.config import Settings
from core.stages import Role
from web.access.beats import Beats
from web.cluster.heartbeats import Claim, Heartbeat, WorkerState, beat_of
from wire import clients
from wire.fetch import Fetched, fetch, stored

#: How far back: whoever was seen in it and is silent now may come back.
SEEN_WITHIN_S = 600
#: A living worker has said something within this time, twice a second.
SILENT_S = 2.0
#: Told from the living by listening for a little longer.
LISTEN_S = 2.2
#: Caught up means so for this long without a break.
STABLE_S = 60.0
#: As far behind the active version a version may be.
BEHIND_S = 2.0
#: No progress for this long, while behind.
STALLED_S = 30.0
_RECORDS = 5_000
_POLL_S = 0.2
_CLOSE_S = 2.0


class Beat(NamedTuple):
    """One heartbeat, and when the broker took it (ms since the epoch)."""

    log_ms: int
    beat: Heartbeat


class SeenWorker(msgspec.Struct, frozen=True):
    """One worker as it was heard last."""

    beat: Heartbeat
    silent_s: float

    @property
    def is_alive(self) -> bool:
        """Whether it is there and says so."""
        return self.silent_s <= SILENT_S and self.beat.state is not WorkerState.GONE


class Observed(StrEnum):
    """How far a version is, as its heartbeats tell. Never stored."""

    WAITING = "waiting"  # no worker, or none that counts
    CATCHING_UP = "catching up"
    CAUGHT_UP = "caught up"
    STALLED = "stalled"  # behind, and no progress
    FAILING = "failing"  # a partition stands still until somebody decides


class Fleet(msgspec.Struct):
    """What was heard: `beats` in log order, up to `now_ms` by the broker's clock."""

    beats: list[Beat]
    now_ms: int

    def workers(self, version: int | None = None) -> list[SeenWorker]:
        """Of a version, or of all; by address. One address, one worker: the newest."""
        newest: dict[str, Beat] = {}
        for one in self.beats:
            newest[one.beat.url] = one
        found = (SeenWorker(b.beat, max(0, self.now_ms - b.log_ms) / 1000) for b in newest.values())
        return sorted(
            (seen for seen in found if version in (None, seen.beat.version)),
            key=lambda seen: seen.beat.url,
        )

    def silent(self) -> list[SeenWorker]:
        """Those that may come back, and answer as they did: they fell silent without goodbye."""
        return [seen for seen in self.there() if not seen.is_alive]

    def there(self) -> list[SeenWorker]:
        """All that have not said goodbye: the living and the silent."""
        return [seen for seen in self.workers() if seen.beat.state is not WorkerState.GONE]

    def without_record(self, epoch: int) -> list[SeenWorker]:
        """Those of them that have not said that they have read this record, or a later one."""
        return [seen for seen in self.there() if (seen.beat.epoch or 0) < epoch]


async def heard(
    settings: Settings,
    enough: Callable[[Fleet], bool] = lambda fleet: False,
    wait_s: float = LISTEN_S,
    within_s: float = SEEN_WITHIN_S,
) -> Fleet:
    """Read the heartbeats of the last minutes, and listen for `wait_s` more.

    Args:
        settings: whose workers.
        enough: ends the listening before.
        wait_s: the least that tells the living from the silent.
        within_s: how far back; who asks for the living alone needs some seconds.

    Raises:
        KafkaError, OSError: Kafka does not answer.
        AccessError: the file of secrets cannot be used.
    """
    beats = beats_of(settings)
    consumer = AIOKafkaConsumer(
        **settings.client_kwargs(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        request_timeout_ms=10_000,
    )
    place = TopicPartition(settings.members_topic, 0)
    async with clients.running(consumer, _CLOSE_S):
        consumer.assign([place])
        return await _listened(consumer, place, beats, enough, wait_s, within_s)


async def _listened(
    consumer: AIOKafkaConsumer,
    place: TopicPartition,
    beats: Beats,
    enough: Callable[[Fleet], bool],
    wait_s: float,
    within_s: float,
) -> Fleet:
    end = (await consumer.end_offsets([place]))[place]
    fleet, position = Fleet([], 0), await _before(consumer, place, end, within_s)
    consumer.seek(place, position)
    reached_at, newest_ms = time.monotonic(), 0
    while True:
        part = (await fetch(consumer, _POLL_S, _RECORDS)).get(place)
        if part is not None:
            if part.error is not None:
                raise part.error
            fleet.beats += _believed(place, part, beats)
            position = part.next_offset
        if position < end:
            await asyncio.sleep(0)
            continue
        if not fleet.now_ms:
            reached_at = time.monotonic()
            newest_ms = max((one.log_ms for one in fleet.beats), default=1)
        # With nobody left to say anything, the broker's time goes on as ours does.
        listened_s = time.monotonic() - reached_at
        last_ms = fleet.beats[-1].log_ms if fleet.beats else 1
        fleet.now_ms = max(last_ms, newest_ms + int(listened_s * 1000))
        if enough(fleet) or listened_s > wait_s:
            return fleet


def _believed(place: TopicPartition, part: Fetched, beats: Beats) -> Iterator[Beat]:
    for record in stored(place, part):
        value, log_ms = record.value, record.timestamp
        if value is None or (beat := beat_of(value)) is None:
            continue
        if not beats.is_heard(value, record.headers, log_ms, beat.instance, beat.sequence):
            continue
        # A ledger follows whatever version it likes: it answers for none.
        if beat.kind is None:
            yield Beat(log_ms, beat)


async def _before(
    consumer: AIOKafkaConsumer, place: TopicPartition, end: int, within_s: float
) -> int:
    """The offset of the first heartbeat in these last seconds, as the broker stamped them."""
    start = (await consumer.beginning_offsets([place]))[place]
    if end == start:
        return int(start)
    position = max(start, end - 1)
    consumer.seek(place, position)
    newest_ms = 0
    while position < end:
        part = (await fetch(consumer, _POLL_S, 1)).get(place)
        if part is not None:
            if part.error is not None:
                raise part.error
            newest_ms = max((r.timestamp for r in stored(place, part)), default=newest_ms)
            position = part.next_offset
    found = await consumer.offsets_for_times({place: max(0, newest_ms - int(within_s * 1000))})
    return int(start if found[place] is None else found[place].offset)


class VersionProgress(msgspec.Struct, frozen=True):
    """How far a version is. why: each thing that keeps it from being caught up.

    steady_s: for how long it has been all that, where that is not long enough yet.
    """

    observed: Observed
    workers: int
    partitions: int
    lag_events: int
    why: tuple[str, ...] = ()
    steady_s: int = 0


class _Held(NamedTuple):
    log_ms: int
    instance: str
    build: str
    claim: Claim


def progress(
    fleet: Fleet,
    version: int,
    active: int,
    partitions: int,
    standbys: int,
    stable_s: float = STABLE_S,
) -> VersionProgress:
    """How far a version is, compared with the active one: see `_progress`."""

    def for_s(seconds: float) -> VersionProgress:
        return _progress(fleet, version, active, partitions, standbys, seconds)

    found = for_s(stable_s)
    if found.observed is not Observed.CATCHING_UP:
        return found
    # Who was caught up for so long was so for less.
    steady_s = bisect_left(
        range(int(stable_s)), True, key=lambda s: for_s(s + 1).observed is not Observed.CAUGHT_UP
    )
    return msgspec.structs.replace(found, steady_s=steady_s)


def _progress(
    fleet: Fleet, version: int, active: int, partitions: int, standbys: int, stable_s: float
) -> VersionProgress:
    """How far a version is, compared with the active one.

    Caught up, without a break for `stable_s`: each partition has one owner, the same, and the
    configured standbys as far as there are workers for them; at each heartbeat the owner was
    where the active version's owner had been `BEHIND_S` before; its workers are of one build.
    """
    alive = [seen for seen in fleet.workers(version) if seen.is_alive]
    oldest_ms = fleet.now_ms - int((max(stable_s, STALLED_S) + 10) * 1000)
    held = _by_partition(fleet, version, oldest_ms)
    live = _by_partition(fleet, active, oldest_ms)
    why: list[str] = []
    builds = sorted({seen.beat.build for seen in alive})
    if len(builds) > 1:
        why.append(f"its workers are of {len(builds)} builds ({', '.join(builds)})")
    since_ms = fleet.now_ms - int(stable_s * 1000)
    copies = min(standbys, max(0, len(alive) - 1))
    behind = False
    for partition in range(partitions):
        ours = held[partition]
        if (fault := _owner_fault(ours, since_ms, fleet.now_ms)) is not None:
            why.append(f"partition {partition} {fault}")
        elif not _keeps_up(ours, live[partition], since_ms):
            behind = True
            why.append(f"partition {partition} was more than {BEHIND_S:.0f} s behind")
        elif (few := _steady(ours, Role.STANDBY, since_ms, fleet.now_ms)) < copies:
            why.append(f"partition {partition} has {few} of {copies} standbys for {stable_s:.0f} s")
    claims = [c for seen in alive for c in seen.beat.claims if c.role == Role.ACTIVE]
    stopped = next((c.stopped_because for c in claims if c.stopped_because), None)
    if not claims:
        observed = Observed.WAITING
        why = why[:1] or ["it has no worker that counts"]
    elif stopped is not None:
        observed, why = Observed.FAILING, [stopped, *why]
    elif not why:
        observed = Observed.CAUGHT_UP
    elif behind and not _gets_on(held, fleet.now_ms):
        observed = Observed.STALLED
    else:
        observed = Observed.CATCHING_UP
    lag = sum(claim.lag_events for claim in claims)
    owned = len({claim.partition for claim in claims})
    return VersionProgress(observed, len(alive), owned, lag, tuple(why))


def _by_partition(fleet: Fleet, version: int, oldest_ms: int) -> dict[int, list[_Held]]:
    found: dict[int, list[_Held]] = defaultdict(list)
    for log_ms, beat in fleet.beats:
        if log_ms < oldest_ms:
            continue
        if beat.version == version and beat.state is not WorkerState.GONE:
            for claim in beat.claims:
                held = _Held(log_ms, beat.instance, beat.build, claim)
                found[claim.partition].append(held)
    return found


def _of(held: Sequence[_Held], role: Role) -> Iterator[_Held]:
    return (one for one in held if one.claim.role == role)


def _owner_fault(held: Sequence[_Held], since_ms: int, now_ms: int) -> str | None:
    owners = list(_of(held, Role.ACTIVE))
    if not owners or now_ms - owners[-1].log_ms > SILENT_S * 1000:
        return "has no owner"
    stretch = [one for one in owners if one.log_ms >= since_ms]
    if len({(one.instance, one.claim.epoch, one.build) for one in stretch}) > 1:
        return "changed its owner lately"
    if not _covers(owners, since_ms, now_ms):
        return "has had its owner for too short a time"
    return None


def _covers(beats: Sequence[_Held], since_ms: int, now_ms: int) -> bool:
    """Whether one of them said so from `since_ms` on, without a gap."""
    times = [one.log_ms for one in beats]
    first = bisect_right(times, since_ms) - 1
    if first < 0:
        return False
    steps = [*times[first:], now_ms]
    return all(b - a <= SILENT_S * 1000 for a, b in pairwise(steps))


def _steady(held: Sequence[_Held], role: Role, since_ms: int, now_ms: int) -> int:
    """How many workers have had this role for the whole time."""
    by_instance: dict[str, list[_Held]] = defaultdict(list)
    for one in _of(held, role):
        by_instance[one.instance].append(one)
    return sum(_covers(beats, since_ms, now_ms) for beats in by_instance.values())


def _keeps_up(ours: Sequence[_Held], live: Sequence[_Held], since_ms: int) -> bool:
    """Whether each of our owner's heartbeats was where theirs had been `BEHIND_S` before."""
    theirs = list(_of(live, Role.ACTIVE))
    times = [one.log_ms for one in theirs]
    reached = 0
    highest: list[int] = []
    for one in theirs:
        reached = max(reached, one.claim.handled)
        highest.append(reached)
    for one in _of(ours, Role.ACTIVE):
        if one.log_ms < since_ms:
            continue
        at = bisect_right(times, one.log_ms - int(BEHIND_S * 1000)) - 1
        if at >= 0 and one.claim.handled < highest[at]:
            return False
        if not theirs and one.claim.lag_events:
            return False  # with nobody to compare it with, it has to be at the end
    return True


def _gets_on(held: dict[int, list[_Held]], now_ms: int) -> bool:
    """Whether anything was counted lately; a version that has just begun gets its time."""
    since_ms = now_ms - int(STALLED_S * 1000)
    for beats in held.values():
        owners = list(_of(beats, Role.ACTIVE))
        before = [one for one in owners if one.log_ms < since_ms]
        if owners and (not before or owners[-1].claim.handled > before[-1].claim.handled):
            return True
    return False
