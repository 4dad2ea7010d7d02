"""Two workers with one address: who of them is in the wrong."""

from __future__ import annotations

from tables.tasks import Final
from web.cluster.heartbeats import Heartbeat, WorkerState

#: One more may be on its way when a process is killed, and its successor would hear its ghost.
_ENOUGH = 2


class AddressTaken(Final):
    """Another worker has the address of this one; says what to do."""


class AddressWatch:
    """Watches who else says that it is reached where this worker is.

    Requests for either go to one of them, who may not hold what was asked for. The one
    whose first heartbeat came later ends, as soon as the other has sent two after it.
    """

    def __init__(self, me: Heartbeat) -> None:
        self._me = me
        self._is_known = False
        #: Of those who were here before this worker, how many heartbeats came since.
        self._since: dict[str, int] = {}

    def hear(self, beat: Heartbeat) -> None:
        """Take one heartbeat in, in log order; raises AddressTaken."""
        if beat.url != self._me.url:
            return
        if beat.instance == self._me.instance:
            self._is_known = True
        elif not self._is_known:
            self._since[beat.instance] = 0
        elif beat.instance in self._since and beat.state is WorkerState.RUNNING:
            self._since[beat.instance] += 1
            if self._since[beat.instance] == _ENOUGH:
                raise AddressTaken(
                    f"Another worker is reached at {beat.url}, too, and was there first: give "
                    "each worker an ONHAND_URL of its own, not that of a load balancer."
                )
