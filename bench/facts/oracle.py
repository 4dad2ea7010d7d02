"""What the stock must be: the expected row of each (SKU, location).

Written from the contract, with the standard library alone, so that a mistake
in the service cannot hide behind the same mistake here.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FIELDS = ("received", "dispatched", "sold", "returned", "adjusted", "events", "checksum")
EVENTS, CHECKSUM = FIELDS.index("events"), FIELDS.index("checksum")
FIELD_OF_TYPE = {
    "inventory.shipment.received.v1": FIELDS.index("received"),
    "inventory.shipment.dispatched.v1": FIELDS.index("dispatched"),
    "inventory.sale.completed.v1": FIELDS.index("sold"),
    "inventory.sale.returned.v1": FIELDS.index("returned"),
    "inventory.stock.adjusted.v1": FIELDS.index("adjusted"),
}
CHECKSUM_MODULUS = 1 << 64

Values = tuple[int, ...]
"""One row's numbers, in the order of FIELDS."""


def row_key(sku: str, location: str) -> str:
    """The key under which a row is kept: neighbours share their SKU."""
    return f"{sku}\x00{location}"


def on_hand(row: Values) -> int:
    """What is left of a row: never stored, always derived."""
    received, dispatched, sold, returned, adjusted = row[:5]
    return received - dispatched - sold + returned + adjusted


@dataclass
class Oracle:
    """The fold of a loaded log, each event once.

    Attributes:
        events: events counted, without repeats.
        repeats: records that say again what was said before.
        rows: expected numbers by row key, in the order of FIELDS.
    """

    events: int = 0
    repeats: int = 0
    rows: dict[str, list[int]] = field(default_factory=dict)

    def count(
        self, *, kind: str, sku: str, location: str, quantity: int, source: str, id: str
    ) -> None:
        """Add one event."""
        row = self.rows.setdefault(row_key(sku, location), [0] * len(FIELDS))
        row[FIELD_OF_TYPE[kind]] += quantity
        row[EVENTS] += 1
        row[CHECKSUM] = (
            row[CHECKSUM] + zlib.crc32(f"{source}\x00{id}".encode())
        ) % CHECKSUM_MODULUS
        self.events += 1

    @property
    def records(self) -> int:
        """Records in the log: events and repeats."""
        return self.events + self.repeats

    def save(self, path: Path) -> None:
        """Keep it as JSON, for tests and for another run over the same topics."""
        path.parent.mkdir(parents=True, exist_ok=True)
        saved = {
            "fields": FIELDS,
            "events": self.events,
            "repeats": self.repeats,
            "rows": self.rows,
        }
        path.write_text(json.dumps(saved, separators=(",", ":")))

    @classmethod
    def load(cls, path: Path) -> "Oracle":
        """Read what `save` wrote."""
        saved = json.loads(path.read_text())
        return cls(events=saved["events"], repeats=saved["repeats"], rows=saved["rows"])


@dataclass(frozen=True)
class Verdict:
    """The comparison of one system's rows with the oracle's.

    Attributes:
        rows: rows found.
        wrong: rows that differ, are missing, or should not be there.
        example: one wrong row in words; empty if all agree.
    """

    rows: int
    wrong: int
    example: str = ""

    def __str__(self) -> str:
        return (
            f"all {self.rows:,} rows right"
            if not self.wrong
            else f"{self.wrong:,} ROWS WRONG, as {self.example}"
        )


def compare(oracle: Oracle, found: Mapping[str, Values]) -> Verdict:
    """Hold full rows against the oracle, one by one."""
    return _compare({key: tuple(row) for key, row in oracle.rows.items()}, found)


def compare_on_hand(oracle: Oracle, found: Mapping[str, int]) -> Verdict:
    """The same for a system that keeps only what is on hand."""
    return _compare({key: on_hand(tuple(row)) for key, row in oracle.rows.items()}, found)


def _compare(expected: Mapping[str, object], found: Mapping[str, object]) -> Verdict:
    wrong = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
    example = ""
    if wrong:
        key = min(wrong)
        example = f"{key.replace(chr(0), ' at ')}: {found.get(key)} instead of {expected.get(key)}"
    return Verdict(rows=len(found), wrong=len(wrong), example=example)
