import pytest

from app.config import Settings
from dev.kafka import Kafka
from tests.support.topics.letters import a_deployment


@pytest.fixture
async def settings(kafka: Kafka) -> Settings:
    """Of a deployment of its own, whose topics are there."""
    return await a_deployment(kafka)
