"""The places of a server's connections: who has one, and who has to go for who comes.

Whoever keeps a place without being served may be a stranger who wants to keep others out: he says
nothing, or half of a head, or half of a body that was refused, or he does not take his answers.
So all of these give way, and a request that is being answered does not.
"""

from __future__ import annotations

import logging
import time
from typing import Protocol

log = logging.getLogger(__name__)

#: How many are looked at, of those that may be idle, to find one that is.
_LOOKED_AT = 64
#: "Used since" is not asked more exactly than this.
_ABOUT_S = 0.5
#: Who has not taken anything for so long gives way to others.
UNTAKEN_S = 2.0
#: The same is told again after this time.
_TOLD_EVERY_S = 60.0
#: Who does not take answers keeps no more than one place of so many.
_STALLED_OF = 4

_FULL = (
    "All %d places for connections are taken: who was served longest ago is cut off for who comes."
)
_BUSY = (
    "All %d places for connections are taken by requests that are being answered: who comes "
    "besides is told 503 too-busy."
)
_SLOW = "More than %d clients do not take their answers: the one that waits longest is cut off."


class Guest(Protocol):
    """A connection, as far as its place goes."""

    #: It has one of the places that are bounded.
    counts: bool
    #: Beyond the bound: it may ask what operations ask, and nothing else.
    for_operations: bool

    def has_been_quiet_since(self) -> float | None:
        """When it was served last, by a clock of its own; None while it is being served."""

    def give_way(self) -> None:
        """Close at once."""


class ConnectionPlaces:
    """Of one server.

    Args:
        connections: how many places.
        for_operations: how many more, for those that ask what operations ask.
        stalled: how many connections may hold answers that their clients do not take: each costs
            memory. Never more than a quarter of the places.
    """

    def __init__(self, connections: int, for_operations: int, stalled: int) -> None:
        self._connections, self._most_for_operations = connections, for_operations
        self._most_stalled = min(stalled, max(connections // _STALLED_OF, 1))
        #: How many have a place.
        self.taken = 0
        #: Those that may be idle, the longest first, and since when as far as was looked.
        self._quiet: dict[Guest, float] = {}
        self._for_operations: dict[Guest, None] = {}
        #: Whose answers wait, the longest first, and since when.
        self._stalled: dict[Guest, float] = {}
        self._tell_at: dict[str, float] = {}

    def take_in(self, one: Guest, since: float) -> None:
        """Give a new connection its place.

        Beyond the bound, the one that was served longest ago goes for it. Where all are being
        served, it gets one of a few places in which only /live, /ready and /metrics are answered:
        an orchestrator must not restart a worker for being asked a lot. Of those, too, the oldest
        goes; it has had its answer.

        `since`: as `has_been_quiet_since` will say it.
        """
        if self.taken >= self._connections and not self._makes_room():
            self._tell(_BUSY, self._connections)
            one.for_operations = True
            self._for_operations[one] = None
            if len(self._for_operations) > self._most_for_operations:
                oldest = next(iter(self._for_operations))
                del self._for_operations[oldest]
                oldest.give_way()
            return
        self.taken += 1
        one.counts = True
        self._quiet[one] = since

    def let_go(self, one: Guest) -> None:
        """Its place is free."""
        if one.for_operations:
            self._for_operations.pop(one, None)
        elif one.counts:
            one.counts = False
            self.taken -= 1
        self._quiet.pop(one, None)
        self._stalled.pop(one, None)

    def serves(self, one: Guest) -> None:
        """It has asked for something."""
        self._quiet.pop(one, None)

    def served(self, one: Guest, since: float) -> None:
        """It was answered, or as good as; see `take_in` for `since`."""
        if one.counts:
            self._quiet.pop(one, None)
            self._quiet[one] = since

    def stalls(self, one: Guest) -> None:
        """Its client does not take what is sent."""
        self._stalled[one] = time.monotonic()
        if len(self._stalled) > self._most_stalled and self._end_a_slow_one():
            self._tell(_SLOW, self._most_stalled)

    def flows(self, one: Guest) -> None:
        """Its client has taken all."""
        self._stalled.pop(one, None)

    def _makes_room(self) -> bool:
        if not (self._end_a_quiet_one() or self._end_a_slow_one()):
            return False
        self._tell(_FULL, self._connections)
        return True

    def _end_a_quiet_one(self) -> bool:
        for _ in range(min(_LOOKED_AT, len(self._quiet))):
            longest = next(iter(self._quiet))
            known = self._quiet.pop(longest)
            since = longest.has_been_quiet_since()
            if since is None or since > known + _ABOUT_S:
                # Busy, or it took the shortcut meanwhile, which does not tell.
                self._quiet[longest] = since or known
                continue
            longest.give_way()
            self.let_go(longest)
            return True
        return False

    def _end_a_slow_one(self) -> bool:
        """Whether there was one that has a place, and has waited for long."""
        at = time.monotonic()
        slow = (one for one, since in self._stalled.items() if at - since >= UNTAKEN_S)
        longest = next((one for one in slow if one.counts), None)
        if longest is None:
            return False
        longest.give_way()
        self.let_go(longest)
        return True

    def _tell(self, sentence: str, number: int) -> None:
        now = time.monotonic()
        if now >= self._tell_at.get(sentence, now):
            self._tell_at[sentence] = now + _TOLD_EVERY_S
            log.warning(sentence, number)
