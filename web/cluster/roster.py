"""Who can answer for which partition, as the heartbeats say. No input or output here.

And who of two workers with one address is in the wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from core.stages import Role
from tables.tasks import Final
from web.cluster.heartbeats import AUDIT, LEDGER, Claim, Heartbeat, LogClock, WorkerState

#: A worker silent for this long gets no requests. Under the promised 2 s, by the
#: time that a heartbeat takes through Kafka.
SILENCE_S = 1.7
#: The cluster view names a silent worker for this long, then forgets it.
REMEMBER_S = 60.0
_ROLES = frozenset(Role)
#: Heartbeats of another worker with this one's address. One more may be on its way when a process
#: is killed, and its successor would hear its ghost.
_ENOUGH = 2


class Holder(msgspec.Struct, frozen=True):
    """One other worker that says it can answer for a partition."""

    url: str
    role: Role
    handled: int
    leaving: bool


class WorkerView(msgspec.Struct, frozen=True):
    """One worker as the cluster view shows it; `silent_s` counts only while Kafka answers."""

    beat: Heartbeat
    alive: bool
    routed: bool
    silent_s: float
    this: bool


class _Member(msgspec.Struct, frozen=True):
    """The newest heartbeat of one process, and when it came.

    active_since: for each partition that it calls itself active for, which record of
        the topic said so first.
    """

    beat: Heartbeat
    heard_at: float
    arrived: float
    claims: dict[int, Claim]
    active_since: dict[int, int]


class Roster:
    """Every worker heard of, and who of them to ask; `me` names this one."""

    def __init__(self, me: Heartbeat, now: Callable[[], float] = time.monotonic) -> None:
        self._me = me
        self._now = now
        self._clock = LogClock()
        self._members: dict[str, _Member] = {}
        self._heard = 0
        self._ranked: dict[int, list[tuple[_Member, Holder]]] = {}

    def hear(self, beat: Heartbeat, log_ms: int) -> bool:
        """Take one heartbeat in, in log order; true if it changes what can be answered."""
        now = self._now()
        heard_at = self._clock.hear(log_ms, now)
        before = self._members.get(beat.instance)
        if before is not None and beat.sequence <= before.beat.sequence:
            return False  # a producer's retry, or older than what is known
        if before is None:
            # Another process on the same address can only be the successor.
            for instance, member in list(self._members.items()):
                if member.beat.url == beat.url:
                    del self._members[instance]
        self._heard += 1
        known = {} if before is None else before.active_since
        claims = {claim.partition: claim for claim in beat.claims}
        actives = [partition for partition, claim in claims.items() if claim.role == Role.ACTIVE]
        since = {partition: known.get(partition, self._heard) for partition in actives}
        self._members[beat.instance] = _Member(beat, heard_at, now, claims, since)
        for instance, member in list(self._members.items()):
            if self._clock.silent_for(member.heard_at, now) > REMEMBER_S:
                del self._members[instance]
        self._ranked.clear()
        return before is None or _answers(before.beat) != _answers(beat)

    def holders(self, partition: int, *, silent: bool = False) -> list[Holder]:
        """Other workers of this version that can answer, best first.

        First the active one: of two claims the higher position wins, of two equal ones
        the later claim. Then all others, freshest first; those that are leaving come last.

        Args:
            partition: of what.
            silent: instead those that fell silent without a goodbye: where nobody else is
                left, worth one try. A machine that is far too busy delays heartbeats before
                it stops answering.
        """
        ranked = self._ranked.get(partition)
        if ranked is None:
            ranked = self._rank(partition)
        now, silent_for = self._now(), self._clock.silent_for
        return [h for m, h in ranked if (silent_for(m.heard_at, now) > SILENCE_S) is silent]

    def has_rival(self, partition: int) -> bool:
        """Whether another worker may be active for it. Every read of an owner asks that."""
        ranked = self._ranked.get(partition)
        if ranked is None:
            ranked = self._rank(partition)
        return bool(ranked) and ranked[0][1].role is Role.ACTIVE

    def owner(self, partition: int) -> Holder | None:
        """The other worker that is active for it, if one is known and alive."""
        best = next(iter(self.holders(partition)), None)
        return best if best is not None and best.role is Role.ACTIVE else None

    def is_quiet(self, seconds: float) -> bool:
        """Whether no heartbeat was read for so long: not this worker's own, either."""
        return self._clock.arrived < self._now() - seconds

    def heard_since(self, url: str, since: float) -> bool:
        """Whether a heartbeat from `url` was read after `since`, in monotonic seconds."""
        return any(m.beat.url == url and m.arrived > since for m in self._members.values())

    def workers(self) -> list[WorkerView]:
        """All that are known, also silent ones and those of other versions; by address."""
        now = self._now()
        views = []
        for member in self._members.values():
            if member.beat.kind is not None:
                continue
            silent_s = max(0.0, self._clock.silent_for(member.heard_at, now))
            gone = member.beat.state is WorkerState.GONE
            alive = silent_s <= SILENCE_S and not gone
            this = member.beat.instance == self._me.instance
            routed = alive and self._same_kind(member.beat)
            views.append(WorkerView(member.beat, alive, routed, silent_s, this))
        return sorted(views, key=lambda view: view.beat.url)

    def ledgers(self) -> list[str]:
        """Addresses of those that keep this version's history and are alive, best first.

        One that is built anew beside another comes last, so that nobody is shown half of it.
        """
        return self._of_kind(LEDGER)

    def audits(self) -> list[str]:
        """Addresses of those that audit this version without end and are alive, best first."""
        return self._of_kind(AUDIT)

    def _of_kind(self, kind: str) -> list[str]:
        now = self._now()
        found = [
            member
            for member in self._members.values()
            if member.beat.kind == kind
            and member.beat.state is not WorkerState.GONE
            and self._is_of_this_version(member.beat)
            and self._clock.silent_for(member.heard_at, now) <= SILENCE_S
        ]
        found.sort(
            key=lambda member: (
                member.beat.behind,
                member.beat.state is WorkerState.LEAVING,
                -member.heard_at,
            )
        )
        return [member.beat.url for member in found]

    def _rank(self, partition: int) -> list[tuple[_Member, Holder]]:
        found = []
        for member in self._members.values():
            beat = member.beat
            if (
                not self._same_kind(beat)
                or beat.state is WorkerState.GONE
                or beat.instance == self._me.instance
                or beat.url == self._me.url
            ):
                continue
            claim = member.claims.get(partition)
            # A newer build may know roles that this one does not.
            if claim is not None and claim.role in _ROLES:
                leaving = beat.state is WorkerState.LEAVING
                holder = Holder(beat.url, Role(claim.role), claim.handled, leaving)
                found.append((member, holder))
        active = max(
            (pair for pair in found if pair[1].role is Role.ACTIVE and not pair[1].leaving),
            key=lambda pair: (pair[1].handled, pair[0].active_since[partition]),
            default=None,
        )
        # Others who call themselves active slept through a rebalance: they are as good
        # as their position says, no better.
        found.sort(key=lambda pair: (pair is not active, pair[1].leaving, -pair[1].handled))
        self._ranked[partition] = found
        return found

    def judge_by(self, rules: int) -> None:
        """This worker counts by these rules."""
        self._me = msgspec.structs.replace(self._me, rules=rules)

    def _same_kind(self, beat: Heartbeat) -> bool:
        return beat.kind is None and self._is_of_this_version(beat)

    def _is_of_this_version(self, beat: Heartbeat) -> bool:
        mine = self._me
        # A build before windows were told was held to its own at its start, as all are.
        windows = {mine.window, beat.window} - {None}
        return (beat.version, beat.rules) == (mine.version, mine.rules) and len(windows) <= 1


