"""Fixtures for all layers. Keep it small: builders belong in tests/support/inputs/builders.py."""

import faulthandler
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from dev.kafka import Kafka, learn_classes, start
from tests.support.cluster.workers import Cluster

LONGEST_TORTURE_S = 3600


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Torture may take longer than `faulthandler_timeout`, after which a test counts as hanging."""
    if item.get_closest_marker("torture"):
        stderr = item.config.stash[fault_handler_stderr_fd_key]
        faulthandler.dump_traceback_later(LONGEST_TORTURE_S, file=stderr, exit=True)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One real broker for all tests of this process, started by the first that asks for it.

    Shared: a test uses names of its own, and stops or pauses only a broker of its own.
    """
    learn_classes()
    with start() as running:
        yield running


@pytest.fixture(scope="session")
def second_kafka() -> Iterator[Kafka]:
    """For `own_kafka` alone."""
    with start() as running:
        yield running


@pytest.fixture
def own_kafka(second_kafka: Kafka) -> Iterator[Kafka]:
    """A broker that the test may pause, kill and restart; the next one finds it running."""
    yield second_kafka
    if all(node.running for node in second_kafka.nodes):
        second_kafka.resume()
    else:
        second_kafka.restart()


@pytest.fixture(scope="session")
def strict_kafka() -> Iterator[Kafka]:
    """A broker with rules, and with the shortest session that brokers allow by default.

    What no rule of a test names is allowed to everybody.
    """
    rules = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "group.min.session.timeout.ms": 6000,
    }
    with start(settings=rules) as running:
        yield running


@pytest.fixture
def cluster(request: pytest.FixtureRequest, kafka: Kafka, tmp_path: Path) -> Iterator[Cluster]:
    """Of the file's PARTITIONS and SETTINGS; not started yet, and ended whatever happens."""
    of_file = vars(request.module)
    settings = dict(of_file.get("SETTINGS", {}))
    cluster = Cluster(kafka.bootstrap, tmp_path, of_file.get("PARTITIONS", 12), settings=settings)
    yield cluster
    cluster.close()
