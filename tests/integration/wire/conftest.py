from collections.abc import AsyncIterator

import pytest

from dev.kafka import Kafka
from tests.support.topics.fetching import two_batches
from tests.support.topics.logs import make
from wire.transactions import Brokers


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """Of two record batches."""
    return two_batches(kafka)


@pytest.fixture
def narrow(kafka: Kafka) -> str:
    """A topic that takes small batches alone."""
    return make(kafka.bootstrap, config={"max.message.bytes": "200"})


@pytest.fixture
async def brokers(kafka: Kafka, topic: str, narrow: str) -> AsyncIterator[Brokers]:
    brokers = Brokers({"bootstrap_servers": kafka.bootstrap}, [topic, narrow])
    await brokers.start()
    yield brokers
    await brokers.stop()