def _answers(beat: Heartbeat) -> tuple[object, ...]:
    return (beat.state, *((claim.partition, claim.role) for claim in beat.claims))


class AddressTaken(Final):
    """Another worker has the address of this one; says what to do."""


class AddressWatch:
    """Watches who else says that it is reached where this worker is.

    Requests for either go to one of them, who may not hold what was asked for. The one
    whose first heartbeat came later ends, as soon as the other has sent two after it.
    """

    def __init__(self, me: Heartbeat) -> None:
        self._me = me
        self._is_known = False
        #: Of those who were here before this worker, how many heartbeats came since.
        self._since: dict[str, int] = {}

    def hear(self, beat: Heartbeat) -> None:
        """Take one heartbeat in, in log order; raises AddressTaken."""
        if beat.url != self._me.url:
            return
        if beat.instance == self._me.instance:
            self._is_known = True
        elif not self._is_known:
            self._since[beat.instance] = 0
        elif beat.instance in self._since and beat.state is WorkerState.RUNNING:
            self._since[beat.instance] += 1
            if self._since[beat.instance] == _ENOUGH:
                raise AddressTaken(
                    f"Another worker is reached at {beat.url}, too, and was there first: give "
                    "each worker an ONHAND_URL of its own, not that of a load balancer."
                )
