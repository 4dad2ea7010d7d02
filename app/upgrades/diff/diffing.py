"""The two versions are compared row by row, and each difference is given its cause."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer
from msgspec import Struct
from msgspec.structs import replace

from app.config import Settings
from app.upgrades import fleet as fleets
from app.upgrades.asking import UpgradeRefused, asking, known
from app.upgrades.diff.causes import UNEXPLAINED, Cause, Causes, OneSided, TooManyLetters
from app.upgrades.diff.comparing import Comparing, Difference
from app.upgrades.diff.explaining import JudgedRow, judged_row
from app.upgrades.diff.sides import Doors, NotCompared, Side, owners_in
from app.upgrades.fleet import Fleet
from core.versions import Versions
from domain.rules.held import HELD
from domain.rules.sets import RuleSet
from web.cluster.peers import Peers
from wire import clients
from wire.whole import RecordsError, committed_reader

#: Differences that are shown of each cause.
EXAMPLES: Final = 10
#: Living workers have said twice a second what they own: what is older is nobody's.
HEARD_S: Final = 5.0
#: Both sides ask at the same moment at first; later, who asks wants to know what is new.
FRESH_S: Final = 1.0


class CauseGroup(Struct):
    """Rows that differ for the same cause.

    names: what has to be accepted, empty where it is not explained. examples: the first ones.
    """

    names: tuple[str, ...]
    rows: int
    examples: list[tuple[Difference, str]]

    @property
    def label(self) -> str:
        """For a table."""
        return " + ".join(self.names) or UNEXPLAINED


class Report(Struct, kw_only=True):
    """What a comparison found. old: the side with the older rules, or the lower number."""

    old: int
    new: int
    old_rules: int
    new_rules: int
    epoch: int
    equal: int
    moving: int
    seconds: float
    groups: list[CauseGroup]

    @property
    def differ(self) -> int:
        """How many rows do."""
        return sum(group.rows for group in self.groups)

    @property
    def rows(self) -> int:
        """How many were compared."""
        return self.equal + self.moving + self.differ

    @property
    def unexplained(self) -> int:
        """Rows for which there is no reason."""
        return sum(group.rows for group in self.groups if not group.names)

    @property
    def reasons(self) -> list[str]:
        """What has to be accepted."""
        return sorted({name for group in self.groups for name in group.names})


async def compared(settings: Settings, doors: Doors, said: Callable[[int], None]) -> Report:
    """Compare the active version with the one that is staged, or else with the previous one.

    Raises:
        UpgradeRefused: there is no other version, or its rules are not of this build.
        NotCompared: a partition has nobody who answers.
        NotAsked: Kafka does not answer, or workers want another token.
    """
    last, other = await _two(settings)
    return await compared_with(settings, doors, last, other, said)


async def _two(settings: Settings) -> tuple[Versions, int]:
    """The record, and which version is compared with the active one."""
    last = (await known(settings)).last
    assert last is not None
    other = last.previous if last.staged is None else last.staged
    if other is None:
        raise UpgradeRefused("There is one version only: nothing to compare it with.")
    return last, other


async def compared_with(
    settings: Settings, doors: Doors, last: Versions, other: int, said: Callable[[int], None]
) -> Report:
    """The same, of the active version and this one; raises NotCompared and NotAsked."""
    rules = {version: _rules_of(last, version) for version in (last.active, other)}
    old, new = _in_order(rules)
    began, groups = time.monotonic(), dict[tuple[str, ...], CauseGroup]()
    async with asking(settings), _asked(settings, doors, last, old, new, rules) as asked:

        async def report(partition: int, found: list[Difference]) -> None:
            for one, cause in zip(found, await asked.causes.of(partition, found), strict=True):
                _note(groups, one, cause)

        try:
            tally = await Comparing(*asked.sides, report, said).run()
        except TooManyLetters as error:
            raise NotCompared(str(error)) from error
    return Report(
        old=old,
        new=new,
        old_rules=rules[old].number,
        new_rules=rules[new].number,
        epoch=last.epoch,
        equal=tally.equal,
        moving=tally.moving,
        seconds=time.monotonic() - began,
        groups=sorted(groups.values(), key=lambda group: (not group.names, -group.rows)),
    )


async def explained(
    settings: Settings, doors: Doors, key: tuple[str, str], said: Callable[[int], None]
) -> tuple[int, int, JudgedRow]:
    """One row, event by event, by the same two versions; which they are.

    Raises:
        UpgradeRefused, NotCompared, NotAsked: as `compared`.
    """
    last, other = await _two(settings)
    rules = {version: _rules_of(last, version) for version in (last.active, other)}
    old, new = _in_order(rules)
    async with asking(settings), _asked(settings, doors, last, old, new, rules) as asked:
        first, second = ((rules[v], last.versions[str(v)].window) for v in (old, new))
        try:
            row = await judged_row(
                settings, asked.consumer, asked.sides, (first, second), key, said
            )
        except RecordsError as error:
            raise NotCompared(str(error)) from error
    return old, new, row


def _in_order(rules: Mapping[int, RuleSet]) -> list[int]:
    """The version with the older rules first, or the lower number."""
    return sorted(rules, key=lambda version: (rules[version].number, version))


def _rules_of(last: Versions, version: int) -> RuleSet:
    kept = last.versions.get(str(version))
    number = 0 if kept is None else kept.rules
    if number not in HELD:
        raise UpgradeRefused(
            f"Version {version} counts by rules {number}, which this build does not hold: compare "
            "with the build that it was staged with."
        )
    return HELD[number]


def _note(groups: dict[tuple[str, ...], CauseGroup], found: Difference, cause: Cause) -> None:
    group = groups.setdefault(cause.names, CauseGroup(cause.names, 0, []))
    group.rows += 1
    if len(group.examples) < EXAMPLES:
        group.examples.append((found, cause.says))


class _Owners:
    """Who owns the partitions of both versions, as heartbeats tell."""

    def __init__(self, settings: Settings, versions: Sequence[int]) -> None:
        self._settings, self._versions = settings, versions
        self._one = asyncio.Lock()
        self._found: dict[int, dict[int, str]] = {}
        self._heard_at = -math.inf

    async def of(self, version: int) -> Mapping[int, str]:
        """Of one; whoever asks for the other at the same time has the same answer.

        Raises:
            KafkaError, OSError, AccessError: as `fleet.heard`.
        """
        async with self._one:
            is_old = time.monotonic() - self._heard_at > FRESH_S
            if is_old or version not in self._found:
                await fleets.heard(self._settings, self._are_all, within_s=HEARD_S)
                self._heard_at = time.monotonic()
            return self._found.pop(version)

    def _are_all(self, fleet: Fleet) -> bool:
        for version in self._versions:
            alive = [seen.beat for seen in fleet.workers(version) if seen.is_alive]
            claims = ((beat.url, one) for beat in alive for one in beat.claims)
            self._found[version] = owners_in(claims)
        return all(len(owners) == self._settings.partitions for owners in self._found.values())


class _Asked(NamedTuple):
    """What a comparison asks: the workers of both sides, and Kafka."""

    sides: tuple[Side, Side]
    causes: Causes
    consumer: AIOKafkaConsumer


@asynccontextmanager
async def _asked(
    settings: Settings,
    doors: Doors,
    last: Versions,
    old: int,
    new: int,
    rules: Mapping[int, RuleSet],
) -> AsyncIterator[_Asked]:
    """Both sides and the causes, for as long as this is open."""
    believed, named = doors.believed, cycle(doors.urls)
    peers = Peers(tls=None if believed is None else lambda: believed)

    heard = _Owners(settings, (old, new))

    async def owners(version: int) -> Mapping[int, str]:
        if (url := next(named, None)) is not None:
            return dict.fromkeys(range(settings.partitions), url)
        return await heard.of(version)

    consumer: AIOKafkaConsumer = committed_reader(settings.client_kwargs())
    try:
        await clients.start(consumer)
        versions = (replace(settings, version=old), replace(settings, version=new))
        first, second = (last.versions[str(version)].window for version in (old, new))
        one_sided = OneSided(versions, (rules[old], rules[new]), (first, second), consumer)
        sides = (
            Side(old, rules[old].number, settings.partitions, peers, owners, doors.token),
            Side(new, rules[new].number, settings.partitions, peers, owners, doors.token),
        )
        yield _Asked(sides, Causes(rules[old], rules[new], one_sided), consumer)
    finally:
        await peers.close()
        await clients.let_go(consumer)
