"""Plain counters and durations of the data path; the web turns them into metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from domain.stock import DeadLetter

#: Upper bounds of the commit histogram, in seconds.
COMMIT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Stats:
    """Since the worker started. applied, repeated and refused count records by topic."""

    def __init__(self) -> None:
        self.applied: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.commits = 0
        self.commit_seconds = 0.0
        self.commit_buckets = [0] * (len(COMMIT_BUCKETS_S) + 1)

    def on_commit(self, seconds: float, letters: Sequence[DeadLetter]) -> None:
        self.commits += 1
        self.commit_seconds += seconds
        slot = sum(seconds > bound for bound in COMMIT_BUCKETS_S)
        self.commit_buckets[slot] += 1
        self.dead_letters.update(letter.reason.value for letter in letters)
