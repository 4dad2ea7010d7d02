"""Where a worker is with one partition, and what an answer from there is worth."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct


class Role(StrEnum):
    """Who answers."""

    ACTIVE = "active"  # the owner, confirmed by the broker lately
    FORMER = "former"  # the last owner, until the new one is known
    STANDBY = "standby"  # follows the owner's changelog


class Stage(StrEnum):
    """Where a worker is with one partition. `may_become` says which moves are legal."""

    FENCING = "fencing"  # to be owned: making every older writer refused
    RESTORING = "restoring"  # fenced: reading the changelog to its end
    ACTIVE = "active"  # owned: folds, commits, answers
    FORMER = "former"  # no longer owned: answers until another owner is known
    LOADING = "loading"  # to stand by: not yet past the end seen at the start
    STANDBY = "standby"  # follows, and answers

    def may_become(self, other: "Stage") -> bool:
        """Whether this move is legal; to stay is."""
        return other is self or other in _MOVES[self]


# Only who restored may fold, so ACTIVE has one way in. An owner never follows at once: it
# loads what it may have lost.
_MOVES: Mapping[Stage, frozenset[Stage]] = {
    Stage.LOADING: frozenset(Stage) - {Stage.ACTIVE},
    Stage.STANDBY: frozenset(Stage) - {Stage.ACTIVE},
    Stage.FENCING: frozenset(Stage) - {Stage.ACTIVE},
    Stage.RESTORING: frozenset(Stage),
    Stage.ACTIVE: frozenset({Stage.FORMER, Stage.FENCING, Stage.LOADING}),
    Stage.FORMER: frozenset(Stage) - {Stage.ACTIVE},
}


class Freshness(Struct, frozen=True):
    """Who gave an answer, up to where, how far behind (P4).

    worker: its URL. position: token of the offsets handled. lag_events: against the ends
    known at `as_of_ms`, when a broker last answered that worker for this partition. version:
    whose rows these are. epoch: of the record of versions that they are answered by.
    """

    role: Role
    worker: str
    partition: int
    position: str
    lag_events: int
    as_of_ms: int
    version: int = 1
    epoch: int = 0
