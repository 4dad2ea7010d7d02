"""The rules of today, held by records and their decisions: tests/golden/events-v2.jsonl.

A line that fails says that an old log would give other rows. Never change a line: a
changed rule takes the next `RULES` number, a new file and a new `ONHAND_VERSION`. Lines
may be added at the end; the assertion tells what to write. (Before 0.1.0 a changed rule
replaces the file.)
"""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from core.partitioning import partition_for
from core.refusals import Refused
from dev.oracle.stock import Oracle, Record
from domain.columns import identity_hash
from domain.events import EVENTS, RULES, Refusal, contents, decode, identity
from domain.rows import row_key
from tests.support.builders import Owner

GOLDEN = Path(__file__).parents[2] / "golden"
WINDOW, PARTITIONS, PARTITION = 8, 12, 3
LINES: list[dict[str, Any]] = [
    json.loads(line)
    for line in (GOLDEN / "events-v2.jsonl").read_text(encoding="utf-8").splitlines()
]


def _bytes(text: str | dict[str, str] | None) -> bytes | None:
    if isinstance(text, dict):
        return base64.b64decode(text["base64"])
    return None if text is None else text.encode()


def _decided(owner: Owner, line: dict[str, Any]) -> dict[str, Any]:
    """Fold one line; say what became of it, with all that is kept of an event."""
    topic, value = line["topic"], _bytes(line["value"])
    before = owner.state.counts[topic]
    headers = [(name, _bytes(content)) for name, content in line.get("headers", ())]
    owner.fold([(line["offset"], line["recorded_ms"], _bytes(line["key"]), value, headers)], topic)
    now = owner.state.counts[topic]
    if now.refused > before.refused:
        return {"refused": owner.refusals[-1]}
    event = decode(value, headers)
    assert not isinstance(event, Refused)
    return {
        "repeated" if now.repeated > before.repeated else "applied": [
            f"{zlib.crc32(identity(event)):08x}",
            f"{contents([event], [row_key(event.data.sku, event.data.location)])[0]:08x}",
            f"{identity_hash(identity(event), event):014x}",
        ]
    }


@pytest.mark.parametrize("commit", [False, True], ids=["at once", "with a restart after each"])
def test_a_log_gives_the_same_decisions_for_ever(commit: bool) -> None:
    owner = Owner(PARTITION, PARTITIONS, WINDOW)
    for line in LINES[:-1]:
        assert _decided(owner, line) == line["decision"], line["note"]
        if commit:
            owner.commit().restart()
    owner.commit()

    rows = {key.decode().replace("\x00", " @ "): row for key, row in owner.rows.items()}
    assert {
        name: [getattr(row, field) for field in row.__struct_fields__] for name, row in rows.items()
    } == LINES[-1]["rows"]


def test_the_oracle_decides_the_same_of_the_whole_log() -> None:
    oracle = Oracle(PARTITIONS, window=WINDOW)
    for line in LINES[:-1]:
        key, value = _bytes(line["key"]), _bytes(line["value"])
        headers = tuple((name, _bytes(content)) for name, content in line.get("headers", ()))
        place = line["topic"], PARTITION, line["offset"]
        oracle.feed(Record(*place, line["recorded_ms"], key, value, headers))

        refused = oracle.refused.get(place)
        decision = "repeated" if place in oracle.repeated else "applied"
        decided = {"refused": refused} if refused else {decision: line["decision"].get(decision)}
        assert decided == line["decision"], line["note"]


def test_the_file_is_that_of_the_current_rules() -> None:
    assert RULES == 2
    assert [path.name for path in GOLDEN.glob("events-v*.jsonl")] == ["events-v2.jsonl"]


def test_every_decision_and_every_type_is_in_the_file() -> None:
    decisions = [line["decision"] for line in LINES[:-1]]
    applied = [
        json.loads(line["value"])["type"]
        for line in LINES[:-1]
        if "applied" in line["decision"] and "headers" not in line
    ]

    # A megabyte has no place in the file: tests/unit/tables/test_batches.py. A bridge's own
    # refusals are no decision of the rules.
    held = {*Refusal} - {Refusal.TOO_LARGE, Refusal.NOT_MAPPED}
    assert {decision.get("refused") for decision in decisions} - {None} == held
    assert any("repeated" in decision for decision in decisions)
    assert {*applied} == {*EVENTS}


def test_the_sku_of_the_file_lives_where_the_file_says() -> None:
    for line in LINES[:-1]:
        if "applied" in line["decision"]:
            assert partition_for(line["key"].encode(), PARTITIONS) == PARTITION
