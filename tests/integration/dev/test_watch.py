"""The watch of the fault tests: what it must call ahead, and what is only waiting for a marker."""

import json

import pytest
from confluent_kafka import Consumer, TopicPartition

from dev.kafka import Kafka
from dev.workers import until
from tests.support.judges.oracle import META, changelog_topic
from tests.support.judges.watch import CommitWatch
from tests.support.topics.changelogs import COMPACT
from tests.support.topics.logs import Put, Writer, a_name, make

WAIT_S = 60.0
DURABLE = 5


class Scene:
    """A changelog with one open transaction, and a group that says what is durable."""

    def __init__(self, kafka: str) -> None:
        self.kafka, self.name = kafka, a_name()
        self.sales = make(kafka, a_name())
        self.changelog = make(kafka, changelog_topic(self.name), config=COMPACT)
        self.writer = Writer(kafka, a_name())
        self.writer.begin()
        meta = json.dumps({"positions": {self.sales: DURABLE}})
        self.writer.write(self.changelog, [Put(META, meta.encode())])

    def says(self, position: int) -> None:
        """The group commits an offset."""
        group = Consumer({"bootstrap.servers": self.kafka, "group.id": f"{self.name}-v1"})
        group.commit(offsets=[TopicPartition(self.sales, 0, position)], asynchronous=False)
        group.close()

    def watch(self, decided_s: float) -> CommitWatch:
        return CommitWatch(self.kafka, self.name, [self.sales], 1, decided_s=decided_s)


@pytest.fixture
def scene(kafka: Kafka) -> Scene:
    return Scene(kafka.bootstrap)


async def looked(watch: CommitWatch, more: int) -> None:
    """Wait for so many looks."""
    goal = watch.looks + more

    async def enough() -> bool:
        watch.check_running()
        return watch.looks >= goal

    await until(enough, "looked", WAIT_S)


async def test_a_position_is_ahead_that_is_not_even_written(scene: Scene) -> None:
    scene.says(DURABLE + 1)
    with scene.watch(30.0) as watch:
        await looked(watch, 2)
        assert watch.ahead
        with pytest.raises(AssertionError):
            watch.check()
    scene.writer.abort()


async def test_a_transaction_may_wait_for_its_marker(scene: Scene) -> None:
    scene.says(DURABLE)
    with scene.watch(600.0) as watch:
        await looked(watch, 2)
        assert not watch.ahead
        scene.writer.commit()
        watch.check()


async def test_but_not_for_ever(scene: Scene) -> None:
    scene.says(DURABLE)
    with scene.watch(0.5) as watch:
        await looked(watch, 2)
        scene.writer.abort()
        with pytest.raises(AssertionError):
            watch.check()
