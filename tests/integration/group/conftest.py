from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from dev.kafka import Kafka
from tests.support.inside.deployment import Deployment, a_deployment


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(
    kafka: Kafka, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Deployment]:
    """One for all tests of a file, which are `in_worker`: in the loop that it lives in."""
    async with a_deployment(kafka, tmp_path_factory.mktemp("worker")) as deployment:
        yield deployment
