"""Alerts: what a shop wants to be told of its stock, and whether there is something to tell.

A rule is level-triggered: it looks at what is on hand now and at what was told last, and never at
the way from there to here. How facts of several topics are mixed, and by which version they are
counted, changes that way and not the level. Between `below` and `above` what was told holds
(hysteresis), so that a row that goes up and down by one is not told each time.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_ALL: Final = ("*",)


class AlertLevel(StrEnum):
    """What is told of a row by a rule."""

    RAISED = "raised"
    CLEARED = "cleared"


class AlertRule(Struct, frozen=True):
    """One rule. Quantities are in the smallest unit of a SKU, as those of facts are.

    below: raised where less than this is on hand. above: cleared where more than this is, which is
    at least `below` - 1. skus, locations: names, or beginnings of names that end with `*`.
    """

    name: str
    below: int
    above: int
    skus: tuple[str, ...] = _ALL
    locations: tuple[str, ...] = _ALL

    def level(self, on_hand: int, told: AlertLevel) -> AlertLevel:
        """What is to be told now, by what was told last."""
        if told is AlertLevel.CLEARED:
            return AlertLevel.RAISED if on_hand < self.below else AlertLevel.CLEARED
        return AlertLevel.CLEARED if on_hand > self.above else AlertLevel.RAISED


class AlertRulesError(Exception):
    """Rules that cannot be used; `problems` has a sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class _Names:
    """Those that a rule is for."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._whole = {one for one in patterns if not one.endswith("*")}
        self._beginnings = tuple(one[:-1] for one in patterns if one.endswith("*"))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._whole or name.startswith(self._beginnings))


class AlertRules:
    """All rules of a worker, by name."""

    def __init__(self, rules: Iterable[AlertRule]) -> None:
        self.rules = tuple(rules)
        self._names = [(rule, _Names(rule.skus), _Names(rule.locations)) for rule in self.rules]

    def of(self, sku: str, location: str) -> Mapping[str, AlertRule]:
        """The rules that are for this row."""
        return {
            rule.name: rule
            for rule, skus, locations in self._names
            if sku in skus and location in locations
        }


class _Written(Struct, forbid_unknown_fields=True):
    """A rule as it is in the file."""

    name: str
    below: int
    above: int | None = None
    skus: tuple[str, ...] = _ALL
    locations: tuple[str, ...] = _ALL


def read_alert_rules(text: str) -> AlertRules:
    """The rules of a TOML file; docs/alerts.md says how to write one.

    Raises:
        AlertRulesError: they cannot be used.
    """
    try:
        document = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise AlertRulesError([f"It is not TOML: {error}. Mend that place."]) from None
    tables = document.pop("rule", None)
    problems = [f"{key} is not known: a file of rules has [[rule]] alone." for key in document]
    if not isinstance(tables, list) or not tables:
        raise AlertRulesError([*problems, "It has no rule: write [[rule]] above its lines."])
    rules: list[AlertRule] = []
    for number, table in enumerate(tables, 1):
        rule = _rule(number, table, problems)
        if rule is not None and rule.name in {other.name for other in rules}:
            problems.append(f"Two rules are called {rule.name}: give each a name of its own.")
        if rule is not None:
            rules.append(rule)
    if problems:
        raise AlertRulesError(problems)
    return AlertRules(rules)


def _rule(number: int, table: Any, problems: list[str]) -> AlertRule | None:
    """Rule number so much of the file; None: what is wrong with it is among the problems."""
    try:
        written = msgspec.convert(table, _Written)
    except msgspec.ValidationError as error:
        problems.append(f"Rule {number}: {error}.")
        return None
    where, known = f"Rule {number} ({ascii(written.name)[1:-1]})", len(problems)
    if not _NAME.fullmatch(written.name):
        problems.append(
            f"{where}: name it by at most 64 small letters, digits, hyphens and underscores."
        )
    above = written.below - 1 if written.above is None else written.above
    if above < written.below - 1:
        problems.append(
            f"{where}: above is {above}, below which it is raised already: use {written.below - 1} "
            "or more."
        )
    problems += _wrong_names(where, "skus", written.skus)
    problems += _wrong_names(where, "locations", written.locations)
    if len(problems) > known:
        return None
    return AlertRule(written.name, written.below, above, written.skus, written.locations)


def _wrong_names(where: str, field: str, patterns: Sequence[str]) -> Iterable[str]:
    if not patterns:
        yield f"{where}: {field} is empty, so it is for nothing: leave it out to mean all."
    for one in patterns:
        if not one or "*" in one[:-1]:
            yield f"{where}: {field} has {one!a}: use a name, or its beginning and one * there."
