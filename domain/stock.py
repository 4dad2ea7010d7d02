"""The fold, which makes rows of stock from events.

This is the article's join: a full outer join of shipments and sales on (SKU, location),
materialised. All here is a pure function of the log.
"""

import zlib
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, cast

from msgspec import Struct
from xxhash import xxh3_64_intdigest

from domain.events import (
    Refusal,
    Refused,
    StockEvent,
    are_good_names,
    check_names,
    contents,
    decode_batch,
    identity,
)
from domain.partitioning import partition_for
from domain.records import Record
from domain.rows import MAX_CACHED_ROWS, Changed, Load, Rows, row_key
from domain.window import IDENTITY_BITS, Verdict, Window


class Counts(NamedTuple):
    """Records of one source topic by what became of them."""

    applied: int = 0
    repeated: int = 0
    refused: int = 0


class DeadLetter(Struct, frozen=True, gc=False):
    """A refused record exactly as it came, and why; `detail` is ASCII."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    reason: Refusal
    detail: str


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


_RefusedRecords: TypeAlias = list[tuple[Record, Refused]]


class PartitionState:
    """What an owner folds into: one partition's memory, between the store and the log.

    Changed by `fold` and `take_group` only. Lost with its owner, and built again from what
    was committed (`restored`). After an exception it is poisoned: drop it.
    (`domain.lookup.PartitionState` names the steps of a partition's life.)

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
        # A row is here only if its names are sound and its SKU belongs to this partition,
        # so a hit needs no further check of either.
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
    ) -> "PartitionState":
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


def fold(state: PartitionState, topic: str, records: Sequence[Record], load: Load) -> None:
    """Fold records of one topic, in offset order, into the partition's memory.

    Records below the position are a redelivery and are skipped. For each other record:

    1. decode and check it (`domain/events.py`);
    2. check its address: type and topic, key, partition, in this order;
    3. look it up in the duplicates window;
    4. apply it: the row, its number of events, its checksum, its time.

    What fails 1 or 2, or repeats an id with other content in 3, becomes a dead letter.
    Each step takes all records before the next one begins: Python runs a comprehension at
    twice the speed of a loop.

    Args:
        state: the partition's memory.
        topic: full name.
        records: a few hundred, so that the event loop gets its turn in between.
        load: committed rows by key, one call for all that are not in memory.
    """
    position = state.positions.get(topic, 0)
    if records and records[0][0] < position:
        records = [record for record in records if record[0] >= position]
    if not records:
        return
    refused: _RefusedRecords = []
    sound = _addressed(state, topic, _decoded(records, refused), load, refused)
    fresh, crcs = _unseen(state.windows[topic], sound, refused)
    state.rows.add(fresh.keys, fresh.events, crcs, [record[1] for record in fresh.records])
    state.dead_letters += _dead_letters(state.partition, topic, refused)
    old, applied = state.counts[topic], len(crcs)
    state.counts[topic] = Counts(
        old.applied + applied,
        old.repeated + len(records) - applied - len(refused),
        old.refused + len(refused),
    )
    state.positions[topic] = records[-1][0] + 1


class _Sound(NamedTuple):
    """Records that may be applied, their events and their rows' keys, side by side."""

    records: Sequence[Record]
    events: Sequence[StockEvent]
    keys: Sequence[bytes]

    def without(self, dropped: Container[int]) -> "_Sound":
        """Leave out those at these indexes."""
        kept = [i for i in range(len(self.keys)) if i not in dropped]
        return _Sound(*([column[i] for i in kept] for column in self))  # type: ignore[arg-type]


def _decoded(records: Sequence[Record], refused: _RefusedRecords) -> _Sound:
    """Step 1."""
    outcomes = decode_batch([record[3] for record in records])
    events = cast("list[StockEvent]", outcomes)
    if Refused in set(map(type, outcomes)):
        pairs = list(zip(records, outcomes, strict=True))
        events = [event for event in outcomes if not isinstance(event, Refused)]
        refused += [(record, why) for record, why in pairs if isinstance(why, Refused)]
        records = [record for record, event in pairs if not isinstance(event, Refused)]
    return _Sound(records, events, [row_key(e.data.sku, e.data.location) for e in events])


