"""What operators see: who holds what, as the heartbeats say."""

import math

from core.stages import Role
from tables.home.feed import Progress
from tests.unit.web.fakes import a_status
from web.cluster.heartbeats import Claim, Heartbeat, WorkerState
from web.cluster.roster import WorkerView
from web.operations.ops import ClusterBody, PartitionBody, cluster_body, held_body


def a_worker(
    name: str,
    *claims: Claim,
    alive: bool = True,
    routed: bool = True,
    state: WorkerState = WorkerState.RUNNING,
    version: int = 1,
) -> WorkerView:
    beat = Heartbeat(
        version=version,
        rules=1,
        build="0.1.0",
        url=f"http://{name}",
        instance=name,
        sequence=1,
        state=state,
        claims=claims,
    )
    return WorkerView(beat, alive=alive, routed=routed, silent_s=0.123, this=name == "a")


def a_claim(role: Role | None, handled: int = 10, partition: int = 0) -> Claim:
    return Claim(
        partition=partition,
        state="restoring" if role is None else str(role),
        role=role,
        handled=handled,
        position=f"sales-{partition}@{handled - 1}",
        lag_events=3,
        as_of_ms=1795428000180,
        restore_done=4 if role is None else None,
        restore_total=8 if role is None else None,
    )


def only(cluster: ClusterBody) -> PartitionBody:
    (partition,) = cluster.partitions
    return partition


def test_a_partition_shows_its_owner_its_standbys_and_who_is_loading() -> None:
    cluster = cluster_body(
        1,
        1,
        [
            a_worker("a", a_claim(Role.STANDBY, handled=8)),
            a_worker("b", a_claim(Role.ACTIVE)),
            a_worker("c", a_claim(None)),
        ],
    )

    partition = only(cluster)
    assert partition.active is not None
    assert partition.active.worker == "http://b"
    assert partition.active.position == "sales-0@9"
    assert [standby.worker for standby in partition.standbys] == ["http://a"]
    assert [loader.worker for loader in partition.loading] == ["http://c"]
    assert partition.loading[0].restore is not None
    assert (partition.loading[0].restore.done, partition.loading[0].restore.total) == (4, 8)
    assert [(worker.active, worker.standby) for worker in cluster.workers] == [
        (0, 1),
        (1, 0),
        (0, 0),
    ]


def test_of_two_that_call_themselves_active_the_further_one_is() -> None:
    # The other slept through a rebalance.
    woken, owner = a_claim(Role.ACTIVE, handled=10), a_claim(Role.ACTIVE, handled=12)

    partition = only(cluster_body(1, 1, [a_worker("a", woken), a_worker("b", owner)]))

    assert partition.active is not None
    assert partition.active.worker == "http://b"
    assert [standby.worker for standby in partition.standbys] == ["http://a"]


def test_a_silent_worker_is_listed_and_holds_nothing() -> None:
    silent = a_worker("b", a_claim(Role.ACTIVE), alive=False, routed=False)

    cluster = cluster_body(1, 1, [a_worker("a"), silent])

    assert [(worker.url, worker.alive) for worker in cluster.workers] == [
        ("http://a", True),
        ("http://b", False),
    ]
    assert only(cluster).active is None


def test_a_worker_of_another_version_holds_nothing_of_this_one() -> None:
    other = a_worker("b", a_claim(Role.ACTIVE, partition=7), routed=False, version=2)

    cluster = cluster_body(1, 1, [other])

    assert cluster.workers[0].version == 2
    assert only(cluster).active is None


def test_a_claim_beyond_the_partitions_of_this_version_is_passed_over() -> None:
    cluster = cluster_body(1, 1, [a_worker("b", a_claim(Role.ACTIVE, partition=7))])

    assert only(cluster).active is None


def test_a_restore_without_a_rate_has_no_time_left_to_tell() -> None:
    held = held_body(a_status(0, restore=Progress(0, 100, 0.0, math.inf)))

    assert held.restore is not None
    assert held.restore.eta_s is None
