"""`onhand upgrade retire`: a version ends for good, and what it held is deleted.

1. Record it. Its workers let go of what they hold, and idle.
2. Wait until they have said so.
3. Initialise its transactional ids, so that none of its workers can write any more, also one
   that sleeps and wakes: it would have its deleted topics made anew.
4. Delete its groups, that of its ledgers too, and its topics.
5. Record that nothing is left.

Killed at any point, the same command goes on where it was.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from aiokafka.client import CoordinationType
from aiokafka.errors import (
    GroupIdNotFound,
    KafkaError,
    NoError,
    NonEmptyGroup,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import DeleteGroupsRequest
from msgspec.structs import replace

from app.admin import TopicsError, connected
from app.config import Settings
from app.upgrades import record
from app.upgrades.asking import UpgradeRefused, asking, known
from app.upgrades.fleet import Fleet, heard
from app.upgrades.moves import KEEP_S
from core import versions
from core.versions import VersionChange, VersionHistory, Versions
from core.words import in_words
from wire.batches import Unreadable
from wire.control import PATIENCE_S, Overtaken
from wire.transactions import Brokers, TransactionalProducer

#: For its workers to let go.
DRAIN_S = 60.0
_TRANSACTION_TIMEOUT_MS = 10_000
_RETRY_S = 0.2


class NotFinished(Exception):
    """It is retired, and something of it is left; says what to do."""


class Retired(NamedTuple):
    """What a retirement left.

    after: the record that says that nothing counts or is kept any more. group: that of its
    ledgers, where one is still in it; a ledger goes on, for it needs nothing that was deleted.
    """

    after: Versions
    group: str | None


async def retire_version(settings: Settings, version: int, *, note: str, sure: bool) -> Retired:
    """Retire a version.

    Args:
        settings: of any version.
        version: previous or staged.
        note: for the record.
        sure: also one that was active lately.

    Raises:
        AlreadySo, UpgradeRefused, NotAsked, OutcomeUnknown: as they say; nothing was changed.
        NotFinished: run it again.
    """
    history = await known(settings)
    last = history.last
    assert last is not None
    if version not in last.retiring:
        if version == last.previous and not sure:
            _refuse_young(history)
        async with asking(settings):
            move = record.following(last, lambda before: versions.retire(before, version))
            await record.written(settings, move, note=note)  # 1
    theirs = replace(settings, version=version)
    try:
        await _let_go(settings, version)  # 2
        async with asyncio.timeout(PATIENCE_S):
            group = await fence_version(theirs)  # 3
            await _delete(theirs)  # 4
        after = await record.written(settings, _nothing_left(version), note=note)  # 5
        return Retired(after, group)
    except (KafkaError, OSError, TimeoutError, TopicsError, Unreadable, Overtaken) as error:
        raise _unfinished(version, in_words(error)) from error


def _refuse_young(history: VersionHistory) -> None:
    """There is no way back after this: what was active lately is not ended by mistake."""
    switch = (VersionChange.PROMOTE, VersionChange.ROLLBACK)
    *_, newest = (entry for entry in history.entries if entry.versions.change in switch)
    # Our clock against the broker's: an hour more or less is no harm here.
    age_s = max(0.0, time.time() - newest.log_ms / 1000)
    if age_s < KEEP_S:
        raise UpgradeRefused(
            f"Version {newest.versions.previous} is the previous one for only "
            f"{age_s / 60:,.0f} min, and there is no rollback after this. Sure: --yes."
        )


def _nothing_left(version: int) -> record.Decide:
    def decide(history: VersionHistory) -> Versions:
        assert history.last is not None
        return versions.retired(history.last, version)

    return decide


async def _let_go(settings: Settings, version: int) -> None:
    """Wait until none of its living workers holds anything."""

    def holding(fleet: Fleet) -> list[str]:
        alive = (seen for seen in fleet.workers(version) if seen.is_alive)
        return [seen.beat.url for seen in alive if seen.beat.claims]

    found = await heard(settings)
    if holding(found):
        found = await heard(settings, lambda fleet: not holding(fleet), DRAIN_S)
    if left := holding(found):
        raise _unfinished(version, f"{', '.join(left)} still hold partitions: stop them")


async def fence_version(theirs: Settings) -> str | None:
    """End the writing of whoever sleeps, then forget the groups.

    Returns:
        The group of ledgers, where one is still in it.
    """
    brokers = Brokers(theirs.client_kwargs(), [])
    try:
        await brokers.start()
        for partition in range(theirs.partitions):
            name = theirs.transactional_id(partition)
            await TransactionalProducer.open(brokers, name, _TRANSACTION_TIMEOUT_MS, partition)
        await _forget_group(brokers, theirs.group)
        try:
            await _forget_group(brokers, theirs.ledger_group)
        except NonEmptyGroup:
            return theirs.ledger_group
        return None
    finally:
        await brokers.stop()


async def _forget_group(brokers: Brokers, group: str) -> None:
    while True:
        try:
            node = await brokers.client.coordinator_lookup(CoordinationType.GROUP, group)
            answer = await brokers.client.send(node, DeleteGroupsRequest([group]))
            [(_, code)] = answer.results
            if for_code(code) not in (NoError, GroupIdNotFound):
                raise for_code(code)(f"group {group}")
            return
        except KafkaError as error:
            if not error.retriable:
                raise
            # Its coordinator moves; or where nobody was ever in a group, it is being made.
            await asyncio.sleep(_RETRY_S)


async def _delete(theirs: Settings) -> None:
    """Its topics, as far as they are there."""
    async with connected(theirs) as admin:
        names = {topic["topic"] for topic in await admin.describe_topics()}
        mine = [name for name in (theirs.changelog_topic, theirs.dlq_topic) if name in names]
        if mine:
            response = await admin.delete_topics(mine)
            for name, code, *_ in response.topic_error_codes:
                if for_code(code) not in (NoError, UnknownTopicOrPartitionError):
                    raise for_code(code)(f"topic {name}")


def _unfinished(version: int, why: str) -> NotFinished:
    return NotFinished(
        f"Version {version} is retired, but its topics are not deleted yet ({why}). Run `onhand "
        f"upgrade retire {version}` again."
    )
