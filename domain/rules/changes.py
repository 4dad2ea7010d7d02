"""Why rows may differ between two sets of rules: what a release declares, to be held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from msgspec.structs import replace

from domain.rows import Row

#: Facts that one set refused and the other counts. Not declared but proved, from the dead letters.
ACCEPTED_NOW: Final = "accepted-now"
REFUSED_NOW: Final = "refused-now"


class RulesChange(NamedTuple):
    """One reason. explains: whether it makes the first row, by the older rules, the second."""

    name: str
    older: int
    newer: int
    says: str
    explains: Callable[[Row, Row], bool]


def _by_damaged_returns(old: Row, new: Row) -> bool:
    moved = new.damaged - old.damaged
    after = replace(old, returned=old.returned - moved, damaged=new.damaged)
    return moved > 0 and new == after


CHANGES: Final = (
    RulesChange(
        "damaged-returns",
        2,
        3,
        "returns with the reason `damaged` do not come back to stock",
        _by_damaged_returns,
    ),
)


def changes_between(older: int, newer: int) -> list[RulesChange]:
    """What is declared between these rules."""
    return [change for change in CHANGES if (change.older, change.newer) == (older, newer)]