def _addressed(
    state: PartitionState, topic: str, sound: _Sound, load: Load, refused: _RefusedRecords
) -> _Sound:
    """Step 2; then the rows of all that passed are in memory.

    A row in memory vouches for its names and its SKU's partition.
    """
    role, rows = state.topics[topic], state.rows
    records, events, keys = sound
    unknown = rows.missing(keys)
    suspects: Iterable[int] = range(len(keys))
    if {event.role for event in events} <= {role} and (
        [record[2] for record in records] == [event.data.sku.encode() for event in events]
    ):
        usual = not unknown or _are_usual(state, unknown)
        suspects = () if usual else [i for i, key in enumerate(keys) if key in unknown]
    misfits = {i: why for i in suspects if (why := _misfit(state, role, records[i][2], events[i]))}
    if misfits:
        refused += [(records[i], why) for i, why in misfits.items()]
        sound = sound.without(misfits)
    if unknown:
        rows.load(list(dict.fromkeys(key for key in sound.keys if key in unknown)), load)
    return sound


def _are_usual(state: PartitionState, keys: set[bytes]) -> bool:
    """Tell whether `_misfit` surely refuses none of these rows: seen at once for all."""
    skus = {key.partition(b"\x00")[0] for key in keys}
    homes = {partition_for(sku, state.partitions) for sku in skus}
    return homes == {state.partition} and are_good_names(keys)


def _misfit(
    state: PartitionState, role: str, key: bytes | None, event: StockEvent
) -> Refused | None:
    """Refuse names that no path can hold, then an event that came to the wrong address."""
    sku = event.data.sku
    if unspeakable := check_names(sku, event.data.location):
        return unspeakable
    if event.role != role:
        return Refused(Refusal.MISROUTED, f"This type belongs to {event.role}, not to {role}.")
    if not key:
        return Refused(Refusal.MISSING_KEY, "The record has no key; it must be the SKU.")
    if key != sku.encode():
        return Refused(Refusal.KEY_MISMATCH, "The record's key is not data.sku in UTF-8.")
    home = partition_for(key, state.partitions)
    if home != state.partition:
        return Refused(
            Refusal.MISROUTED,
            f"This key belongs to partition {home}, not to {state.partition}: "
            "produce with the murmur2 partitioner.",
        )
    return None


def _unseen(window: Window, sound: _Sound, refused: _RefusedRecords) -> tuple[_Sound, list[int]]:
    """Step 3: return the events not seen before, and the CRC-32 of each one's identity."""
    identities = [identity(event) for event in sound.events]
    verdicts = window.judge(
        [record[0] for record in sound.records],
        [fingerprint(i, e.source) for i, e in zip(identities, sound.events, strict=True)],
        contents(sound.events, sound.keys),
    )
    if verdicts:
        conflicts = [i for i, verdict in verdicts.items() if verdict is Verdict.CONFLICT]
        refused += [(sound.records[i], _CONFLICT) for i in conflicts]
        identities = [ident for i, ident in enumerate(identities) if i not in verdicts]
        sound = sound.without(verdicts)
    return sound, list(map(zlib.crc32, identities))


def fingerprint(ident: bytes, source: str) -> int:
    """Hash an identity for the window; the length of `source` says where the NUL stands."""
    return xxh3_64_intdigest(ident, len(source)) >> 64 - IDENTITY_BITS


_CONFLICT: Final = Refused(
    Refusal.ID_CONFLICT,
    "This source gave the same id to another fact lately; send it again with a new id.",
)


def _dead_letters(partition: int, topic: str, refused: _RefusedRecords) -> list[DeadLetter]:
    """In offset order, since conflicts are found after the others."""
    return [
        DeadLetter(topic, partition, *record, reason=why.reason, detail=why.detail)
        for record, why in sorted(refused, key=lambda pair: pair[0][0])
    ]


def take_group(state: PartitionState) -> Group:
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
