"""Logs with all that can happen to a ledger, made of a number, and the oracle's word on them."""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from random import Random
from typing import Any

from dev.oracle.reading import TYPES_OF_RULES
from dev.oracle.stock import Oracle, Record, partition_of

PARTITIONS, WINDOW = 2, 40
SKUS = [f"SKU-{n}" for n in range(5)] + ["Grüße 🎁"]
LOCATIONS = ["store-1", "store-2", "ärmel"]
START_MS = 1_795_000_000_000


def a_log(seed: int, count: int, partitions: int = PARTITIONS, types_of: int = 2) -> list[Record]:
    """Records of all topics in the order in which they were appended.

    types_of: rules that know all of their types. By rules 3 some returns are damaged.

    Offsets have gaps, the broker's clock steps back, ids come again (within the window and
    beyond, with the same content and with another), and about one record in ten is refused.
    """
    random = Random(seed)
    ends: dict[tuple[str, int], int] = defaultdict(int)
    past: list[tuple[str, str, bytes]] = []
    records, now_ms = [], START_MS
    for number in range(count):
        now_ms += random.choice((0, 0, 1, 5, 400, -300))
        sku, kind = random.choice(SKUS), random.choice(list(TYPES_OF_RULES[types_of]))
        topic, key = TYPES_OF_RULES[types_of][kind][0], sku
        sound = _event(random, number, kind, sku)
        value: bytes | None = sound
        chance = random.random()
        if past and chance < 0.15:
            topic, key, value = random.choice(past[-60:])
        elif past and chance < 0.2:
            topic, key, sound = random.choice(past[-30:])
            value = _other(sound)
        elif chance < 0.28:
            value = random.choice((b"no json", None, b"{}", _event(random, number, kind, "a\x07")))
        elif chance < 0.3:
            key = "another key"
        else:
            past.append((topic, key, sound))
        partition = partition_of(key, partitions)
        offset = ends[topic, partition] + random.choice((0, 0, 0, 1))
        ends[topic, partition] = offset + 1
        records.append(Record(topic, partition, offset, now_ms, key.encode(), value))
    return records


def _event(random: Random, number: int, kind: str, sku: str) -> bytes:
    quantity = random.choice((1, 2, 3, 10, 999, 10**9))
    data: dict[str, Any] = {
        "sku": sku,
        "location": random.choice(LOCATIONS),
        "quantity": quantity,
    }
    if kind.endswith("adjusted.v1"):
        data |= {"quantity": random.choice((quantity, -quantity, 0)), "reason": "count"}
    elif kind.endswith("returned.v1") and number % 2:
        data["reason"] = "damaged"
    if random.random() < 0.3:
        data["reference"] = f"order-{number % 7}"
    event = {
        "specversion": "1.0",
        "id": str(number),
        "source": "till-1",
        "type": kind,
        "data": data,
    }
    if random.random() < 0.7:
        at = datetime.fromtimestamp(START_MS / 1000 + random.randrange(-10_000, 3_000) / 10, UTC)
        event["time"] = at.isoformat()
    return json.dumps(event).encode()


def _other(value: bytes) -> bytes:
    event = json.loads(value)
    event["data"]["quantity"] = event["data"]["quantity"] // 2 + 7
    return json.dumps(event).encode()


def judged(
    records: Iterable[Record],
    partitions: int = PARTITIONS,
    window: int = WINDOW,
    rules: int = 2,
) -> Oracle:
    """The oracle, fed."""
    oracle = Oracle(partitions, window=window, rules=rules)
    for record in records:
        oracle.feed(record)
    return oracle
