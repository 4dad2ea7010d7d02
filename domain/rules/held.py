"""The rules that this build holds, and by which of them a process judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from domain.rules.sets import RuleSet
from domain.rules.three import THREE
from domain.rules.two import TWO

#: By number, the older one first.
HELD: Final[Mapping[int, RuleSet]] = {rules.number: rules for rules in (TWO, THREE)}
#: What a deployment begins with.
CURRENT: Final = TWO
#: What a version is staged with, unless its command says otherwise.
NEWEST: Final = HELD[max(HELD)]


class RulesNotHeld(Exception):
    """This build cannot count by these rules; says what to do."""


class Ruling:
    """By which rules a process judges: those that the record of versions has for its version.

    The current ones until that is read. Chosen before anything is counted, and then never
    changed: a version keeps its rules for its life.
    """

    def __init__(self, rules: RuleSet = CURRENT) -> None:
        self.now = rules

    def choose(self, version: int, number: int) -> None:
        """Judge by these from now on.

        Raises:
            RulesNotHeld: this build has no such rules.
        """
        if number not in HELD:
            held = " and ".join(map(str, HELD))
            raise RulesNotHeld(
                f"Version {version} counts by rules {number}, and this build holds rules {held}: "
                "run the build that the version was staged with, or a newer one."
            )
        self.now = HELD[number]
