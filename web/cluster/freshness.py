"""How fresh an answer is, as body and headers say it."""

import msgspec
from msgspec import Struct

from core.positions import with_epoch
from core.stages import Freshness, Role
from web.http.times import Time, rfc3339

#: What each header says, for the document.
FRESHNESS_HEADERS = {
    "Onhand-Role": "Who answers: the `active` owner, the `former` one, or a `standby`.",
    "Onhand-Worker": "URL of the worker whose rows these are.",
    "Onhand-Position": "Events up to this opaque token are in the answer; for `min_position`.",
    "Onhand-Lag-Events": "Events in the log, known by `Onhand-As-Of`, that are not in the answer.",
    "Onhand-As-Of": "When a broker last answered this worker for this partition.",
    "Onhand-Version": "The version of the rules whose rows these are.",
    "Onhand-Epoch": "Number of the newest record by which that version is the active one.",
}


class FreshnessBody(Struct, frozen=True, gc=False):
    """`freshness` in every body: who answers, up to where, how far behind, of which version.

    epoch: number of the newest record by which that version is the active one; of one that never
    was, of the newest that is known.
    """

    role: Role
    worker: str
    partition: int
    position: str
    lag_events: int
    as_of: Time
    version: int = 1
    epoch: int = 0


def freshness_body(freshness: Freshness) -> FreshnessBody:
    """The `freshness` object."""
    role, worker, partition, position, lag, as_of_ms, version, epoch = msgspec.structs.astuple(
        freshness
    )
    token = with_epoch(position, epoch)
    return FreshnessBody(role, worker, partition, token, lag, rfc3339(as_of_ms), version, epoch)


def freshness_headers(freshness: FreshnessBody) -> dict[str, str]:
    """The same as headers, so that a 304 and a HEAD say it too."""
    return {
        "Onhand-Role": freshness.role,
        "Onhand-Worker": freshness.worker,
        "Onhand-Position": freshness.position,
        "Onhand-Lag-Events": str(freshness.lag_events),
        "Onhand-As-Of": freshness.as_of,
        "Onhand-Version": str(freshness.version),
        "Onhand-Epoch": str(freshness.epoch),
    }
