"""Peak memory with every duplicates window full: each topic has what it remembers."""

from bench.facts.events import EVEN, SOURCES
from bench.facts.load import Load, load
from bench.harness.contest import Arena, Result, TopicSet, play
from bench.harness.progress import say
from bench.onhand.contestant import Onhand

WINDOW_OFFSETS = 100_000  # the default of ONHAND_DEDUP_WINDOW, of each topic-partition
# Keys do not spread quite evenly: the emptiest partition must have its window full too.
SURPLUS = 1.1


def fold_with_full_windows(arena: Arena, window: int = WINDOW_OFFSETS) -> Result:
    """One worker folds evenly spread events, a window and a tenth on each topic-partition."""
    events = int(window * SURPLUS * len(SOURCES) * arena.partitions)
    plan = Load(events=events, partitions=arena.partitions, seed=7, zipf=0.0, shares=EVEN)
    say(f"windows full: loading {events:,} events, evenly on all topics")
    prefix, oracle = next(iter(load(arena.kafka, {f"{arena.run}.even.": events}, plan).items()))
    installation = Onhand(
        arena,
        topics=TopicSet(prefix, oracle),
        label=", windows full",
        settings={"ONHAND_DEDUP_WINDOW": str(window)},
    )
    return play(installation, arena, with_restore=False)
