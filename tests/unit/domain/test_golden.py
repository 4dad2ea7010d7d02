"""Each set of rules, held by records and their decisions: tests/golden/events-v*.jsonl.

A line that fails says that an old log would give other rows. Never change a line: a
changed rule is another set of rules (`domain/rules/`) with a file of its own, which begins
with the lines of the set before. Lines may be added at the end; the assertion tells what to
write.
"""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from core.partitioning import partition_for
from core.refusals import Refused
from dev.oracle.stock import Oracle, Record
from domain.columns import identity_hash
from domain.events import Refusal, contents, identity
from domain.rows import Row, row_key
from domain.rules.held import CURRENT, HELD
from domain.rules.sets import RuleSet
from tests.support.inputs.builders import Owner

GOLDEN = Path(__file__).parents[2] / "golden"
WINDOW, PARTITIONS, PARTITION = 8, 12, 3
FILES = {
    number: [
        json.loads(line)
        for line in (GOLDEN / f"events-v{number}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for number in HELD
}
each_set = pytest.mark.parametrize("rules", HELD.values(), ids=[f"rules {n}" for n in HELD])


def _bytes(text: str | dict[str, str] | None) -> bytes | None:
    if isinstance(text, dict):
        return base64.b64decode(text["base64"])
    return None if text is None else text.encode()


def _decided(owner: Owner, rules: RuleSet, line: dict[str, Any]) -> dict[str, Any]:
    """Fold one line; say what became of it, with all that is kept of an event."""
    topic, value = line["topic"], _bytes(line["value"])
    before = owner.state.counts[topic]
    headers = [(name, _bytes(content)) for name, content in line.get("headers", ())]
    owner.fold([(line["offset"], line["recorded_ms"], _bytes(line["key"]), value, headers)], topic)
    now = owner.state.counts[topic]
    if now.refused > before.refused:
        return {"refused": owner.refusals[-1]}
    event = rules.decode(value, headers)
    assert not isinstance(event, Refused)
    return {
        "repeated" if now.repeated > before.repeated else "applied": [
            f"{zlib.crc32(identity(event)):08x}",
            f"{contents([event], [row_key(event.data.sku, event.data.location)])[0]:08x}",
            f"{identity_hash(identity(event), event):014x}",
        ]
    }


def numbers(row: Row) -> list[int]:
    """Of a row as it is stored: fields that newer rules have are not written while they are 0."""
    fields = structs.astuple(row)
    return [*fields[:8], *(more for more in fields[8:] if more)]


@each_set
@pytest.mark.parametrize("commit", [False, True], ids=["at once", "with a restart after each"])
def test_a_log_gives_the_same_decisions_for_ever(rules: RuleSet, commit: bool) -> None:
    *lines, last = FILES[rules.number]
    owner = Owner(PARTITION, PARTITIONS, WINDOW, rules)
    for line in lines:
        assert _decided(owner, rules, line) == line["decision"], line["note"]
        if commit:
            owner.commit().restart()
    owner.commit()

    rows = {key.decode().replace("\x00", " @ "): row for key, row in owner.rows.items()}
    assert {name: numbers(row) for name, row in rows.items()} == last["rows"]


@each_set
def test_the_oracle_decides_the_same_of_the_whole_log(rules: RuleSet) -> None:
    oracle = Oracle(PARTITIONS, window=WINDOW, rules=rules.number)
    for line in FILES[rules.number][:-1]:
        key, value = _bytes(line["key"]), _bytes(line["value"])
        headers = tuple((name, _bytes(content)) for name, content in line.get("headers", ()))
        place = line["topic"], PARTITION, line["offset"]
        oracle.feed(Record(*place, line["recorded_ms"], key, value, headers))

        refused = oracle.refused.get(place)
        decision = "repeated" if place in oracle.repeated else "applied"
        decided = {"refused": refused} if refused else {decision: line["decision"].get(decision)}
        assert decided == line["decision"], line["note"]


def test_there_is_a_file_for_each_set_that_this_build_holds() -> None:
    assert [*HELD] == [2, 3]
    assert CURRENT.number == 2
    names = sorted(path.name for path in GOLDEN.glob("events-v*.jsonl"))
    assert names == [f"events-v{number}.jsonl" for number in HELD]


@each_set
def test_every_decision_and_every_type_is_in_the_file(rules: RuleSet) -> None:
    lines = FILES[rules.number][:-1]
    decisions = [line["decision"] for line in lines]
    applied = [
        json.loads(line["value"])["type"]
        for line in lines
        if "applied" in line["decision"] and "headers" not in line
    ]

    # A megabyte has no place in the file: tests/unit/tables/test_batches.py. A bridge's own
    # refusals are no decision of the rules.
    held = {*Refusal} - {Refusal.TOO_LARGE, Refusal.NOT_MAPPED}
    assert {decision.get("refused") for decision in decisions} - {None} == held
    assert any("repeated" in decision for decision in decisions)
    assert {*applied} == {*rules.events}


@each_set
def test_the_sku_of_the_file_lives_where_the_file_says(rules: RuleSet) -> None:
    for line in FILES[rules.number][:-1]:
        if "applied" in line["decision"]:
            assert partition_for(line["key"].encode(), PARTITIONS) == PARTITION
