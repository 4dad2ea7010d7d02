import pytest

from dev.kafka import Kafka
from tests.support.inside.owners import Shop


@pytest.fixture
def shop(kafka: Kafka) -> Shop:
    """New topics, and nothing on them."""
    return Shop(kafka.bootstrap)
