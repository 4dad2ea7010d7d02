"""What wire/requests/topicids.py asks for in words of its own, a real broker understands."""

from collections.abc import AsyncIterator

import pytest_asyncio

from dev.kafka import Kafka
from tests.support.breaking.kafka_tools import admin
from tests.support.topics.logs import a_name, make, remove
from wire.requests.topicids import topics_now
from wire.transactions import Brokers


@pytest_asyncio.fixture
async def brokers(kafka: Kafka) -> AsyncIterator[Brokers]:
    brokers = Brokers({"bootstrap_servers": kafka.bootstrap}, [])
    await brokers.start()
    yield brokers
    await brokers.stop()


async def test_a_topic_has_the_id_and_the_partitions_that_other_clients_are_told(
    kafka: Kafka, brokers: Brokers
) -> None:
    one, other = make(kafka.bootstrap, partitions=3), make(kafka.bootstrap)

    found = await topics_now(brokers.client, [one, other])

    described = admin(kafka.bootstrap).list_topics(timeout=60).topics
    assert {name: topic.partitions for name, topic in found.items()} == {
        name: len(described[name].partitions) for name in (one, other)
    }
    assert len({topic.id for topic in found.values()}) == 2
    assert all(len(topic.id) == 32 and int(topic.id, 16) > 0 for topic in found.values())


async def test_a_topic_that_was_deleted_and_created_again_has_another_id(
    kafka: Kafka, brokers: Brokers
) -> None:
    name = make(kafka.bootstrap)
    before = await topics_now(brokers.client, [name])
    again = await topics_now(brokers.client, [name])
    remove(kafka.bootstrap, name)
    make(kafka.bootstrap, name)
    after = await topics_now(brokers.client, [name])

    assert before == again
    assert before[name].id != after[name].id


async def test_asking_for_a_topic_that_does_not_exist_creates_nothing(
    kafka: Kafka, brokers: Brokers
) -> None:
    name = a_name()

    assert await topics_now(brokers.client, [name]) == {}
    assert name not in admin(kafka.bootstrap).list_topics(timeout=60).topics
