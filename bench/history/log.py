"""A log in memory, as fetched, of the facts of `bench/facts`: what is measured is the writing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from bench.facts.events import facts
from core.partitioning import partition_for
from core.records import Record
from ledger.lines import TOPICS

PARTITIONS = 12
#: Of one transaction, here and at all peers.
BATCH = 20_000
START_MS = 1_795_000_000_000
#: Records of one transaction, by topic and partition.
Batch: TypeAlias = Mapping[tuple[str, int], list[Record]]
HOT = ("SKU-HOT", "store-000")


def batches(events: int, seed: int = 1) -> list[Batch]:
    """The facts of a shop in the order of the log."""
    stream = ((f.topic, f.sku, f.value) for f in facts(events, seed=seed))
    return list(_batched(stream, defaultdict(int)))


def hot_batches(events: int, ends: dict[tuple[str, int], int]) -> list[Batch]:
    """So many facts of one row, behind others; `ends`: next offsets, moved on."""
    sku, location = HOT
    facts_of_it = (_hot_fact(number, sku, location) for number in range(events))
    return list(_batched(facts_of_it, ends))


def _hot_fact(number: int, sku: str, location: str) -> tuple[str, str, bytes]:
    """One a second; one in eight is told up to some hours late."""
    sale, shipment = ("sales", b"sale.completed"), ("shipments", b"shipment.received")
    topic, kind = shipment if number % 10 == 0 else sale
    late_s = number * 7_919 % 10_000 if number % 8 == 7 else 0
    at = datetime.fromtimestamp(START_MS // 1000 + number - late_s, UTC)
    value = (
        b'{"specversion":"1.0","id":"hot-%d","source":"till-1","type":"inventory.%b.v1",'
        b'"time":"%b","data":{"sku":"%b","location":"%b","quantity":1}}'
        % (number, kind, at.isoformat().encode(), sku.encode(), location.encode())
    )
    return topic, sku, value


def ends_of(all_batches: list[Batch]) -> dict[tuple[str, int], int]:
    """Next offsets behind them."""
    ends: dict[tuple[str, int], int] = defaultdict(int)
    for batch in all_batches:
        for place, records in batch.items():
            ends[place] = records[-1][0] + 1
    return ends


def _batched(
    stream: Iterator[tuple[str, str, bytes]], ends: dict[tuple[str, int], int]
) -> Iterator[Batch]:
    batch: dict[tuple[str, int], list[Record]] = defaultdict(list)
    count = 0
    start_ms = START_MS + sum(ends.values()) // 10
    for number, (topic, sku, value) in enumerate(stream):
        key = sku.encode()
        place = topic, partition_for(key, PARTITIONS)
        batch[place].append((ends[place], start_ms + number // 10, key, value, ()))
        ends[place] += 1
        count += 1
        if count == BATCH:
            yield batch
            batch, count = defaultdict(list), 0
    if count:
        yield batch


def number_of(topic: str) -> int:
    """As the ledger's tables have it."""
    return TOPICS.index(topic)
