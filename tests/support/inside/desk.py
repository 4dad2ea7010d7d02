"""One worker's reads over a shelf, and what was counted of them."""

from __future__ import annotations

from typing import Any

from tests.support.inside.shelf import TOPICS, Shelf
from web.cluster.heartbeats import Heartbeat
from web.cluster.roster import Roster
from web.http.bodies import BodyLimits
from web.reads.queries import Queries

ME = Heartbeat(version=1, rules=1, build="", url="http://me", instance="me", sequence=0)


class Desk:
    """Reads of the version and at the address that the heartbeat says.

    Args:
        me: this worker.
        shelf: its rows; None: an empty one.
        **more: what `Queries` takes besides.
    """

    def __init__(self, me: Heartbeat = ME, shelf: Shelf | None = None, **more: Any) -> None:
        self.shelf = Shelf(4, me.url) if shelf is None else shelf
        self.roster = Roster(me)
        #: Role and outcome of each read that it answered.
        self.counted: list[tuple[str, str]] = []
        self.queries = Queries(
            self.shelf, self.roster, TOPICS, me.version, BodyLimits(), self._count, **more
        )

    def _count(self, role: str, outcome: str, seconds: float) -> None:
        self.counted.append((role, outcome))
