"""Names and sizes of a table, as `app/wiring.py` gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from core.projection import Projection


class TableConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Names and sizes of one table.

    projection: what it counts.
    topics: what the projection calls each source ("shipments", …), by full topic name.
    outputs: full name of each topic that is emitted to, by what the projection calls it; each
        has as many partitions as the sources.
    kafka: keyword arguments of an aiokafka client.
    window: of the duplicates windows, in offsets; 0 for a projection without identity.
    """

    projection: Projection
    kafka: dict[str, Any]
    topics: dict[str, str]
    outputs: dict[str, str] = {}
    changelog: str
    dead_letters: str
    transactional_id: Callable[[int], str]
    partitions: int
    window: int
    commit_interval_s: float
    session_timeout_s: float
    url: str

    @property
    def written(self) -> list[str]:
        """Topics that its transactions write."""
        return [self.changelog, self.dead_letters, *self.outputs.values()]
