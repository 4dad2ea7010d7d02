"""`onhand upgrade`: what people do with versions, each checked before it is recorded.

Nothing that matters happens after the record: a command that is killed behind it has done its
work, and one that is run again says so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Sequence

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec.structs import replace

from app import topics
from app.admin import connected
from app.config import Settings
from app.upgrades import fleet as fleets
from app.upgrades import record
from app.upgrades.asking import UpgradeRefused, asking, known
from app.upgrades.diff import diffing
from app.upgrades.diff.diffing import Report
from app.upgrades.diff.sides import Doors, NotCompared
from app.upgrades.fleet import Fleet, Observed, SeenWorker, VersionProgress
from core import versions
from core.versions import Versions
from domain.rules.held import NEWEST
from wire import clients

#: How long the workers have to say that they have read the record.
CONFIRM_S = 10.0
#: A previous version is kept for this long unless somebody insists.
KEEP_S = 24 * 3600
#: What a worker counts far behind, and what it writes meanwhile, as measured (docs/operations.md).
EVENTS_PER_S = 150_000
_ROWS_AN_EVENT = 0.4
_ROW_BYTES = 120

#: Names that `--force` takes, and what each overrules.
SILENT_WORKER = "silent-worker"
NOT_SETTLED = "not-caught-up"
NOT_COMPARED = "not-compared"
UNEXPLAINED_ROWS = "unexplained-rows"
FORCES = (SILENT_WORKER, NOT_SETTLED, NOT_COMPARED, UNEXPLAINED_ROWS)
#: After a comparison that took longer than this, workers are looked at again.
_LONG_S = 10.0


class Confirmed(msgspec.Struct, frozen=True):
    """Workers that have read the record, those that had not in time, and how long it took."""

    workers: int
    missing: tuple[str, ...]
    seconds: float


class Status(msgspec.Struct, frozen=True):
    """How versions and workers stand.

    progress: of each version but the retired ones. silent: workers that may come back.
    unlisted: that idle. orphans: topics of versions that are not listed any more, or never were.
    """

    record: Versions
    progress: dict[int, VersionProgress]
    silent: list[SeenWorker]
    unlisted: list[SeenWorker]
    orphans: list[str] = []


class Estimate(msgspec.Struct, frozen=True):
    """What a full count takes, with as many workers as the active version has."""

    events: int
    workers: int

    @property
    def seconds(self) -> float:
        """Of all workers together, with a core for each."""
        return self.events / EVENTS_PER_S / max(1, self.workers)

    @property
    def changelog_bytes(self) -> int:
        """At the most, before Kafka compacts it."""
        return int(self.events * _ROWS_AN_EVENT * _ROW_BYTES)


async def stage_version(
    settings: Settings, version: int, rules: int | None, note: str
) -> tuple[Versions, Estimate]:
    """Make and check the topics of a version, then let its workers count.

    Args:
        settings: of any version.
        version: to stage.
        rules: number of those that it counts by; None: the newest of this build.
        note: for the record.

    Returns:
        The record, and what its workers have before them.

    Raises:
        AlreadySo, UpgradeRefused, NotAsked, OutcomeUnknown: as they say.
    """
    before = (await known(settings)).last
    assert before is not None
    theirs = replace(settings, version=version)

    def move(last: Versions) -> Versions:
        begun = record.kept(settings, NEWEST.number if rules is None else rules)
        return versions.stage(last, version, begun)

    async with asking(settings):
        move(before)  # refused before anything is made
        await topics.create(theirs)
        problems = await topics.check(theirs)
        if problems:
            raise UpgradeRefused("\n".join(str(problem) for problem in problems))
        after = await record.written(settings, record.following(before, move), note=note)
        alive = [s for s in (await fleets.heard(settings)).workers(before.active) if s.is_alive]
        return after, Estimate(await events_to_read(theirs), len(alive))


async def events_to_read(settings: Settings) -> int:
    """About how many records the sources hold; marks of transactions count as well.

    Raises:
        KafkaError, OSError: Kafka does not answer.
    """
    consumer = AIOKafkaConsumer(**settings.client_kwargs(), group_id=None, enable_auto_commit=False)
    async with clients.running(consumer):
        numbers = range(settings.partitions)
        places = [TopicPartition(t, p) for t in settings.source_topics.values() for p in numbers]
        starts = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        return int(sum(ends.values()) - sum(starts.values()))


async def standing(settings: Settings, stable_s: float) -> Status:
    """How it stands now, after listening to the workers for a moment."""
    last = (await known(settings)).last
    assert last is not None
    async with asking(settings):
        fleet = await fleets.heard(settings)
        found = status_of(settings, last, fleet, stable_s)
        return msgspec.structs.replace(found, orphans=await _orphans(settings, last))


async def _orphans(settings: Settings, last: Versions) -> list[str]:
    """Topics of a version that nobody counts: what a `retire` left, or a mistake made."""
    held = {str(v) for v in (last.active, last.previous, last.staged, *last.retiring)}
    named = re.compile(rf"{re.escape(settings.name)}-v([0-9]+)-(?:inventory-changelog|dlq)")
    async with connected(settings) as admin:
        topics_there = [topic["topic"] for topic in await admin.describe_topics()]
    found = [(named.fullmatch(topic), topic) for topic in topics_there]
    return sorted(topic for match, topic in found if match and match[1] not in held)


def status_of(settings: Settings, last: Versions, fleet: Fleet, stable_s: float) -> Status:
    """The same, of what was heard."""
    listed = [v for v in (last.active, last.previous, last.staged) if v is not None]
    progress = {
        version: fleets.progress(
            fleet, version, last.active, settings.partitions, settings.standbys, stable_s
        )
        for version in listed
    }
    alive = [seen for seen in fleet.workers() if seen.is_alive]
    unlisted = [seen for seen in alive if seen.beat.version not in listed]
    return Status(last, progress, fleet.silent(), unlisted)


class Switched(msgspec.Struct, frozen=True):
    """A switch that is recorded. compared: None where it was not."""

    after: Versions
    confirmed: Confirmed
    compared: Report | None


async def switch(
    settings: Settings,
    version: int | None,
    *,
    note: str,
    forced: Sequence[str],
    accepted: Sequence[str],
    stable_s: float,
    doors: Doors,
    said: Callable[[int], None],
) -> Switched:
    """Promote a version, or with None go back to the one before.

    Before a version is promoted its rows are compared with those of the active one. Whoever
    goes back has no time for that.

    Args:
        settings: of any version.
        version: to promote.
        note: for the record.
        forced: refusals that are overruled.
        accepted: reasons why rows may differ.
        stable_s: for how long it has to be caught up.
        doors: whom to ask for the rows.
        said: is told how many rows were compared.

    Raises:
        AlreadySo, UpgradeRefused, NotAsked, OutcomeUnknown: as they say.
    """
    before = (await known(settings)).last
    assert before is not None

    def move(last: Versions) -> Versions:
        return versions.rollback(last) if version is None else versions.promote(last, version)

    async with asking(settings):
        target = move(before).active
        fleet = await fleets.heard(settings)
        overruled = _refuse(settings, before, fleet, target, forced, stable_s)
        report = None
        if version is not None:
            how = forced, accepted, doors, said
            report, more = await _compare(settings, before, target, *how)
            overruled += more
        if report is not None and report.seconds > _LONG_S:
            fleet = await fleets.heard(settings)
            _refuse(settings, before, fleet, target, forced, stable_s)
        positions = _positions(fleet, before.active)
        after = await record.written(
            settings,
            record.following(before, move),
            note=note,
            forced=overruled,
            accepted=() if report is None else tuple(report.reasons),
            positions=positions,
        )
        given_up = {seen.beat.url for seen in fleet.silent()}
        return Switched(after, await confirmed(settings, after.epoch, given_up), report)


async def _compare(
    settings: Settings,
    before: Versions,
    target: int,
    forced: Sequence[str],
    accepted: Sequence[str],
    doors: Doors,
    said: Callable[[int], None],
) -> tuple[Report | None, tuple[str, ...]]:
    """Which rows differ, and what of it was overruled; raises UpgradeRefused for the rest."""
    if NOT_COMPARED in forced:
        return None, (NOT_COMPARED,)
    try:
        report = await diffing.compared_with(settings, doors, before, target, said)
    except NotCompared as error:
        raise UpgradeRefused(f"{error} Or --force {NOT_COMPARED}.") from error
    refused, overruled = [], []
    if new := [name for name in report.reasons if name not in accepted]:
        refused.append(
            f"{report.differ:,} of {report.rows:,} rows differ, for reasons that nobody has "
            f"accepted yet: look with `onhand upgrade diff`, then --accept {','.join(new)}."
        )
    if report.unexplained and UNEXPLAINED_ROWS in forced:
        overruled.append(UNEXPLAINED_ROWS)
    elif report.unexplained:
        refused.append(
            f"{report.unexplained:,} of {report.rows:,} rows differ without a reason: look with "
            f"`onhand upgrade diff`, or --force {UNEXPLAINED_ROWS}."
        )
    if refused:
        raise UpgradeRefused("\n".join(refused))
    return report, tuple(overruled)


def _refuse(
    settings: Settings,
    before: Versions,
    fleet: Fleet,
    target: int,
    forced: Sequence[str],
    stable_s: float,
) -> tuple[str, ...]:
    """Which refusals were overruled; raises UpgradeRefused for any other."""
    overruled, refused = [], []
    if silent := fleet.silent():
        one = silent[0]
        more = f" (and {len(silent) - 1} more)" if len(silent) > 1 else ""
        if SILENT_WORKER in forced:
            overruled.append(SILENT_WORKER)
        else:
            refused.append(
                f"Worker {one.beat.url}{more} is silent for {one.silent_s:.0f} s and may still "
                f"answer from version {one.beat.version}. Stop it, or --force {SILENT_WORKER}."
            )
    theirs = fleets.progress(
        fleet, target, before.active, settings.partitions, settings.standbys, stable_s
    )
    if theirs.observed is not Observed.CAUGHT_UP:
        if NOT_SETTLED in forced:
            overruled.append(NOT_SETTLED)
        else:
            more = f" (and {len(theirs.why) - 1} more)" if len(theirs.why) > 1 else ""
            refused.append(
                f"Version {target} is {theirs.observed}: {theirs.why[0]}{more}. Wait with `onhand "
                f"upgrade status --wait 10m`, or --force {NOT_SETTLED}."
            )
    if refused:
        raise UpgradeRefused("\n".join(refused))
    return tuple(overruled)


def _positions(fleet: Fleet, version: int) -> str:
    """How far the owners of a version are, as one token."""
    parts: dict[int, tuple[int, str]] = {}
    for seen in fleet.workers(version):
        for claim in seen.beat.claims if seen.is_alive else ():
            if claim.role == "active":
                known_at = parts.get(claim.partition, (-1, ""))
                parts[claim.partition] = max(known_at, (claim.handled, claim.position))
    return ",".join(position for _, (_, position) in sorted(parts.items()) if position)


async def confirmed(settings: Settings, epoch: int, given_up: Collection[str] = ()) -> Confirmed:
    """Wait until every worker has said that it has read this record.

    One that falls silent meanwhile counts as a worker all the same: it may still answer. Those
    given up (their addresses) were silent before; nobody waits for them.
    """
    found = Fleet([], 0)

    def enough(fleet: Fleet) -> bool:
        nonlocal found
        found = fleet
        return {seen.beat.url for seen in fleet.without_record(epoch)} <= {*given_up}

    began = asyncio.get_running_loop().time()
    await fleets.heard(settings, enough, CONFIRM_S)
    missing = tuple(seen.beat.url for seen in found.without_record(epoch))
    return Confirmed(len(found.there()), missing, asyncio.get_running_loop().time() - began)
