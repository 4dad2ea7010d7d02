"""Reads what a version of Onhand keeps in Kafka, as a committed reader, and holds it to the log."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dev.oracle.log import oracle_of, read_topics
from dev.oracle.rows import Comparison, Key, Row, compare, row_from_store
from dev.oracle.stock import Oracle, Place, Record

__all__ = [
    "Changelog",
    "Comparison",
    "Oracle",
    "assert_dead_letters",
    "compare",
    "oracle_of",
    "read_changelog",
    "read_dead_letters",
]

META = b"\x00meta"
OWN_HEADERS = "onhand-"


@dataclass
class Changelog:
    """The compacted view of a changelog.

    Attributes:
        rows: newest row of each key.
        metas: newest meta record of each partition.
        rewinds: partitions and topics whose committed position ever moved backwards.
    """

    rows: dict[Key, Row] = field(default_factory=dict)
    metas: dict[int, dict[str, Any]] = field(default_factory=dict)
    rewinds: list[str] = field(default_factory=list)

    def take(self, record: Record) -> None:
        """Take the next record of a partition."""
        key = record.key or b""
        if key == META:
            self._take_meta(record)
        elif not key.startswith(b"\x00"):
            sku, location = key.decode().split("\x00")
            if record.value is None:
                self.rows.pop((sku, location), None)
            else:
                self.rows[sku, location] = row_from_store(record.value)

    def _take_meta(self, record: Record) -> None:
        meta = json.loads(record.value or b"")
        before = self.metas.get(record.partition, {"positions": {}})
        for topic, position in before["positions"].items():
            if meta["positions"].get(topic, -1) < position:
                self.rewinds.append(
                    f"{topic}-{record.partition} from {position} to {meta['positions'].get(topic)}"
                )
        self.metas[record.partition] = meta

    def counts(self) -> tuple[int, int, int]:
        """Records applied, repeated and refused, over all partitions and topics."""
        sums = [0, 0, 0]
        for meta in self.metas.values():
            for counts in meta["counts"].values():
                sums = [a + b for a, b in zip(sums, counts, strict=True)]
        return sums[0], sums[1], sums[2]

    def behind(self, ends: Mapping[tuple[str, int], int]) -> list[str]:
        """Source partitions that are not committed up to these next offsets."""
        late = []
        for (topic, partition), end in ends.items():
            position = self.metas.get(partition, {"positions": {}})["positions"].get(topic, 0)
            if position < end:
                late.append(f"{topic}-{partition}: {position} of {end}")
        return late


def changelog_topic(name: str, version: int = 1) -> str:
    return f"{name}-v{version}-inventory-changelog"


def dead_letter_topic(name: str, version: int = 1) -> str:
    return f"{name}-v{version}-dlq"


def read_changelog(kafka: str, name: str, version: int = 1) -> Changelog:
    """What a restore would see: committed records only."""
    changelog = Changelog()
    for record in read_topics(kafka, [changelog_topic(name, version)]):
        changelog.take(record)
    return changelog


def read_dead_letters(kafka: str, name: str, version: int = 1) -> list[Record]:
    """Every committed dead letter."""
    return read_topics(kafka, [dead_letter_topic(name, version)])


def place_of(letter: Record) -> Place:
    """Where the refused record stood."""
    told = own_headers(letter)
    return told["topic"], int(told["partition"]), int(told["offset"])


def own_headers(letter: Record) -> dict[str, str]:
    """What Onhand says about a dead letter, without the prefix of the names."""
    return {
        name.removeprefix(OWN_HEADERS): (value or b"").decode()
        for name, value in letter.headers
        if name.startswith(OWN_HEADERS)
    }


def assert_dead_letters(letters: Iterable[Record], oracle: Oracle) -> None:
    """Every refused record is there exactly once, as it came, with the oracle's reason."""
    found: dict[Place, list[Record]] = defaultdict(list)
    for letter in letters:
        found[place_of(letter)].append(letter)
    missing = oracle.refused.keys() - found.keys()
    assert not missing, f"{len(missing)} refused records are not in the dead letters: {missing}"
    surplus = found.keys() - oracle.refused.keys()
    assert not surplus, f"{len(surplus)} dead letters were never refused: {surplus}"
    doubled = {place: len(copies) for place, copies in found.items() if len(copies) > 1}
    assert not doubled, f"{len(doubled)} refused records are there more than once: {doubled}"
    for place, (letter,) in found.items():
        _assert_as_it_came(letter, oracle.records[place], oracle.refused[place])


def _assert_as_it_came(letter: Record, original: Record, reason: str) -> None:
    told = own_headers(letter)
    where = f"{original.topic}-{original.partition}@{original.offset}"
    assert told["reason"] == reason, f"{where}: {told} instead of {reason}"
    assert told["detail"], where
    assert int(told["timestamp"]) == original.timestamp_ms, where
    if "sha256" in told:  # too large to be kept: its hash stands for it
        content = (original.key or b"") + (original.value or b"")
        assert (int(told["size"]), told["sha256"]) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
        return
    brought = tuple(pair for pair in letter.headers if not pair[0].startswith(OWN_HEADERS))
    assert (letter.key, letter.value, brought) == (
        original.key,
        original.value,
        original.headers,
    ), where


def reasons(oracle: Oracle) -> Counter[str]:
    """Refused records by reason."""
    return Counter(oracle.refused.values())
