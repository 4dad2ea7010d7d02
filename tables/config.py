"""Names and sizes of a table, as `app/wiring.py` gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class TableConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Names and sizes of one table.

    topics: role ("shipments", "sales", "adjustments") of each source, by full topic name.
    kafka: keyword arguments of an aiokafka client.
    """

    kafka: dict[str, Any]
    topics: dict[str, str]
    changelog: str
    dead_letters: str
    transactional_id: Callable[[int], str]
    partitions: int
    window: int
    commit_interval_s: float
    session_timeout_s: float
    url: str
