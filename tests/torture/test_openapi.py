"""What tests/integration/web/test_openapi.py asks in seconds, whole."""

from pathlib import Path

from dev.kafka import Kafka
from tests.support.cluster.examples import schemathesis, two_workers


async def test_all_that_the_document_allows_or_forbids_is_answered_as_it_says(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with two_workers(kafka.bootstrap, tmp_path) as (cluster, worker):
        await worker.of_every_call()

        passed = await schemathesis(cluster, worker, tmp_path, "--max-examples", "200")

    assert passed > 2_000
