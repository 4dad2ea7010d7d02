import pytest

from dev.kafka import Kafka
from tests.support.topics.fetching import two_batches


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """Of two record batches."""
    return two_batches(kafka)
