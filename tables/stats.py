"""Plain counters and durations of the data path; the web turns them into metrics."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

from core.refusals import DeadLetter
from core.stages import Role

#: Upper bounds of the commit histogram, in seconds.
COMMIT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


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
        self.commits = 0
        self.commit_seconds = 0.0
        self.commit_buckets = [0] * (len(COMMIT_BUCKETS_S) + 1)

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
        self.commits += 1
        self.commit_seconds += seconds
        slot = sum(seconds > bound for bound in COMMIT_BUCKETS_S)
        self.commit_buckets[slot] += 1
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
