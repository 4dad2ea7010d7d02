"""One partition's memory of any projection, between the log and the store.

All here is a pure function of the log: it depends neither on the clock nor on where the log
was cut into slices.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from core.columns import Columns
from core.projection import Emitted, Load, Projection, Rows
from core.records import Address, Record
from core.refusals import ID_CONFLICT, DeadLetter, Refused, dead_letter
from core.window import Verdict, Window


class Counts(NamedTuple):
    """Records of one source topic by what became of them."""

    applied: int = 0
    repeated: int = 0
    refused: int = 0


class Group(Struct, frozen=True):
    """What one commit makes durable, all or nothing.

    rows: those that changed. emitted: records for other topics. segments: of the duplicates
    windows, key and value. expired: keys to delete, of segments that are too old and of rows
    that are no more. positions: next offset by topic. new: keys of the rows that the store has
    not yet; None where that is not known.
    """

    rows: Rows
    emitted: Iterable[Emitted]
    dead_letters: list[DeadLetter]
    segments: list[tuple[bytes, bytes]]
    expired: list[bytes]
    positions: dict[str, int]
    counts: dict[str, Counts]
    new: Sequence[bytes] | None = None


class Fold:
    """What an owner folds into: one partition's memory, between the store and the log.

    Changed by `fold` and `take_group` only. Lost with its owner, and built again from what
    was committed (`restored`). After an exception it is poisoned: drop it.

    Args:
        projection: what is counted.
        partition: 0 to `partitions` - 1.
        partitions: how many each source topic has.
        topics: full names of the sources.
        window: W of the duplicates windows, in offsets; not used without identity.
        empty: the store has no rows, so none need be asked for.
    """

    def __init__(
        self,
        projection: Projection,
        partition: int,
        partitions: int,
        topics: Iterable[str],
        window: int,
        *,
        empty: bool = False,
    ) -> None:
        topics = list(topics)
        self.positions: dict[str, int] = {}
        self.counts = {topic: Counts() for topic in topics}
        self.windows = {topic: Window(topic, window) for topic in topics if projection.identity}
        self.memory = projection.memory(partition, partitions, empty=empty)
        self.dead_letters: list[DeadLetter] = []

    @classmethod
    def restored(
        cls,
        projection: Projection,
        *,
        partition: int,
        partitions: int,
        topics: Iterable[str],
        window: int,
        positions: Mapping[str, int],
        counts: Mapping[str, tuple[int, int, int]],
        segments: Iterable[tuple[bytes, bytes]],
        empty: bool = False,
    ) -> "Fold":
        """Begin where the meta record and the windows' segments in the store say."""
        state = cls(projection, partition, partitions, topics, window, empty=empty)
        state.positions.update(positions)
        state.counts.update({topic: Counts(*counted) for topic, counted in counts.items()})
        stored = list(segments)
        for topic in state.windows:
            next_offset = positions.get(topic, 0)
            state.windows[topic] = Window.load(topic, window, stored, next_offset)
        return state


def fold(
    state: Fold,
    address: Address,
    columns: Columns,
    load: Load,
    originals: Callable[[], Iterable[Record]],
) -> None:
    """Fold events of one topic, in offset order, into the partition's memory.

    Records below the position are a redelivery and are skipped. Each other event is looked
    up in the duplicates window, if the projection has one, and is given to its memory if it is
    new. What repeats an id with other content becomes a dead letter, as what the projection
    refused did before.

    Args:
        state: the partition's memory.
        address: where the events came from.
        columns: a few hundred, so that the event loop gets its turn in between.
        load: committed rows by key, one call for all that are not in memory.
        originals: the records that `columns` was made of, for dead letters; seldom called.

    Raises:
        NotARow: what the store gave is no row.
    """
    topic = address.topic
    columns = columns.since(state.positions.get(topic, 0))
    if not columns.size:
        return
    size, refused = columns.size, columns.refused
    if (window := state.windows.get(topic)) is not None:
        events = columns.events
        verdicts = window.judge(events["offset"], events["identity"], events["content"])
        if verdicts:
            conflicts = [i for i, verdict in verdicts.items() if verdict is Verdict.CONFLICT]
            refused = refused + _conflicting(address, events["offset"][conflicts], originals)
            columns = columns.without(verdicts)
    state.memory.add(columns, load)
    state.dead_letters += sorted(refused, key=attrgetter("offset"))
    old, applied = state.counts[topic], len(columns.keys)
    state.counts[topic] = Counts(
        old.applied + applied,
        old.repeated + size - applied - len(refused),
        old.refused + len(refused),
    )
    state.positions[topic] = columns.last[0] + 1


CONFLICT: Final = Refused(
    ID_CONFLICT,
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


def take_group(state: Fold) -> Group:
    """Take what was folded since the last group, to be committed; folding may go on.

    One group travels at a time: taking the next one says that the last is in the store,
    so that rows which are in neither can leave memory and be loaded again.
    """
    positions = dict(state.positions)
    taken = {topic: window.take(positions.get(topic, 0)) for topic, window in state.windows.items()}
    changes = state.memory.take()
    group = Group(
        rows=changes.rows,
        emitted=changes.emitted,
        dead_letters=state.dead_letters,
        segments=[segment for each in taken.values() for segment in each.segments],
        expired=[*(key for each in taken.values() for key in each.expired), *changes.gone],
        positions=positions,
        counts=dict(state.counts),
        new=changes.new,
    )
    state.dead_letters = []
    return group
