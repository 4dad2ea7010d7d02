"""The model: from a load to sizes, and which of them is near a limit.

Every figure is of one worker or of all brokers together, as its name says. Nothing here asks a
machine; `app/planning/constants.py` has the figures, and docs/scale.md says how far to trust them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, sqrt
from typing import Final

import msgspec

from app.planning import constants as its

#: Counts that many numbers of workers divide.
COUNTS: Final = (48, 96, 192, 384, 768, 960)
#: Room for more workers, since the count never changes.
_PARTITIONS_A_WORKER = 4
#: A worker folds at most half of what it could, so that it catches up after it stood still.
_BUSY = 0.5
_TOPICS = 3
_DAY_S, _HOUR_S = 86_400, 3_600


class ExpectedLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be carried.

    events_per_s: at the busiest. rows: pairs of SKU and location. days: of facts that the
    brokers hold. partitions, workers: None leaves them to the model.
    """

    events_per_s: int
    rows: int
    days: int = 365
    partitions: int | None = None
    workers: int | None = None
    standbys: int = 1
    replication: int = 3


class Limit(msgspec.Struct, frozen=True):
    """Something that ends before others do. used: of what there is; 1 is all of it."""

    what: str
    used: float
    then: str


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """What it needs. owned, followed: partitions of a worker, at most.

    placing_cpu_s: of the group's leader, at a rebalance. retry_s: how long after a fact its
    repetition is known, if all facts are of one topic. rebuild_s: all workers together count
    the log anew. *_bytes of brokers: all copies.
    """

    workers: int
    partitions: int
    owned: int
    followed: int
    worker_cpu: float
    worker_memory_mb: float
    worker_disk_bytes: float
    worker_files: int
    commit_interval_s: float
    retry_s: float
    sources_bytes: tuple[float, float]
    changelog_bytes: float
    members_bytes: float
    commits_per_s: float
    beats_bytes_per_s: float
    start_s: float
    take_over_s: float
    placing_cpu_s: float
    restore_s: float
    rebuild_s: float


def plan(load: ExpectedLoad) -> Sizes:
    """The plan for a load."""
    workers = load.workers or _enough_workers(load)
    partitions = load.partitions or _enough_partitions(workers)
    standbys = min(load.standbys, workers - 1)
    owned, followed = ceil(partitions / workers), ceil(partitions * standbys / workers)
    held = owned + followed
    events = load.events_per_s / workers
    interval_s = max(its.COMMIT_INTERVAL_S.value, owned / its.COMMITS_PER_S.value)
    # A partition to which nothing came commits nothing.
    commits = min(owned / interval_s, events)
    log = load.events_per_s * _DAY_S * load.days
    windows = _TOPICS * its.WINDOW.value * its.WINDOW_ENTRY.value
    beats = its.BEATS_PER_S.value * (
        workers * its.BEAT_BYTES.value + partitions * (1 + standbys) * its.CLAIM_BYTES.value
    )
    hour = load.events_per_s * _HOUR_S * its.CHANGELOG_BYTES.value
    share = held / partitions
    return Sizes(
        workers=workers,
        partitions=partitions,
        owned=owned,
        followed=followed,
        worker_cpu=its.IDLE_CPU.value
        + commits * its.COMMIT_CPU_MS.value / 1000
        + events * its.EVENT_CPU_US.value / 1e6,
        worker_memory_mb=its.BASE_MB.value + owned * its.OWNED_MB.value,
        worker_disk_bytes=2 * (share * load.rows * its.ROW_ON_DISK.value + held * windows),
        worker_files=int(held * its.STORE_FILES.value),
        commit_interval_s=interval_s,
        retry_s=its.WINDOW.value * partitions / load.events_per_s,
        sources_bytes=(
            load.replication * log * its.EVENT_PACKED.value,
            load.replication * log * its.EVENT_PLAIN.value,
        ),
        changelog_bytes=load.replication
        * (load.rows * its.ROW_IN_LOG.value + partitions * windows + hour),
        members_bytes=load.replication * beats * _HOUR_S,
        commits_per_s=workers * commits,
        beats_bytes_per_s=beats,
        start_s=its.START_S.value + owned * its.START_PARTITION_S.value,
        take_over_s=owned * its.TAKE_OVER_S.value,
        placing_cpu_s=its.PLACING_S.value * partitions**2 * sqrt(workers),
        restore_s=share * load.rows / its.RESTORE_PER_S.value,
        rebuild_s=log / (workers * its.FOLD_PER_S.value),
    )


def _enough_workers(load: ExpectedLoad) -> int:
    """One may be away while another one restarts; and all fold less than they could."""
    return max(load.standbys + 2, ceil(load.events_per_s / (_BUSY * its.FOLD_PER_S.value)))


def _enough_partitions(workers: int) -> int:
    wanted = _PARTITIONS_A_WORKER * workers
    return next((count for count in COUNTS if count >= wanted), wanted)


#: What ends first, as it is met: its name, how much of it is used, and what happens then.
_LIMITS: tuple[tuple[str, Callable[[ExpectedLoad, Sizes], float], str], ...] = (
    (
        "partitions for the workers",
        lambda load, plan: plan.workers / plan.partitions,
        "a worker more would own nothing",
    ),
    (
        "folding",
        lambda load, plan: load.events_per_s / plan.workers / its.FOLD_PER_S.value,
        "what came while a worker stood still is never made up for",
    ),
    (
        "commits of a worker",
        lambda load, plan: plan.commit_interval_s,
        "a fact waits for more than a second until it is readable: more workers, or fewer "
        "partitions",
    ),
    (
        "open files of a worker",
        lambda load, plan: plan.worker_files / its.OPEN_FILES.value,
        "connections are refused, then the worker ends: more workers",
    ),
    (
        "placing within the session timeout",
        lambda load, plan: plan.placing_cpu_s / its.SESSION_S.value,
        "the leader is taken for dead while it places: raise ONHAND_SESSION_TIMEOUT_MS",
    ),
    (
        "taking over within the session timeout",
        lambda load, plan: plan.take_over_s / its.SESSION_S.value,
        "it begins anew again and again: more workers, or raise ONHAND_SESSION_TIMEOUT_MS",
    ),
)


def limits(load: ExpectedLoad, planned: Sizes) -> list[Limit]:
    """All limits, the nearest one first."""
    found = [Limit(what, used(load, planned), then) for what, used, then in _LIMITS]
    return sorted(found, key=lambda limit: -limit.used)
