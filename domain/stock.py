"""What is on hand: rows, and the fold that makes them from events.

This is the article's join: a full outer join of shipments and sales on (SKU, location),
materialised. All here is a pure function of the log.
"""

import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeAlias, assert_never

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from domain.events import (
    Refusal,
    Refused,
    SaleCompleted,
    SaleReturned,
    ShipmentDispatched,
    ShipmentReceived,
    StockAdjusted,
    StockEvent,
    check_names,
    content,
    decode_batch,
    identity,
)
from domain.partitioning import partition_for
from domain.records import Record
from domain.window import IDENTITY_BITS, Verdict, Window

#: Rows that a partition keeps in memory, dirty ones aside: about 450 bytes each.
MAX_CACHED_ROWS: Final = 50_000
_CHECKSUM_MASK: Final = 2**64 - 1
_encode = msgspec.json.Encoder().encode


class Row(Struct, frozen=True, omit_defaults=True, gc=False):
    """Stock of one SKU at one location: sums of its events, nothing of a worker's own.

    events: how many were applied. checksum: sum of CRC-32 of `source NUL id` of each,
    mod 2^64; with `events` it finds a lost or doubled one. updated_at: greatest recorded
    time of its events, ms since the epoch. As JSON this is the changelog's and the
    store's value.
    """

    received: int = 0
    dispatched: int = 0
    sold: int = 0
    returned: int = 0
    adjusted: int = 0
    events: int = 0
    checksum: int = 0
    updated_at: int = 0

    @property
    def on_hand(self) -> int:
        """Below zero where a sale came before its shipment."""
        return self.received - self.dispatched - self.sold + self.returned + self.adjusted


NO_STOCK: Final = Row()


def apply(row: Row, event: StockEvent, crc: int, recorded_ms: int) -> Row:
    """The rule. `crc` is the CRC-32 of the event's identity, which the fold knows already."""
    received, dispatched, sold = row.received, row.dispatched, row.sold
    returned, adjusted = row.returned, row.adjusted
    match event:
        case SaleCompleted(data=goods):
            sold += goods.quantity
        case ShipmentReceived(data=goods):
            received += goods.quantity
        case ShipmentDispatched(data=goods):
            dispatched += goods.quantity
        case SaleReturned(data=goods):
            returned += goods.quantity
        case StockAdjusted(data=change):
            adjusted += change.quantity
        case _:
            assert_never(event)
    # One call: each `replace` would cost as much again.
    return Row(
        received,
        dispatched,
        sold,
        returned,
        adjusted,
        row.events + 1,
        (row.checksum + crc) & _CHECKSUM_MASK,
        recorded_ms if recorded_ms > row.updated_at else row.updated_at,
    )


def row_key(sku: str, location: str) -> bytes:
    """Key in the changelog and the store: all rows of a SKU are neighbours."""
    return f"{sku}\x00{location}".encode()


