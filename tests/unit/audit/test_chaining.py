"""The chain made again from the log: a head that was kept tells every change below it."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from audit.chaining import Chained, ChainHead, KeptHead, chained
from audit.log import AuditFailed
from core.records import Record
from ledger.chain import linked, start_of

TOPICS = {"x.sales": "sales", "x.shipments": "shipments"}


class ListLog:
    """Records by topic, all of partition 0."""

    def __init__(self, records: Mapping[str, list[Record]], end: int) -> None:
        self._records, self._end = records, end

    async def ends(self, partition: int) -> dict[str, int]:
        return dict.fromkeys(TOPICS, self._end)

    async def read(
        self, partition: int, start: Mapping[str, int], end: Mapping[str, int]
    ) -> AsyncIterator[tuple[str, list[Record]]]:
        for topic, records in self._records.items():
            for at in range(0, len(records), 3):
                yield topic, records[at : at + 3]


def some_records(changed: int | None = None) -> dict[str, list[Record]]:
    """Every second offset; those between are markers."""
    return {
        topic: [
            (2 * n, 1_000 + n, b"k", b"other" if n == changed else b"v%d" % n, (("h", None),))
            for n in range(10)
        ]
        for topic in TOPICS
    }


async def made(records: Mapping[str, list[Record]], *kept: KeptHead, end: int = 30) -> Chained:
    log: Any = ListLog(records, end)
    return await chained(log, TOPICS, [0], kept, lambda count: None)


async def test_heads_are_those_of_the_ledger() -> None:
    found = await made(some_records())

    head = start_of("sales", 0)
    for record in some_records()["x.sales"]:
        head = linked(head, record)
    assert found.heads[0] == ChainHead("x.sales", 0, 30, head.hex())
    assert len(found.root) == 64


async def test_a_kept_head_agrees_wherever_it_was_taken_and_shows_what_changed_below_it() -> None:
    heads = [(await made(some_records(), end=30)).heads[0]]
    for next_offset in (0, 1, 7, 8, 19, 25):
        part = {t: [r for r in rs if r[0] < next_offset] for t, rs in some_records().items()}
        heads.append((await made(part, end=next_offset)).heads[0])
    kept = [KeptHead("kept.json", head) for head in heads]

    found = await made(some_records(), *kept)
    assert (len(found.right), found.wrong) == (len(kept), [])
    changed = await made(some_records(changed=4), *kept)
    assert {each.said.next for each in changed.right} == {0, 1, 7, 8}
    assert {each.said.next for each, now in changed.wrong if now is not None} == {19, 25, 30}
    assert changed.root != found.root


async def test_a_log_that_is_shorter_than_a_kept_head_is_told() -> None:
    (head, _) = (await made(some_records())).heads

    found = await made(some_records(), KeptHead("kept.json", head), end=20)

    assert found.wrong == [(KeptHead("kept.json", head), None)]
    with pytest.raises(AuditFailed, match=r"kept.json tells of a topic y, which is none of ours"):
        await made(some_records(), KeptHead("kept.json", ChainHead("y", 0, 1, "")))
