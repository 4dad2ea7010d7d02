from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from threading import Thread

import pytest

from app.config import Settings
from dev.kafka import Kafka
from tests.support.cluster.cli import FRESHNESS, OTHER, ROW, SUMS, Worker, moment_ago
from tests.support.topics.letters import a_deployment


@pytest.fixture
async def settings(kafka: Kafka) -> Settings:
    """Of a deployment of its own, whose topics are there."""
    return await a_deployment(kafka)


@pytest.fixture(scope="module")
def worker() -> Iterator[str]:
    """The URL of something that answers as a worker does."""
    # By now, not by when the file was read: a long run may lie between.
    FRESHNESS["as_of"] = moment_ago(200)
    for row in (ROW, OTHER, SUMS):
        row["updated_at"] = moment_ago(5 * 3600 + 30)
    with ThreadingHTTPServer(("127.0.0.1", 0), Worker) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
