"""What is held against the answers of an open loop over switches: each fault is found."""

from typing import Any

import pytest

from dev.oracle.rows import NOTHING, Row
from dev.oracle.stock import Oracle, Record, partition_of
from dev.reads.answers import Answer
from dev.switches.load import Posted
from dev.switches.verdicts import Moved, SwitchVerdict, epoch_of, judge_switches

KEY = ("SKU-1", "here")
EVENT = (
    b'{"specversion":"1.0","id":"%d","source":"t","type":"inventory.sale.returned.v1",'
    b'"data":{"sku":"SKU-1","location":"here","quantity":1,"reason":"damaged"}}'
)
MOVES = [Moved(3, 2, 100.0)]


def oracles() -> dict[int, Oracle]:
    found = {1: Oracle(1, rules=2), 2: Oracle(1, rules=3)}
    assert partition_of("SKU-1", 1) == 0
    for oracle in found.values():
        for offset in range(2):
            oracle.feed(Record("sales", 0, offset, 5, b"SKU-1", EVENT % offset))
    return found


def row(version: int, offset: int) -> Row:
    return oracles()[version].row(KEY, {("sales", 0): offset})


def answer(
    at: float, version: int, epoch: int, offset: int = 1, door: str = "a", **more: Any
) -> Answer:
    told = {
        "role": "active",
        "worker": "w",
        "position": f"sales-0@{offset},control@{epoch}",
        "row": row(version, offset) if version in (1, 2) else NOTHING,
        **more,
    }
    return Answer(at, at + 0.1, door, KEY, 200, version=version, epoch=epoch, due=at, **told)


def verdict(*answers: Answer, posts: tuple[Posted, ...] = ()) -> SwitchVerdict:
    return judge_switches(answers, posts, oracles(), MOVES)


def test_what_is_right_by_the_rules_of_its_version_is_no_fault_and_a_switch_is_timed() -> None:
    right = [answer(99, 1, 2, 0), answer(100.2, 1, 2), answer(100.3, 2, 3, door="b")]
    found = verdict(*right, answer(101, 2, 3), posts=(Posted(1, 1, 1.1, "a", 202, 10),))

    assert found.faults == {}
    assert (found.reads, found.facts, found.late) == (4, 10, 0)
    assert found.switches[0].seconds == pytest.approx(0.3)


def test_how_long_reads_took_is_told_of_a_switch_and_outside_of_it_apart() -> None:
    outside = [answer(at, 1, 2, 0)._replace(ended=at + 0.2) for at in (90, 91, 92)]
    inside = [answer(100.2 + n / 100, 2, 3)._replace(ended=100.5 + n / 100) for n in range(3)]
    found = verdict(*outside, *inside)

    assert (found.quiet_p50_ms, found.quiet_p99_ms) == pytest.approx((200, 200))
    [switch] = found.switches
    assert (switch.p50_ms, switch.p99_ms) == pytest.approx((300, 300))


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("failed", [answer(99, 1, 2)._replace(status=503, problem="not-ready: it restores")]),
        ("wrong", [answer(99, 2, 3, row=row(1, 1))]),
        ("wrong", [answer(99, 1, 2, row=row(1, 0))]),
        ("wrong", [answer(99, 0, 0)]),
        ("back", [answer(99, 2, 3), answer(99.5, 1, 2)]),
        ("back", [answer(99, 1, 2, 1), answer(99.5, 1, 2, 0)]),
        ("back", [answer(99, 1, 2, asked_position="sales-0@1,control@3")]),
        ("back", [answer(99, 2, 3, 0, asked_position="sales-0@1")]),
    ],
)
def test_each_fault_is_found(kind: str, answers: list[Answer]) -> None:
    assert set(verdict(*answers).faults) == {kind}


def test_a_post_without_a_202_has_failed_and_a_slow_one_is_late() -> None:
    posts = (Posted(1, 1, 2, "a", 503, 10), Posted(1, 1, 4, "a", 202, 10))
    found = verdict(posts=posts)

    assert set(found.faults) == {"failed"}
    assert (found.facts, found.late) == (10, 1)


def test_who_changes_workers_without_a_position_may_see_the_version_before() -> None:
    assert verdict(answer(99, 2, 3), answer(99.5, 1, 2, door="b")).faults == {}


def test_the_epoch_of_a_position() -> None:
    assert [epoch_of(t) for t in ("", "sales-0@7", "sales-0@7,control@12")] == [0, 0, 12]
