"""Rows of stock as the outside sees them, and how two sets of them differ."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

Key = tuple[str, str]
"""(SKU, location)."""


class Row(NamedTuple):
    """One row of stock as the public API shows it; `updated_at` in ms since the epoch."""

    received: int = 0
    dispatched: int = 0
    sold: int = 0
    returned: int = 0
    adjusted: int = 0
    events: int = 0
    checksum: int = 0
    updated_at: int = 0
    damaged: int = 0

    @property
    def on_hand(self) -> int:
        """What is left: derived, never stored."""
        return self.received - self.dispatched - self.sold + self.returned + self.adjusted

    def plus(self, other: "Row") -> "Row":
        """Both rows' events in one row."""
        sums = [one + more for one, more in zip(self[:6], other[:6], strict=True)]
        checksum = (self.checksum + other.checksum) % 2**64
        newest = max(self.updated_at, other.updated_at)
        return Row._make([*sums, checksum, newest, self.damaged + other.damaged])


NOTHING = Row()


@dataclass(frozen=True)
class Comparison:
    """Rows found held against rows expected.

    Attributes:
        rows: keys on either side.
        differ: one line for each key that is not the same on both.
    """

    rows: int
    differ: list[str]

    def __str__(self) -> str:
        told = f"{self.rows:,} rows compared, {self.rows - len(self.differ):,} equal, "
        return told + "\n  ".join([f"{len(self.differ):,} differ", *self.differ[:12]])


def compare(expected: Mapping[Key, Row], found: Mapping[Key, Row]) -> Comparison:
    """Hold rows against each other, field by field."""
    keys = expected.keys() | found.keys()
    differ = [
        f"{key[0]} at {key[1]}: {_difference(expected.get(key), found.get(key))}"
        for key in sorted(keys)
        if expected.get(key) != found.get(key)
    ]
    return Comparison(len(keys), differ)


def _difference(expected: Row | None, found: Row | None) -> str:
    if expected is None or found is None:
        return "should not be there" if expected is None else f"missing, expected {expected}"
    fields = zip(Row._fields, expected, found, strict=True)
    return ", ".join(f"{name} {got} instead of {want}" for name, want, got in fields if want != got)


def row_from_json(item: Mapping[str, Any]) -> tuple[Key, Row]:
    """One row of the public API.

    Raises:
        ValueError: `on_hand` is not what its own parts make.
    """
    changed = datetime.fromisoformat(item["updated_at"].replace("Z", "+00:00")).astimezone(UTC)
    sums = [item[name] for name in Row._fields[:6]]
    changed_ms = round(changed.timestamp() * 1000)
    row = Row._make([*sums, int(item["checksum"], 16), changed_ms, item.get("damaged", 0)])
    if row.on_hand != item["on_hand"]:
        raise ValueError(f"on_hand {item['on_hand']} is not the sum of {item}")
    return (item["sku"], item["location"]), row


def read_position(token: str) -> dict[tuple[str, int], int]:
    """Take `topic-partition@offset,…` apart: last handled offset by topic and partition."""
    parts = {}
    for part in filter(None, token.split(",")):
        place, offset = part.rsplit("@", 1)
        if place == "control":  # the number of a record, of no partition
            continue
        topic, partition = place.rsplit("-", 1)
        parts[topic, int(partition)] = int(offset)
    return parts


def row_from_store(value: bytes) -> Row:
    """One row as the changelog holds it."""
    return Row(**json.loads(value))
