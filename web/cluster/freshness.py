"""How fresh an answer is, as body and headers say it."""

import msgspec
from msgspec import Struct

from core.stages import Freshness, Role
from web.http.times import Time, rfc3339


class FreshnessBody(Struct, frozen=True, gc=False):
    """`freshness` in every body: who answers, up to where, how far behind."""

    role: Role
    worker: str
    partition: int
    position: str
    lag_events: int
    as_of: Time


def freshness_body(freshness: Freshness) -> FreshnessBody:
    """The `freshness` object."""
    role, worker, partition, position, lag, as_of_ms = msgspec.structs.astuple(freshness)
    return FreshnessBody(role, worker, partition, position, lag, rfc3339(as_of_ms))


def freshness_headers(freshness: FreshnessBody) -> dict[str, str]:
    """The same as headers, so that a 304 and a HEAD say it too."""
    return {
        "Onhand-Role": freshness.role,
        "Onhand-Worker": freshness.worker,
        "Onhand-Position": freshness.position,
        "Onhand-Lag-Events": str(freshness.lag_events),
        "Onhand-As-Of": freshness.as_of,
    }