def split_key(key: bytes) -> tuple[str, str]:
    """Undo `row_key`; names hold no NUL."""
    sku, _, location = key.decode().partition("\x00")
    return sku, location


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

    changed: rows by key. segments: of the duplicates windows, key and value.
    expired: keys of segments to delete. positions: next offset by topic.
    """

    changed: dict[bytes, Row]
    dead_letters: list[DeadLetter]
    segments: list[tuple[bytes, bytes]]
    expired: list[bytes]
    positions: dict[str, int]
    counts: dict[str, Counts]

    def encoded(self, size: int) -> Iterator[dict[bytes, bytes]]:
        """Rows as they are written, `size` at a time: 1,000 take about a millisecond."""
        changed = iter(self.changed.items())
        while piece := {key: _encode(row) for key, row in islice(changed, size)}:
            yield piece

    @property
    def rows(self) -> dict[bytes, bytes]:
        """All at once."""
        return next(self.encoded(len(self.changed)), {})


Load: TypeAlias = Callable[[list[bytes]], Sequence[Row | None]]
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
        max_rows: rows kept in memory beside those not yet in the store.
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
        self.max_rows = max_rows
        self.positions: dict[str, int] = {}
        self.counts = {topic: Counts() for topic in topics}
        self.windows = {topic: Window(topic, window) for topic in topics}
        # By key. A row is here only if its names are sound and its SKU belongs to this
        # partition, so a hit needs no further check of either.
        self.rows: dict[bytes, Row] = {}
        # What was folded since the last group; few, so the processor's cache holds them.
        self.dirty: dict[bytes, Row] = {}
        self.travelling: dict[bytes, Row] = {}
        self.dead_letters: list[DeadLetter] = []
        # A table that is counted from the first event on need not ask the store for rows
        # that cannot be there; until some of them leave memory.
        self.all_in_memory = False

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
        state.all_in_memory = empty
        stored = list(segments)
        for topic in topics:
            next_offset = positions.get(topic, 0)
            state.windows[topic] = Window.load(topic, window, stored, next_offset)
        return state

    def row(self, key: bytes) -> Row:
        """A row as folded so far, if in memory; for tests."""
        return self.dirty.get(key) or self.rows.get(key, NO_STOCK)


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
    rows, dirty = state.rows, state.dirty
    for record, event, key, crc in zip(*fresh, crcs, strict=True):
        dirty[key] = apply(dirty.get(key) or rows[key], event, crc, record[1])
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
    events = [event for event in outcomes if not isinstance(event, Refused)]
    if len(events) < len(outcomes):
        pairs = list(zip(records, outcomes, strict=True))
        refused += [(record, why) for record, why in pairs if isinstance(why, Refused)]
        records = [record for record, event in pairs if not isinstance(event, Refused)]
    return _Sound(records, events, [row_key(e.data.sku, e.data.location) for e in events])


def _addressed(
    state: PartitionState, topic: str, sound: _Sound, load: Load, refused: _RefusedRecords
) -> _Sound:
    """Step 2; then the rows of all that passed are in memory.

    A row in memory vouches for its names and its SKU's partition.
    """
    role, rows, dirty = state.topics[topic], state.rows, state.dirty
    records, events, keys = sound
    unknown = {key for key in keys if key not in dirty and key not in rows}
    suspects: Iterable[int] = range(len(keys))
    if {event.role for event in events} <= {role} and (
        [record[2] for record in records] == [event.data.sku.encode() for event in events]
    ):
        if not unknown:
            return sound
        suspects = [i for i, key in enumerate(keys) if key in unknown]
    misfits = {i: why for i in suspects if (why := _misfit(state, role, records[i][2], events[i]))}
    if misfits:
        refused += [(records[i], why) for i, why in misfits.items()]
        sound = sound.without(misfits)
    _load_rows(state, list(dict.fromkeys(key for key in sound.keys if key in unknown)), load)
    return sound


def _load_rows(state: PartitionState, missing: list[bytes], load: Load) -> None:
    """Bring these rows into memory."""
    if state.all_in_memory:
        state.rows.update(dict.fromkeys(missing, NO_STOCK))
    elif missing:
        found = load(missing)
        state.rows.update((key, row or NO_STOCK) for key, row in zip(missing, found, strict=True))


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
        list(map(content, sound.events, sound.keys)),
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
        changed=state.dirty,
        dead_letters=state.dead_letters,
        segments=[segment for each in taken.values() for segment in each.segments],
        expired=[key for each in taken.values() for key in each.expired],
        positions=positions,
        counts=dict(state.counts),
    )
    state.rows.update(state.dirty)
    state.travelling, state.dirty, state.dead_letters = state.dirty, {}, []
    _trim(state)
    return group


def _trim(state: PartitionState) -> None:
    """Once there are too many rows, forget a quarter: those that came first, but for the dirty."""
    rows = state.rows
    if len(rows) - len(state.travelling) <= state.max_rows:
        return
    state.all_in_memory = False
    idle = (key for key in rows if key not in state.travelling)
    for key in list(islice(idle, len(rows) - state.max_rows * 3 // 4)):
        del rows[key]
