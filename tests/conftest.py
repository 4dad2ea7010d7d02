"""Fixtures for all layers. Keep it small: builders belong in tests/support/builders.py."""

from collections.abc import Iterator

import pytest

from dev.kafka import Kafka, start


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One real broker for the whole run, started by the first test that asks for it.

    Shared: a test uses names of its own, and stops or pauses only a broker of its own.
    """
    with start() as running:
        yield running


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
