"""What is on hand: rows, and the fold that makes them from events.

This is the article's join: a full outer join of shipments and sales on (SKU, location),
materialised. All here is a pure function of the log.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

    changed: rows by "sku NUL location". segments: of the duplicates windows, key and value.
    expired: keys of segments to delete. positions: next offset by topic.
    """

    changed: dict[str, Row]
    dead_letters: list[DeadLetter]
    segments: list[tuple[bytes, bytes]]
    expired: list[bytes]
    positions: dict[str, int]
    counts: dict[str, Counts]

    def encoded(self, size: int) -> Iterator[dict[bytes, bytes]]:
        """Rows as they are written, `size` at a time: 1,000 take about a millisecond."""
        changed = iter(self.changed.items())
        while piece := {name.encode(): _encode(row) for name, row in islice(changed, size)}:
            yield piece

    @property
    def rows(self) -> dict[bytes, bytes]:
        """All at once."""
        return next(self.encoded(len(self.changed)), {})


Load: TypeAlias = Callable[[list[bytes]], Sequence[Row | None]]


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
        # By "sku NUL location". A row is here only if its names are sound and its SKU
        # belongs to this partition, so a hit needs no further check of either.
        self.rows: dict[str, Row] = {}
        # What was folded since the last group; few, so the processor's cache holds them.
        self.dirty: dict[str, Row] = {}
        self.travelling: dict[str, Row] = {}
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
        name = key.decode()
        return self.dirty.get(name) or self.rows.get(name, NO_STOCK)


# A record that may be applied: itself, its event, its row's name in `PartitionState.rows`.
_Sound: TypeAlias = tuple[Record, StockEvent, str]
_RefusedRecords: TypeAlias = list[tuple[Record, Refused]]


def fold(state: PartitionState, topic: str, records: Sequence[Record], load: Load) -> None:
    """Fold records of one topic, in offset order, into the partition's memory.

    Records below the position are a redelivery and are skipped. For each other record:

    1. decode and check it (`domain/events.py`);
    2. check its address: type and topic, key, partition, in this order;
    3. look it up in the duplicates window;
    4. apply it: the row, its number of events, its checksum, its time.

    What fails 1 or 2, or repeats an id with other content in 3, becomes a dead letter.

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
    sound = _sound(state, topic, records, load, refused)
    fresh, crcs = _unseen(state.windows[topic], sound, refused)
    rows, dirty = state.rows, state.dirty
    for (record, event, name), crc in zip(fresh, crcs, strict=True):
        row = dirty.get(name) or rows[name]
        dirty[name] = apply(row, event, crc, record[1])
    state.dead_letters += _dead_letters(state.partition, topic, refused)
    old = state.counts[topic]
    state.counts[topic] = Counts(
        old.applied + len(fresh),
        old.repeated + len(records) - len(fresh) - len(refused),
        old.refused + len(refused),
    )
    state.positions[topic] = records[-1][0] + 1


def _sound(
    state: PartitionState,
    topic: str,
    records: Sequence[Record],
    load: Load,
    refused: _RefusedRecords,
) -> list[_Sound]:
    """Steps 1 and 2; then the rows of all that passed are in memory."""
    role, rows, dirty = state.topics[topic], state.rows, state.dirty
    sound: list[_Sound] = []
    missing: dict[str, None] = {}
    for record, event in zip(records, decode_batch([record[3] for record in records]), strict=True):
        if isinstance(event, Refused):
            refused.append((record, event))
            continue
        data = event.data
        name = f"{data.sku}\x00{data.location}"
        # A row in memory vouches for its names and its SKU's partition.
        known = name in dirty or name in rows
        if not known or record[2] != data.sku.encode() or event.role != role:
            if why := _misfit(state, role, record[2], event):
                refused.append((record, why))
                continue
            if not known:
                missing[name] = None
        sound.append((record, event, name))
    if missing:
        if state.all_in_memory:
            rows.update(dict.fromkeys(missing, NO_STOCK))
        else:
            found = load([name.encode() for name in missing])
            rows.update((name, row or NO_STOCK) for name, row in zip(missing, found, strict=True))
    return sound


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


def _unseen(
    window: Window, sound: list[_Sound], refused: _RefusedRecords
) -> tuple[list[_Sound], list[int]]:
    """Step 3: return the events not seen before, and the CRC-32 of each one's identity."""
    identities = [identity(event) for _, event, _ in sound]
    verdicts = window.judge(
        [record[0] for record, _, _ in sound],
        [fingerprint(ident, one[1].source) for ident, one in zip(identities, sound, strict=True)],
        [content(event) for _, event, _ in sound],
    )
    crcs = [zlib.crc32(ident) for ident in identities]
    if not verdicts:
        return sound, crcs
    for i, verdict in verdicts.items():
        if verdict is Verdict.CONFLICT:
            refused.append((sound[i][0], _CONFLICT))
    unseen = [i for i in range(len(sound)) if i not in verdicts]
    return [sound[i] for i in unseen], [crcs[i] for i in unseen]


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
    for name, row in state.dirty.items():
        state.rows.pop(name, None)  # to the end: the last to be forgotten
        state.rows[name] = row
    state.travelling, state.dirty, state.dead_letters = state.dirty, {}, []
    _trim(state)
    return group


def _trim(state: PartitionState) -> None:
    """Once there are too many rows, forget a quarter: those idle for the most groups."""
    rows = state.rows
    if len(rows) - len(state.travelling) <= state.max_rows:
        return
    state.all_in_memory = False
    idle = (name for name in rows if name not in state.travelling)
    for name in list(islice(idle, len(rows) - state.max_rows * 3 // 4)):
        del rows[name]
