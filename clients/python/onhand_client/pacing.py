"""When to ask a second worker, how often to ask again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Callable


class HedgeDelay:
    """How long an answer may take before another worker is asked too.

    What nineteen of twenty answers of late took less than, between two bounds: then one
    request in twenty is sent twice, and a worker that hangs costs little more than usual.

    Args:
        least_s: not to send twice what the network's own moods delay.
        most_s: what a reader takes at most before something is done.
    """

    SAMPLES = 256
    EVERY = 32

    def __init__(self, least_s: float, most_s: float) -> None:
        self._least_s, self.most_s = least_s, most_s
        self._took: list[float] = []
        self._next = 0
        self.seconds = most_s

    def took(self, seconds: float) -> None:
        """A good answer took so long."""
        if len(self._took) < self.SAMPLES:
            self._took.append(seconds)
        else:
            self._took[self._next % self.SAMPLES] = seconds
        self._next += 1
        if self._next % self.EVERY == 0:
            late = sorted(self._took)[int(len(self._took) * 0.95)]
            self.seconds = min(max(late, self._least_s), self.most_s)


class Budget:
    """Requests beyond the first of each call: a share of the calls, so that trouble is not fed.

    Where everything is slow or says no, sending twice makes it worse. A request that failed
    because its worker is gone costs nothing here: the next worker has to be asked.

    Args:
        share: of the calls; 0.2 is one more for every five.
        most: that may be saved up, and that there are to begin with.
    """

    def __init__(self, share: float = 0.2, most: float = 32.0) -> None:
        self._share, self._most = share, most
        self._left = most

    def call(self) -> None:
        """A call began."""
        self._left = min(self._most, self._left + self._share)

    def take(self) -> bool:
        """Whether one more request may be sent at once."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Backoff:
    """How long to wait before the next round, when every worker failed or said no."""

    def __init__(self, first_s: float = 0.05, most_s: float = 1.0) -> None:
        self._next_s, self._most_s = first_s, most_s

    def pause_s(
        self, asked_s: float | None = None, spread: Callable[[], float] = random.random
    ) -> float:
        """Seconds: at least what the workers asked for, some more each time, never all at once."""
        pause_s = self._next_s * (0.5 + spread() * 0.5)
        self._next_s = min(self._next_s * 2, self._most_s)
        # Not before they said; and not everybody at that very moment.
        return max(pause_s, (asked_s or 0.0) * (1 + spread() * 0.1))
