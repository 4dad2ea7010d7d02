"""By which window and rules a version counts: its log decides, before a worker joins.

A worker with others that joins first and refuses later takes partitions from those that
run well, at each of its restarts anew; and on a new table two windows would run side by
side until one of them meets the other's. So partition 0's first meta record is written
before anything is counted, once, by whichever worker comes first, and everybody compares
itself with it while it still disturbs nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from domain.events import RULES
from tables.config import TableConfig
from tables.home.changelog import META_KEY, ChangelogWriter, CommitRefused, Meta
from tables.tasks import Final
from wire.batches import Unreadable, slowly
from wire.fetch import fetch
from wire.transactions import Brokers

log = logging.getLogger(__name__)

_POLL_S = 1.0
_RECORDS = 1_000
#: The newest meta record is the last record but for what was aborted behind it.
_LOOK_BACK = 64


class RulesDiffer(Final):
    """The table was built by other rules or with another window; says what to do."""


def compare(meta: Meta, window: int) -> None:
    """Raise RulesDiffer unless this worker counts as the meta record says."""
    if (meta.rules, meta.window) != (RULES, window):
        raise RulesDiffer(
            f"The table was built with rules {meta.rules} and a duplicates window of "
            f"{meta.window:,} offsets; this worker has rules {RULES} and {window:,}. "
            "Set ONHAND_DEDUP_WINDOW back, or build a new table with the next ONHAND_VERSION."
        )


async def agree(config: TableConfig) -> None:
    """Compare this worker with its log; on a new table, say what holds from now on.

    A transactional id of its own: whoever initialises it ends the writing of all who did
    before, so of several that found nothing only the last can write, and it looks again
    first. Owners of the partition are not disturbed.

    Raises:
        RulesDiffer: this worker may not join.
        KafkaError: no broker answers.
    """
    brokers = Brokers(config.kafka, [config.changelog, config.dead_letters])
    await brokers.start()
    try:
        while (meta := await _newest(config.kafka, config.changelog)) is None:
            name = f"{config.transactional_id(0)}-first"
            writer = await ChangelogWriter.open(
                brokers, 0, name, config.changelog, config.dead_letters
            )
            if (meta := await _newest(config.kafka, config.changelog)) is not None:
                break
            topics = await brokers.topics([config.changelog])
            first = Meta(
                positions={},
                fingerprints={},
                counts={},
                window=config.window,
                rules=RULES,
                incarnation=topics[config.changelog].id,
            )
            try:
                await writer.commit({}, (), (), msgspec.json.encode(first))
            except CommitRefused as error:
                log.info("Another worker begins this table, too (%s).", error)
    finally:
        await brokers.stop()
    compare(meta, config.window)


async def _newest(kafka: Mapping[str, Any], changelog: str) -> Meta | None:
    """The newest committed meta record of partition 0."""
    consumer = AIOKafkaConsumer(
        **kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        tp = TopicPartition(changelog, 0)
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
    finally:
        await consumer.stop()


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
