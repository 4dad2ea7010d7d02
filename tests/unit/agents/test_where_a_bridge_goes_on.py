"""Where a bridge goes on, by its mark and by what is left of the topic."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from agents.carried import BridgeConfig, Carried
from agents.carrying import Bridge, Standstill
from agents.marks import Mark
from domain.rules.held import CURRENT
from importers.frames.maps import read_map
from tables.ports import Delivery, Membership

MAP = """
[constants]
type = "inventory.sale.completed.v1"
[paths]
sku = "value.sku"
location = "value.shop"
quantity = "value.n"
"""


class Ends:
    """Offsets of one partition, as a broker says them."""

    def __init__(self, first: int, end: int) -> None:
        self._first, self._end = first, end

    async def beginning(self, tp: TopicPartition) -> int:
        return self._first

    async def end(self, tp: TopicPartition, *, committed: bool = True) -> int:
        return self._end


async def where(mark: Mark | None, first: int, end: int, top: str = "") -> int:
    config = BridgeConfig(
        kafka={"bootstrap_servers": "127.0.0.1:1"}, topic="orders", sources={}, dead_letters="dlq",
        documents="documents", partitions=4, transactional_id=str, commit_interval_s=0.1,
        session_timeout_s=10.0,
    )  # fmt: skip
    by = read_map(top + MAP, "orders", CURRENT.events)
    nobody: Any = None
    bridge = Bridge(config, by, cast(Membership, nobody), cast(Delivery, nobody), nobody)
    bridge._marks = cast(Any, Ends(first, end))
    return await bridge._where(Carried(3, 1, topic_id="id"), mark)


@pytest.mark.parametrize(
    ("mark", "first", "top", "start"),
    [
        (None, 0, "", 0),
        (None, 0, 'begin = "latest"\n', 90),
        (40, 0, "", 40),
        (90, 90, "", 90),
        (40, 60, "accept_gaps = true\n", 60),
    ],
)
async def test_it_goes_on_at_its_mark(mark: int | None, first: int, top: str, start: int) -> None:
    known = None if mark is None else Mark("orders", "id", mark)

    assert await where(known, first, 90, top) == start


@pytest.mark.parametrize("top", ["", "accept_gaps = true\n"])
async def test_a_topic_that_lost_its_end_waits_for_a_person(top: str) -> None:
    with pytest.raises(Standstill, match=r"orders ends at offset 90, and was read to 99: Kafka"):
        await where(Mark("orders", "id", 100), 0, 90, top)
