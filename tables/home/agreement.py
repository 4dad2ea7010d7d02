"""By which window and rules a version counts: its log decides, before a worker joins.

A worker with others that joins first and refuses later takes partitions from those that
run well, at each of its restarts anew; and on a new table two windows would run side by
side until one of them meets the other's. So partition 0's first meta record is written
before anything is counted, once, by whichever worker comes first, and everybody compares
itself with it while it still disturbs nobody.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from tables.config import TableConfig
from tables.home import rights
from tables.home.changelog import ChangelogWriter, Meta
from tables.keys import META_KEY
from tables.ports import CommitRefused, Sealed
from tables.tasks import Final
from wire import clients
from wire.batches import Unreadable, slowly
from wire.fetch import fetch
from wire.transactions import Brokers

log = logging.getLogger(__name__)

_POLL_S = 1.0
_RECORDS = 1_000
#: The newest meta record is the last record but for what was aborted behind it.
_LOOK_BACK = 64
#: Who was fenced leaves the one who did it so long to write, a random part of it more, and
#: twice as much each time: so however many begin at once, one of them soon is alone.
_LEAVE_S = 0.5
_LOOK_S = 0.1
_TRIES = 6


class RulesDiffer(Final):
    """The table was built by other rules, another window or a newer build; says what to do."""


class Unsettled(Final):
    """Nobody comes to write the first word of a new table; says what to do."""


def compare(meta: Meta, config: TableConfig) -> None:
    """Raise RulesDiffer unless this worker can read the meta record and counts as it says."""
    if meta.too_new:
        raise RulesDiffer(meta.too_new)
    rules, window = config.projection.rules, config.window
    if (meta.rules, meta.window) != (rules, window):
        raise RulesDiffer(
            f"The table was built with rules {meta.rules} and a duplicates window of "
            f"{meta.window:,} offsets; this worker has rules {rules} and {window:,}. "
            "Set ONHAND_DEDUP_WINDOW back, or build a new table with the next ONHAND_VERSION."
        )


async def agree(config: TableConfig) -> None:
    """Compare this worker with its log; on a new table, say what holds from now on.

    A transactional id of its own: whoever initialises it ends the writing of all who did
    before, so of several that found nothing only the last can write, and it looks again
    first. Owners of the partition are not disturbed.

    Raises:
        RulesDiffer: this worker may not join.
        Unsettled: others kept it from writing the first word, and wrote none themselves.
        RightMissing: its user may not read or write the log.
        KafkaError: no broker answers.
    """
    brokers = Brokers(config.kafka, config.written)
    await brokers.start()
    try:
        tries = 0
        while (meta := await _newest(config.kafka, config.changelog)) is None:
            if await _begin(config, brokers):
                continue
            tries += 1
            if tries == _TRIES:
                raise Unsettled(
                    f"The table of {config.changelog} is being begun by other workers again and "
                    "again: start fewer of them at once, or end those that are restarted for ever."
                )
            if tries == 1:
                log.info("Another worker begins this table, too: waiting for its first word.")
            longest_s = _LEAVE_S * 2 ** (tries - 1)
            await _written_within(config, longest_s * random.uniform(1, 2))  # noqa: S311  # no secret
    finally:
        await brokers.stop()
    compare(meta, config)


async def _begin(config: TableConfig, brokers: Brokers) -> bool:
    """Write the first meta record if there is none; False where another worker was faster."""
    name = f"{config.transactional_id(0)}-first"
    writer = await ChangelogWriter.open(brokers, config, 0, name)
    if await _newest(config.kafka, config.changelog) is not None:
        return True
    topics = await brokers.topics([config.changelog])
    first = Meta.first(config, topics[config.changelog].id)
    try:
        await writer.commit(Sealed({}, (), (), msgspec.json.encode(first)))
    except CommitRefused as error:
        log.debug("The first word was refused (%s).", error)
        return False
    return True


async def _written_within(config: TableConfig, seconds: float) -> None:
    """Wait until there is a meta record, but no longer than this."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                await asyncio.sleep(_LOOK_S)
                if await _newest(config.kafka, config.changelog) is not None:
                    return


async def _newest(kafka: Mapping[str, Any], changelog: str) -> Meta | None:
    """The newest committed meta record of partition 0."""
    consumer = AIOKafkaConsumer(
        **kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
    )
    async with clients.running(consumer):
        with rights.reading():
            return await _newest_of(consumer, TopicPartition(changelog, 0))


async def _newest_of(consumer: AIOKafkaConsumer, tp: TopicPartition) -> Meta | None:
    consumer.assign([tp])
    start = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    back = _LOOK_BACK
    while end > start:
        begin = max(start, end - back)
        if (found := await _last_between(consumer, tp, begin, end)) is not None:
            return found
        if begin == start:
            break
        back *= 16
    return None


async def _last_between(
    consumer: AIOKafkaConsumer, tp: TopicPartition, position: int, end: int
) -> Meta | None:
    found = None
    consumer.seek(tp, position)
    while position < end:
        part = (await fetch(consumer, _POLL_S, _RECORDS)).get(tp)
        if part is None:
            continue
        if part.error is not None:
            raise part.error
        try:
            for batch in part.batches():
                for record in slowly(batch, part.start):
                    if record.key == META_KEY:
                        found = msgspec.json.decode(record.value or b"", type=Meta)
        except (Unreadable, msgspec.MsgspecError) as error:
            # Without it nobody can tell by which rules to count.
            raise Final(f"Topic {tp.topic}, partition {tp.partition}: {error}") from error
        position = part.next_offset
    return found
