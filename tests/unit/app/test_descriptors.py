"""Who gets how many file descriptors, and what is said where they are too few."""

import resource

import pytest

from app.descriptors import LEAST, TooFewDescriptors, of_others, raised, shares


@pytest.mark.parametrize("limit", [1024, 4096, 65_536])
@pytest.mark.parametrize("partitions", [1, 12, 48])
def test_connections_leave_a_reserve_for_kafka_and_the_stores(limit: int, partitions: int) -> None:
    if limit == 1024 and partitions == 48:
        with pytest.raises(TooFewDescriptors):
            shares(limit, partitions)
        return

    share = shares(limit, partitions)

    assert min(share.clients, share.peers) >= LEAST // 2
    assert share.clients + share.peers <= limit - 100 - 10 * partitions


def test_too_few_are_refused_with_the_remedy() -> None:
    with pytest.raises(TooFewDescriptors, match=r"allow at least [0-9,]+ \(`ulimit -n`"):
        shares(256, 12)


def test_the_limit_is_raised_as_far_as_it_may() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))

        assert raised() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 1000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(("limit", "connections"), [(300, 32), (1024, 692), (20_000, 4_096)])
def test_who_asks_no_other_process_leaves_a_reserve_too(
    monkeypatch: pytest.MonkeyPatch, limit: int, connections: int
) -> None:
    monkeypatch.setattr("app.descriptors.raised", lambda: limit)

    found = of_others(0, is_secured=True)

    assert found.connections >= connections
    assert found.connections + found.for_operations + found.handshakes <= max(limit - 100, 128)
