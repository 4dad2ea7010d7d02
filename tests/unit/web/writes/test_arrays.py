"""Lines that are plainly right are taken side by side, and become what they become one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from domain.rules.held import Ruling
from tests.unit.domain.test_readers import CORNERS, nearly_events
from tests.unit.web.shop import PARTITIONS, TOPICS, FakeLog, Shop, a_line, an_event
from web.access.callers import CALLER, Caller, Scope
from web.writes.arrays import PLAIN_LINES, Fact
from web.writes.facts import FactLimits, Facts
from web.writes.lines import ACTOR, TYPE_OF_PATH, Posted, PostedEvents, PostedLines

SALES, ADJUSTED = TYPE_OF_PATH["/v1/sales"], TYPE_OF_PATH["/v1/adjustments"]
FIELDS = (*a_line(), "time", "reason", "reference", "actor", "tme")
FACTS = Facts(FakeLog().append, TOPICS, PARTITIONS, FactLimits(event_bytes=500), Ruling())
WIDE = Caller("t", "Ann", frozenset({Scope.WRITE}))
NARROW = Caller("t", "Bob", frozenset({Scope.WRITE}), locations=["s-7"])


def raws(lines: Sequence[Any]) -> list[Raw]:
    return [Raw(one if isinstance(one, bytes) else json.dumps(one).encode()) for one in lines]


async def plain_facts(lines: Sequence[Raw], posted: Posted) -> list[Fact] | None:
    """What is taken side by side; held against what becomes of the lines one by one."""
    plain = await FACTS._plain.all(lines, posted)
    facts, errors = await FACTS._check(lines, posted)
    assert plain is None or (not errors and plain == facts), lines
    return plain


@st.composite
def nearly_lines(draw: st.DrawFn) -> Any:
    changes = draw(st.dictionaries(st.sampled_from(FIELDS), CORNERS, max_size=2))
    line = json.dumps(a_line(id=draw(st.sampled_from("12")), **changes)).encode()
    if draw(st.integers(0, 3)) == 0:  # a name that comes twice: the last one counts
        again = json.dumps(
            {draw(st.sampled_from(FIELDS)): draw(CORNERS.filter(lambda o: o is not ...))}
        )
        line = line[:-1] + b"," + again.encode()[1:]
    return line


@given(st.lists(nearly_lines(), min_size=1, max_size=3), st.sampled_from((SALES, ADJUSTED)))
async def test_lines_become_the_same_facts_side_by_side(lines: list[Any], kind: str) -> None:
    await plain_facts(raws(lines), PostedLines(kind, None, ()))


@given(st.lists(nearly_events(), min_size=1, max_size=3))
async def test_events_become_the_same_facts_side_by_side(events: list[bytes]) -> None:
    try:
        lines = [msgspec.json.Decoder(Raw).decode(event) for event in events]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return  # no body that could be split
    await plain_facts(lines, PostedEvents())


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"quantity": 2.0}, {"reason": ""}, {"reason": None, "time": None}, {"reference": "ä\n"},
        {"time": "2026-11-23T10:00:00.5+01:00"}, {"actor": 'a"\\'}, {"location": "Zürich 1"},
        {"quantity": 10**9}, {"id": "x" * 99},
    ],
)  # fmt: skip
async def test_usual_lines_are_plain(changes: dict[str, Any]) -> None:
    lines = [a_line(**changes), a_line(source="till-18"), a_line(id="2")]

    assert await plain_facts(raws(lines), PostedLines(SALES, None, ()))
    assert await plain_facts(raws(lines), PostedLines(SALES, "key", (0, 0, 0)))


@pytest.mark.parametrize(
    "line",
    [
        a_line(id=...), a_line(id="0"), a_line(quantity=0), a_line(tme="x"), a_line(sku=" x"),
        a_line(location="x\x00y"), a_line(reason="a\x00"), a_line(time="yesterday"), 7, [],
        a_line(reference="x" * 500), a_line(quantity=[[]]), a_line(source=None),
    ],
)  # fmt: skip
async def test_what_is_not_plain_is_left_to_the_other_way(line: Any) -> None:
    lines = [a_line(id="0"), line]

    assert await plain_facts(raws(lines), PostedLines(SALES, None, ())) is None


async def test_plain_events_are_appended_as_they_came() -> None:
    events = [
        json.dumps(an_event(id=str(n), shop="a", time="2026-11-23T10:00:00Z"), indent=n).encode()
        for n in range(3)
    ]

    facts = await plain_facts(raws(events), PostedEvents())

    assert facts is not None
    assert [fact.record.value for fact in facts] == events
    unknown = an_event(data={**a_line(source=..., id=...), "tme": "x"})
    assert await plain_facts(raws([unknown]), PostedEvents()) is None


@pytest.mark.parametrize("line", [a_line(), an_event(onhandactor="Eve", id='"')])
async def test_who_posts_is_said_alike(line: dict[str, Any]) -> None:
    posted = PostedEvents() if "specversion" in line else PostedLines(SALES, None, ())
    before = CALLER.set(WIDE)
    try:
        facts = await plain_facts(raws([line]), posted)
        CALLER.set(NARROW)  # what it may write is said by the other way
        assert await plain_facts(raws([line]), posted) is None
    finally:
        CALLER.reset(before)

    assert facts is not None
    assert json.loads(facts[0].record.value)[ACTOR] == "Ann"


async def test_two_of_one_id_are_seen_however_far_apart_they_are(shop: Shop) -> None:
    lines = [a_line(id=str(n)) for n in range(2 * PLAIN_LINES)]

    assert (await shop.post("/v1/sales", lines))[0] == 202
    lines[-1] = a_line(id="0", quantity=7)
    status, body = await shop.post("/v1/sales", lines)

    assert status == 400
    assert [error["reason"] for error in body["errors"]] == ["id_conflict"]
    assert len(shop.log.records) == 2 * PLAIN_LINES
