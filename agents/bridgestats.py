"""What a bridge counted since it started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agents.translating import Translated


class BridgeStats:
    """Committed alone. read, left: records. facts: by role. refused: records by reason."""

    def __init__(self) -> None:
        self.read = self.left = self.commits = 0
        self.commit_seconds = 0.0
        self.facts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def on_commit(self, seconds: float, group: Sequence[Translated]) -> None:
        """Count one transaction."""
        self.commits += 1
        self.commit_seconds += seconds
        for made in group:
            self.read += made.read
            self.left += made.left
            self.facts.update(fact.role for fact in made.facts)
            self.refused.update(letter.reason for letter in made.letters)

    def sentence(self) -> str:
        """All of it, for the log."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.refused.items()))
        return (
            f"{self.read:,} records read, {sum(self.facts.values()):,} facts written, "
            f"{self.left:,} left out by the map, {sum(self.refused.values()):,} refused"
            f"{f' ({reasons})' if reasons else ''}"
        )
