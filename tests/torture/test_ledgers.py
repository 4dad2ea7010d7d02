"""Ledgers in full: a thousand questions of each kind, and everything killed while they write."""

import asyncio
import json
import zlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

import pytest
from msgspec.structs import astuple

from dev.oracle.reading import Fact, read
from dev.oracle.rows import NOTHING, Row
from dev.oracle.stock import Oracle, Record, partition_of
from dev.postgres import Postgres
from dev.workers import onhand
from domain.rules.held import HELD
from domain.rules.sets import RuleSet
from ledger.history import At
from ledger.lines import TOPICS, micros
from ledger.questions.prefixes import Prefix
from ledger.upkeep import snapshots
from tests.integration.ledger.conftest import new_database, postgres
from tests.integration.ledger.test_process import a_ledger, all_written, assert_exact
from tests.ledgers.kept import Kept, in_batches
from tests.ledgers.logs import LOCATIONS, PARTITIONS, SKUS, START_MS, a_log, judged
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster

__all__ = ["new_database", "postgres"]

RECORDS, QUESTIONS = 6_000, 1_000
Key = tuple[str, str]


class Told:
    """The log as the oracle judged it, ready to be asked by any clock."""

    def __init__(self, records: list[Record], rules: RuleSet) -> None:
        self.oracle: Oracle = judged(records, rules=rules.number)
        self._log_at: dict[tuple[str, int], list[int]] = defaultdict(list)
        self._offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
        self._facts: dict[Key, list[tuple[int, Row]]] = defaultdict(list)
        for record in records:
            at = record.topic, record.partition
            before = self._log_at[at][-1] if self._log_at[at] else 0
            self._log_at[at].append(max(before, record.timestamp_ms))
            self._offsets[at].append(record.offset)
            if record.place not in self.oracle.refused and record.place not in self.oracle.repeated:
                fact = read(record.value, record.topic, record.headers, rules.number)
                self._facts[fact.sku, fact.location].append(_counted(record, fact, rules.number))
        self.latest_ms = min(times[-1] for times in self._log_at.values())

    def until(self, part: int, time_ms: int) -> dict[tuple[str, int], int]:
        """Last offset before the first record whose log_at is later."""
        found = {}
        for topic in TOPICS:
            count = bisect_right(self._log_at[topic, part], time_ms)
            if count:
                found[topic, part] = self._offsets[topic, part][count - 1]
        return found

    def occurred(self, key: Key, until_us: int) -> Row:
        """The sum of what happened up to a time."""
        total = NOTHING
        for happened, row in self._facts[key]:
            total = total.plus(row) if happened <= until_us else total
        return total


def _counted(record: Record, fact: Fact, rules: int) -> tuple[int, Row]:
    column, amount = fact.effect(rules)
    crc = zlib.crc32(f"{fact.source}\x00{fact.id}".encode())
    row = Row(events=1, checksum=crc, updated_at=record.timestamp_ms)._replace(**{column: amount})
    time = json.loads(record.value or b"").get("time")
    happened = datetime.fromisoformat(time) if time else None
    return (record.timestamp_ms * 1000 if happened is None else micros(happened)), row


def as_row(at: At) -> Row:
    return NOTHING if at.row is None else Row(*astuple(at.row))


@pytest.mark.parametrize("rules", HELD.values(), ids=[f"rules {number}" for number in HELD])
def test_a_thousand_questions_by_each_clock_and_position_are_the_oracles_fold(
    new_database: Callable[[], str], rules: RuleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = a_log(41, RECORDS, types_of=3)
    told, kept, random = Told(records, rules), Kept(new_database(), rules=rules), Random(9)
    for batch in in_batches(records, 500):
        kept.feed(batch)
    monkeypatch.setattr(snapshots, "STRIDE", 50)
    with kept.engine.begin() as connection:
        assert snapshots.take_snapshots(connection, snapshots.long_rows(connection))
    with kept.history.look() as ledger:
        for _ in range(QUESTIONS):
            key = random.choice(SKUS), random.choice(LOCATIONS)
            part = ledger.partition_of(key[0])
            time_ms = random.randrange(START_MS - 1_000, told.latest_ms)
            prefix = Prefix(ledger.until(part, time_ms * 1000))
            expected = told.oracle.row(key, told.until(part, time_ms))
            assert as_row(ledger.row(*key, prefix)) == expected, (key, time_ms)

            until_us = START_MS * 1000 + random.randrange(-(10**9), 3 * 10**8)
            now = Prefix(ledger.now(part), until_us)
            assert as_row(ledger.row(*key, now)) == told.occurred(key, until_us), (key, until_us)

            ends = ledger.now(part)
            offsets = {t: random.randrange(end) for t, end in ends.items() if random.random() < 0.8}
            position = {(TOPICS[topic], part): offset for topic, offset in offsets.items()}
            found = as_row(ledger.row(*key, Prefix(ledger.at(part, offsets))))
            assert found == told.oracle.row(key, position), (key, offsets)
    assert {partition_of(sku, PARTITIONS) for sku in SKUS} == set(range(PARTITIONS))
    kept.close()


async def test_ledger_and_table_agree_after_everything_was_killed_again_and_again(
    cluster: Cluster, postgres: Postgres
) -> None:
    await cluster.create_topics()
    url, random = postgres.new_database(), Random(4)
    await cluster.start("worker")
    first, second = a_ledger(cluster, "first", url), a_ledger(cluster, "second", url)
    await asyncio.gather(first.ready(), second.ready())

    async def kill_database() -> None:
        postgres.kill()
        await asyncio.sleep(random.random())  # how long it is away is part of the case
        postgres.start()

    with cluster.feeding(a_shop(partitions=cluster.partitions, skus=200), rate=1_500) as feeder:
        for _ in range(12):
            await feeder.more(2_000)
            ledger = random.choice((first, second))
            done: Any = random.choice((ledger.kill, ledger.freeze, None))
            if done is None:
                await kill_database()
                continue
            done()
            await feeder.more(500)
            ledger.start() if done == ledger.kill else ledger.thaw()
        for ledger in (first, second):
            if not ledger.alive:
                ledger.start()
    await all_written(cluster, url, 300)
    assert_exact(cluster, url)
    settings = cluster.settings | {"ONHAND_LEDGER_URL": url}
    words = "audit", "--url", cluster.worker("worker").url
    code, said = await onhand(*words, settings=settings, timeout_s=300)
    assert (code, "all agree" in said) == (0, True), said
    for ledger in (first, second):
        ledger.kill()  # the rest is about those who answer as workers do
    await cluster.assert_exact()
