import pytest

from dev.kafka import Kafka
from tests.support.topics.changelogs import (
    Changelog,
)


@pytest.fixture
def changelog(kafka: Kafka) -> Changelog:
    return Changelog(kafka.bootstrap)
