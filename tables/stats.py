"""Plain counters and durations of the data path; the web turns them into metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from time import time

from core.refusals import DeadLetter
from core.stages import Role

#: Upper bounds of the commit histogram, in seconds.
COMMIT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Durations:
    """A histogram. prometheus_client's own takes six times as long, and each read is in one."""

    __slots__ = ("_bounds", "_counts", "seconds", "since")

    def __init__(self, bounds: Sequence[float]) -> None:
        """bounds: upper ones, in seconds, each within its bucket; ascending."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0
        #: When counting began, in seconds since the epoch.
        self.since = time()

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds

    @property
    def count(self) -> int:
        """How many."""
        return sum(self._counts)

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Each bound and how many were not above it, as Prometheus has them."""
        names = (*map(str, self._bounds), "+Inf")
        return zip(names, map(float, accumulate(self._counts)), strict=True)


class Stats:
    """Since the worker started. applied, repeated and refused count records by topic."""

    def __init__(self) -> None:
        self.applied: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.restored = 0
        #: Restores that began with an empty store, by partition, and what the store was for.
        self.restores: Counter[tuple[int, Role]] = Counter()
        #: Stores that were given up since what the disk gave back was not what was written.
        self.stores_damaged = 0
        self.commits = Durations(COMMIT_BUCKETS_S)

    def on_commit(
        self,
        seconds: float,
        before: Mapping[str, Sequence[int]],
        after: Mapping[str, Sequence[int]],
        letters: Sequence[DeadLetter],
    ) -> None:
        """Count one commit; before and after: (applied, repeated, refused) by topic."""
        for topic, counts in after.items():
            old = before.get(topic, (0, 0, 0))
            self.applied[topic] += counts[0] - old[0]
            self.repeated[topic] += counts[1] - old[1]
            self.refused[topic] += counts[2] - old[2]
        self.commits.observe(seconds)
        self.dead_letters.update(letter.reason for letter in letters)


class Span:
    """How much recorded time the last `size` offsets of a topic-partition took.

    Samples about every fiftieth of the window; unknown until they span all of it.
    """

    def __init__(self, size: int) -> None:
        self._size, self._step = size, max(1, size // 50)
        self._samples: deque[tuple[int, int]] = deque()

    def saw(self, offset: int, timestamp_ms: int) -> None:
        """Note one record, in offset order."""
        samples = self._samples
        if samples and offset - samples[-1][0] < self._step:
            return
        samples.append((offset, timestamp_ms))
        while len(samples) > 1 and samples[1][0] <= offset - self._size:
            samples.popleft()

    def seconds(self) -> float:
        """Infinite while fewer offsets have been seen than the window holds."""
        if not self._samples or self._samples[-1][0] - self._samples[0][0] < self._size:
            return float("inf")
        return (self._samples[-1][1] - self._samples[0][1]) / 1000
