"""Who is asked first."""

import pytest

from onhand_client.cluster import MOST_SUSPECT_S, SUSPECT_S, ClusterMap
from tests.unit.client.serving import a_cluster

A, B, C = "http://a:1", "http://b:1", "http://c:1"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(clock: Clock) -> ClusterMap:
    cluster = ClusterMap([A + "/"], now=clock)
    body = a_cluster({0: A, 1: B, 2: C}, [A, B, C])
    body["partitions"][1]["standbys"] = [{"worker": C}]
    cluster.take(body)
    return cluster


def test_the_owner_comes_first_then_its_standbys_then_everybody(cluster: ClusterMap) -> None:
    assert cluster.partitions == 4
    assert cluster.order(1) == [B, C, A]
    assert cluster.best(1) == B
    assert cluster.order(3)[0] in (A, B, C)  # nobody owns it: anybody takes any request
    assert cluster.best(3) is None


def test_what_has_no_owner_goes_to_the_workers_in_turn(cluster: ClusterMap) -> None:
    assert {cluster.order(None)[0] for _ in range(3)} == {A, B, C}


def test_who_failed_comes_last_until_it_may_be_well_again(
    cluster: ClusterMap, clock: Clock
) -> None:
    cluster.suspect(B)
    assert cluster.best(1) is None
    assert cluster.order(1) == [C, A, B]

    clock.now += SUSPECT_S
    assert cluster.order(1)[0] == B

    cluster.suspect(B)  # again: twice as long
    clock.now += SUSPECT_S
    assert cluster.order(1)[0] != B
    clock.now += SUSPECT_S
    assert cluster.order(1)[0] == B

    cluster.began(B)
    cluster.ended(B, 0.01)
    assert cluster.best(1) == B


def test_many_requests_that_fail_at_once_are_one_failure(cluster: ClusterMap, clock: Clock) -> None:
    for _ in range(100):
        cluster.suspect(B)
    clock.now += SUSPECT_S

    assert cluster.order(1)[0] == B


def test_one_request_finds_out_whether_a_worker_is_well_again(
    cluster: ClusterMap, clock: Clock
) -> None:
    cluster.suspect(B)
    clock.now += SUSPECT_S
    assert cluster.order(1)[0] == B
    cluster.began(B)

    assert cluster.order(1)[0] == C  # until that one is answered

    cluster.ended(B, 0.01)
    assert cluster.order(1)[0] == B


def test_nobody_is_avoided_for_longer_than_the_most(cluster: ClusterMap, clock: Clock) -> None:
    for _ in range(20):
        cluster.suspect(B)
        clock.now += MOST_SUSPECT_S

    assert cluster.order(1)[0] == B


@pytest.mark.parametrize("change", [{"alive": False}, {"state": "leaving"}, {"version": 2}])
def test_who_is_silent_or_leaves_or_is_of_another_version_is_not_asked(
    cluster: ClusterMap, change: dict[str, object]
) -> None:
    body = a_cluster({1: B}, [A, B, C])
    body["workers"][1] |= change

    cluster.take(body)

    assert B not in cluster.order(1)


def test_what_is_no_answer_about_a_cluster_changes_nothing(cluster: ClusterMap) -> None:
    for body in ({}, {"version": 1, "partitions": None}, {"version": 1, "partitions": [{}]}):
        with pytest.raises((KeyError, TypeError)):
            cluster.take(body)

    assert cluster.order(1) == [B, C, A]


def test_behind_a_load_balancer_nobody_else_is_asked() -> None:
    cluster = ClusterMap([A], direct=False)
    cluster.take(a_cluster({1: B}, [B, C]))
    cluster.learn_owner(1, B)

    assert cluster.partitions == 4
    assert cluster.order(1) == [A]


def test_what_was_given_for_https_never_goes_out_in_the_clear() -> None:
    cluster = ClusterMap(["https://a:1"])
    cluster.take(a_cluster({0: "https://b:1", 1: C}, ["https://b:1", C]))
    cluster.learn_owner(2, C)

    assert [cluster.owner(partition) for partition in range(3)] == ["https://b:1", None, None]
    assert C not in cluster.order(1) + cluster.order(2)


def test_a_read_that_any_holder_may_answer_goes_to_the_nearest_and_least_busy(
    cluster: ClusterMap, clock: Clock
) -> None:
    for url, seconds in ((B, 0.050), (C, 0.002)):
        cluster.began(url)
        cluster.ended(url, seconds)
    assert cluster.order(1, any_holder=True)[0] == C
    assert cluster.order(1)[0] == B

    for _ in range(30):
        cluster.began(C)
    assert cluster.order(1, any_holder=True)[0] == B


def test_who_was_slow_long_ago_is_tried_again(cluster: ClusterMap, clock: Clock) -> None:
    cluster.began(B)
    cluster.ended(B, 0.050)
    clock.now += 100
    cluster.began(C)
    cluster.ended(C, 0.002)

    assert cluster.order(1, any_holder=True)[0] == B


@pytest.mark.parametrize("urls", [[], ["localhost:6066"], ["ftp://x"]])
def test_a_client_needs_the_address_of_a_worker(urls: list[str]) -> None:
    with pytest.raises(ValueError, match="URL of at least one worker"):
        ClusterMap(urls)
