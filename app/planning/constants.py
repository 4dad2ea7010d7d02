"""What the model of `onhand plan` is made of: each figure, and where it comes from.

Where two machines were measured, the slower one counts: a plan that is too large costs money,
one that is too small costs a night.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Basis(StrEnum):
    """How a figure is known."""

    MEASURED = "measured"
    FITTED = "fitted"  # so that measured figures come out
    CODE = "code"  # it is so because the code says so


class Constant(msgspec.Struct, frozen=True):
    """One figure. where: the document or the file that has it, and under which circumstances."""

    what: str
    value: float
    unit: str
    basis: Basis
    where: str


_PERFORMANCE, _OPERATIONS, _SCALE = "docs/performance.md", "docs/operations.md", "docs/scale.md"
_MEASURED, _FITTED, _CODE = Basis.MEASURED, Basis.FITTED, Basis.CODE

FOLD_PER_S: Final = Constant(
    "a worker folds", 97_662, "events/s", _MEASURED,
    f"{_PERFORMANCE}: a machine of two slow cores; 351,703 on faster ones",
)  # fmt: skip
IDLE_CPU: Final = Constant(
    "a worker that has nothing to do", 0.0137, "cores", _MEASURED, f"{_PERFORMANCE}: 12 partitions"
)
EVENT_CPU_US: Final = Constant(
    "an event of steady traffic", 8.2, "CPU-µs", _FITTED,
    f"{_PERFORMANCE}: 10.8 % of a core at 1,000 events/s, 26.4 % at 20,000",
)  # fmt: skip
COMMIT_CPU_MS: Final = Constant(
    "a commit of a partition", 0.72, "CPU-ms", _FITTED, f"{_PERFORMANCE}: the same two points"
)
COMMITS_PER_S: Final = Constant(
    "commits of a worker, at most", 150, "a second", _CODE, "tables/groupcommit.py"
)
COMMIT_INTERVAL_S: Final = Constant(
    "commits of a partition, one each", 0.1, "s", _CODE, "ONHAND_COMMIT_INTERVAL_MS"
)
BASE_MB: Final = Constant(
    "memory of a worker", 230, "MB", _MEASURED, f"{_OPERATIONS}: both processes, 12 partitions"
)
OWNED_MB: Final = Constant(
    "memory of a partition that is counted", 20, "MB", _MEASURED,
    f"{_OPERATIONS}: 50,000 rows and three full windows, with what the allocator loses",
)  # fmt: skip
ROW_ON_DISK: Final = Constant("a row in RocksDB", 60, "bytes", _MEASURED, _OPERATIONS)
ROW_IN_LOG: Final = Constant(
    "a row in the changelog", 96, "bytes", _MEASURED, f"{_OPERATIONS}: key 20, value 76"
)
CHANGELOG_BYTES: Final = Constant(
    "changelog written by an event, before it is compacted", 77, "bytes", _MEASURED,
    f"{_OPERATIONS}: 500 events/s; 27 while a backlog is folded",
)  # fmt: skip
EVENT_PACKED: Final = Constant(
    "an event on the brokers, large lz4 batches", 53, "bytes", _MEASURED, _OPERATIONS
)
EVENT_PLAIN: Final = Constant(
    "an event on the brokers, small batches uncompressed", 261, "bytes", _MEASURED, _OPERATIONS
)
WINDOW: Final = Constant("duplicates window", 100_000, "offsets", _CODE, "ONHAND_DEDUP_WINDOW")
WINDOW_ENTRY: Final = Constant("an id in a window", 16, "bytes", _CODE, "core/window.py")
RESTORE_PER_S: Final = Constant(
    "a worker restores", 252_000, "records/s", _MEASURED,
    f"{_PERFORMANCE}: a machine of two slow cores; 1,005,683 on faster ones",
)  # fmt: skip
START_S: Final = Constant("a worker starts", 2, "s", _MEASURED, f"{_OPERATIONS}: disk kept")
START_PARTITION_S: Final = Constant(
    "and for each partition", 0.1, "s", _MEASURED, f"{_OPERATIONS}: 12 partitions in 2.3 s in all"
)
TAKE_OVER_S: Final = Constant(
    "a partition is taken over", 0.0133, "s", _MEASURED,
    f"{_PERFORMANCE}: 12 in 0.16 s at most, all of a worker's at once",
)  # fmt: skip
PLACING_S: Final = Constant(
    "placing, for each partition squared, times the root of the workers",
    1.9e-6,
    "CPU-s",
    _FITTED,
    _SCALE,
)
BEAT_BYTES: Final = Constant(
    "a heartbeat", 170, "bytes", _CODE, "web/cluster/heartbeats.py, as JSON"
)
CLAIM_BYTES: Final = Constant(
    "and for each partition that is held", 230, "bytes", _CODE, "the same, offsets of nine digits"
)
BEATS_PER_S: Final = Constant(
    "heartbeats of a worker", 2, "a second", _CODE, "web/cluster/members.py"
)
STORE_FILES: Final = Constant(
    "open files of a partition, at most", 128, "files", _CODE, "tables/home/rocks.py"
)
OPEN_FILES: Final = Constant(
    "open files that a worker asks for", 65_536, "files", _CODE, "app/descriptors.py"
)
SESSION_S: Final = Constant("session timeout", 10, "s", _CODE, "ONHAND_SESSION_TIMEOUT_MS")

CONSTANTS: Final = tuple(
    value for value in list(globals().values()) if isinstance(value, Constant)
)  # fmt: skip
