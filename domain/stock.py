"""The fold, which makes rows of stock from events.

This is the article's join: a full outer join of shipments and sales on (SKU, location),
materialised. All here is a pure function of the log.
"""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from core.records import Address, Record
from core.window import Verdict, Window
from domain.columns import Columns, DeadLetter, dead_letter
from domain.events import Refusal, Refused
from domain.rows import MAX_CACHED_ROWS, Changed, Load, Rows


class Counts(NamedTuple):
    """Records of one source topic by what became of them."""

    applied: int = 0
    repeated: int = 0
    refused: int = 0


class Group(Struct, frozen=True):
    """What one commit makes durable, all or nothing.

    changed: rows. segments: of the duplicates windows, key and value.
    expired: keys of segments to delete. positions: next offset by topic.
    """

    changed: Changed
    dead_letters: list[DeadLetter]
    segments: list[tuple[bytes, bytes]]
    expired: list[bytes]
    positions: dict[str, int]
    counts: dict[str, Counts]


class Memory:
    """What an owner folds into: one partition's memory, between the store and the log.

    Changed by `fold` and `take_group` only. Lost with its owner, and built again from what
    was committed (`restored`). After an exception it is poisoned: drop it.

    Args:
        partition: 0 to `partitions` - 1.
        partitions: how many each source topic has.
        topics: role (`shipments`, `sales`, `adjustments`) by full topic name.
        window: W of the duplicates windows, in offsets.
        max_rows: see `Rows`.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        topics: Mapping[str, str],
        window: int,
        max_rows: int = MAX_CACHED_ROWS,
    ) -> None:
        self.partition, self.partitions = partition, partitions
        self.topics = dict(topics)
        self.positions: dict[str, int] = {}
        self.counts = {topic: Counts() for topic in topics}
        self.windows = {topic: Window(topic, window) for topic in topics}
        self.rows = Rows(max_rows)
        self.dead_letters: list[DeadLetter] = []

    @classmethod
    def restored(
        cls,
        *,
        partition: int,
        partitions: int,
        topics: Mapping[str, str],
        window: int,
        positions: Mapping[str, int],
        counts: Mapping[str, tuple[int, int, int]],
        segments: Iterable[tuple[bytes, bytes]],
        empty: bool = False,
    ) -> "Memory":
        """Begin where the meta record and the windows' segments in the store say.

        `empty`: the store has no rows, so none need be asked for.
        """
        state = cls(partition, partitions, topics, window)
        state.positions.update(positions)
        state.counts.update({topic: Counts(*counted) for topic, counted in counts.items()})
        state.rows.all_in_memory = empty
        stored = list(segments)
        for topic in topics:
            next_offset = positions.get(topic, 0)
            state.windows[topic] = Window.load(topic, window, stored, next_offset)
        return state


def fold(
    state: Memory,
    address: Address,
    columns: Columns,
    load: Load,
    originals: Callable[[], Iterable[Record]],
) -> None:
    """Fold events of one topic, in offset order, into the partition's memory.

    Records below the position are a redelivery and are skipped. Each other event is looked
    up in the duplicates window and, if it is new, added to its row. What repeats an id with
    other content becomes a dead letter, as what `domain/columns.py` refused did before.

    Args:
        state: the partition's memory.
        address: where the events came from.
        columns: a few hundred, so that the event loop gets its turn in between.
        load: committed rows by key, one call for all that are not in memory.
        originals: the records that `columns` was made of, for dead letters; seldom called.
    """
    topic = address.topic
    columns = columns.since(state.positions.get(topic, 0))
    if not columns.size:
        return
    size, refused, events = columns.size, columns.refused, columns.events
    verdicts = state.windows[topic].judge(events["offset"], events["identity"], events["content"])
    if verdicts:
        conflicts = [i for i, verdict in verdicts.items() if verdict is Verdict.CONFLICT]
        refused = refused + _conflicting(address, events["offset"][conflicts], originals)
        columns = columns.without(verdicts)
    state.rows.add(columns.keys, columns.events, load)
    state.dead_letters += sorted(refused, key=attrgetter("offset"))
    old, applied = state.counts[topic], len(columns.keys)
    state.counts[topic] = Counts(
        old.applied + applied,
        old.repeated + size - applied - len(refused),
        old.refused + len(refused),
    )
    state.positions[topic] = columns.last[0] + 1


CONFLICT: Final = Refused(
    Refusal.ID_CONFLICT,
    "This source gave the same id to another fact lately; send it again with a new id.",
)


def _conflicting(
    address: Address, offsets: NDArray[np.int64], originals: Callable[[], Iterable[Record]]
) -> list[DeadLetter]:
    wanted = set(offsets.tolist())
    return [
        dead_letter(address, record, CONFLICT)
        for record in (originals() if wanted else ())
        if record[0] in wanted
    ]


def take_group(state: Memory) -> Group:
    """Take what was folded since the last group, to be committed; folding may go on.

    One group travels at a time: taking the next one says that the last is in the store,
    so that rows which are in neither can leave memory and be loaded again.
    """
    positions = dict(state.positions)
    taken = {topic: window.take(positions.get(topic, 0)) for topic, window in state.windows.items()}
    group = Group(
        changed=state.rows.take(),
        dead_letters=state.dead_letters,
        segments=[segment for each in taken.values() for segment in each.segments],
        expired=[key for each in taken.values() for key in each.expired],
        positions=positions,
        counts=dict(state.counts),
    )
    state.dead_letters = []
    return group
