"""Says who is asked for a partition, here or elsewhere, in which order, with how much time.

Order: this worker if it is the owner, or near enough for a caller who says how far behind an
answer may be; else the owner; else whoever is freshest, this worker first among equals. A request
that came from another worker is answered here or not at all.
How these attempts are made is told in `web/cluster/asking.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from core.stages import Freshness, Role
from tables.reading import Reading
from web.cluster.admission import Admission, Asked, stale
from web.cluster.answers import is_usable
from web.cluster.exchange import Head, PeerAnswer, PeerFailed
from web.cluster.peers import Peers
from web.cluster.roster import REMEMBER_S, Holder, Roster

#: The owner, one retry elsewhere, and this worker's own rows.
MAX_ATTEMPTS = 3
#: Between two questions while a partition has no owner.
_ASK_AGAIN_S = 0.05

#: Where to ask: another worker, or None for this one.
Target = Holder | None


class Patience(NamedTuple):
    """How long one kind of read may take.

    deadline_s: for all of it, besides what the caller's `wait_ms` allows. hedge_s: until the
    next one is asked too.
    """

    deadline_s: float
    hedge_s: float


#: An owner that folds at full speed answers within 40 ms; one that has not answered for this
#: long may be frozen.
KEY_PATIENCE = Patience(deadline_s=1.5, hedge_s=0.25)
#: Many keys, and a page, take longer than a key.
LOOKUP_PATIENCE = Patience(deadline_s=2.0, hedge_s=0.5)
LIST_PATIENCE = Patience(deadline_s=3.0, hedge_s=0.5)


class Attempts(msgspec.Struct, frozen=True):
    """How one partition is asked for, once.

    targets: whom, best first; the next one when the one before failed, or has not answered
    for hedge_s. until: monotonic seconds when it is too late. waits: for a position that the
    caller named: whoever is slow then need not be frozen.
    """

    partition: int
    targets: Sequence[Target]
    hedge_s: float
    until: float
    waits: bool


async def again(asked: Asked, until: float) -> bool:
    """Whether to ask again between two owners: true in a moment, while there is time.

    A rebalance is over soon. To another worker that is said at once: it asks again itself, and
    whoever says nothing for long is taken for frozen.
    """
    if asked.hop or time.monotonic() > until:
        return False
    await asyncio.sleep(_ASK_AGAIN_S)
    return True


class Router:
    """Routing for one worker."""

    def __init__(self, table: Reading, roster: Roster, peers: Peers, admission: Admission) -> None:
        self.peers, self.admission = peers, admission
        self._table = table
        self._roster = roster
        self._suspects: dict[str, float] = {}

    def attempts(self, partition: int, asked: Asked, patience: Patience) -> Attempts:
        """How to ask for this partition now."""
        waits = self.admission.waits_for(partition, asked)
        until = time.monotonic() + patience.deadline_s + (asked.wait_s if waits else 0.0)
        targets = self._targets(partition, asked)
        return Attempts(partition, targets, patience.hedge_s, until, waits)

    def _targets(self, partition: int, asked: Asked) -> Sequence[Target]:
        if asked.hop:
            return [None]
        fresh = self._table.freshness(partition)
        others = self._roster.holders(partition)
        if self._suspects:
            others.sort(key=lambda holder: self._is_suspect(holder.url))
        if fresh is None:
            if not others:
                silent = self._roster.holders(partition, silent=True)
                others = [holder for holder in silent if not self._is_suspect(holder.url)]
            return others[:MAX_ATTEMPTS]
        if _will_do(fresh, asked):
            return [None, *others][:MAX_ATTEMPTS]
        better = (self._is_better(holder, fresh) for holder in others)
        mine = next((place for place, is_better in enumerate(better) if not is_better), len(others))
        # This worker's own rows are at hand: they are never left out.
        mine = min(mine, MAX_ATTEMPTS - 1)
        return [*others[:mine], None, *others[mine:]][:MAX_ATTEMPTS]

    def before_this(self, partition: int, fresh: Freshness | None, asked: Asked) -> Holder | None:
        """Whom `attempts` begin with, if not with this worker, whose rows are as fresh as this."""
        if fresh is not None:
            is_owner = fresh.role is Role.ACTIVE and not self._roster.has_rival(partition)
            if is_owner or _will_do(fresh, asked):
                return None
        others = self._roster.holders(partition)
        if not others or (fresh is not None and not self._is_better(others[0], fresh)):
            return None
        return others[0]

    def is_trusted(self, holder: Holder) -> bool:
        """Whether it owns the partition and nothing speaks against it."""
        is_owner = holder.role is Role.ACTIVE and not holder.leaving
        return is_owner and not self._is_suspect(holder.url)

    def _is_better(self, other: Holder, fresh: Freshness) -> bool:
        if other.leaving or self._is_suspect(other.url):
            return False
        is_ahead = other.handled > self.admission.handled(fresh)
        match fresh.role:
            case Role.ACTIVE:
                # Two claim it: the higher position is the owner's.
                return other.role is Role.ACTIVE and is_ahead
            case Role.FORMER | Role.STANDBY:
                return other.role is Role.ACTIVE or is_ahead

    def heard(self, partition: int, answer: PeerAnswer | Head) -> None:
        """Remember how far it was; raises PeerFailed unless it is an answer of ours."""
        if not is_usable(answer):
            raise PeerFailed("It answered with something else.")
        position = answer.headers.get("Onhand-Position")
        if answer.status < 500 and position is not None:
            self.admission.heard([partition], position)

    def is_owner(self, target: Target, partition: int) -> bool:
        """Whether nobody is further than this one."""
        who = self._table.freshness(partition) if target is None else target
        return who is not None and who.role is Role.ACTIVE

    def suspect(self, url: str) -> None:
        """It failed or was too slow: last choice until its next heartbeat or answer."""
        now = time.monotonic()
        # Who is gone for good will never be heard, nor asked, again.
        old = [other for other, since in self._suspects.items() if now - since > REMEMBER_S]
        for gone in old:
            del self._suspects[gone]
        self._suspects[url] = now

    def trust(self, url: str) -> None:
        """It answered."""
        self._suspects.pop(url, None)

    def _is_suspect(self, url: str) -> bool:
        since = self._suspects.get(url)
        if since is None:
            return False
        if self._roster.heard_since(url, since):
            del self._suspects[url]
            return False
        return True


def _will_do(fresh: Freshness, asked: Asked) -> bool:
    """Whether the caller takes what this worker has, though somebody else may have more."""
    return bool(asked.max_lag_events) and stale(asked, fresh) is None
