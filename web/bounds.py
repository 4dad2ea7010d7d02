"""How fresh an answer from several partitions is: as its worst part."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from domain.lookup import Role
from web.replies import FreshnessBody

_RANK = {Role.ACTIVE: 0, Role.FORMER: 1, Role.STANDBY: 2}


def worst(parts: Sequence[FreshnessBody]) -> FreshnessBody:
    """One freshness that promises no more than any of `parts`, of which there is at least one.

    `role`, `lag_events` and `as_of` are each the worst of all; worker, partition and
    position are those of the part that is worst in that order.
    """
    return msgspec.structs.replace(
        max(parts, key=lambda part: (_RANK[part.role], part.lag_events, part.as_of)),
        lag_events=max(part.lag_events for part in parts),
        as_of=min(part.as_of for part in parts),
    )
