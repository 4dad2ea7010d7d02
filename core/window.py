"""The duplicates window of one topic-partition: what was accepted lately.

The rule: an event at offset o is a duplicate if an accepted event at an offset in
[o - W, o) has the same (source, id) and the same type and data; with other type or data it
is a conflict. Neither is remembered, so at most one entry of an identity is alive at any
offset, and the decisions are a pure function of the log: they depend neither on where the
log was cut into batches nor on when entries moved from the tail to the table.

Kept are 56 bits of the identity and 32 of the content. With W = 100,000 an event meets a
stranger's 56 bits once in 2^56 / W = 7 x 10^11 events. It is then taken for a conflict and
is in the dead letters; for a repetition only if SKU, location, type and quantity are the
same as well. A true conflict passes as a repetition at most once in 2^32 conflicts.

Memory: a worker holds a window for each topic-partition (36 and more), so no dict of all
ids (about 150 bytes each). Entries rest in a table of three arrays, 12 bytes an entry and
0.7 for the index; the newest wait in a small set until a merge is worth its 0.6 ms.

In the changelog the window is a set of segments, each 16 bytes an entry, written in the
transaction that applied the events. Thin traffic makes small segments, parts; they are
joined into blocks of `BLOCK_ENTRIES`, and the parts and what expired are tombstoned. A
segment that comes back from the dead (a store older than the changelog's tombstones) does no
harm: it says again what others say, or what is too old to count.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import takewhile
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

IDENTITY_BITS = 56
MAX_WINDOW = 1 << 21  # entries keep their offset as a distance of 22 bits
BLOCK_ENTRIES = 4096
MAX_PARTS = 256
SEGMENT_PREFIX = b"\x00w"

# With another slice of 500, as many as fit a Python set of 4,096 slots.
_TAIL_ENTRIES = 1900

# An index of 2^14 buckets: 14 bits of the identity are where an entry stands, the other 42
# share one word with the distance.
_BUCKETS = 1 << 14
_BUCKET_SHIFT = np.uint64(42)
_REST_MASK = np.uint64((1 << 42) - 1)
_DISTANCE_BITS = np.uint64(22)
_DISTANCE_MASK = np.uint64((1 << 22) - 1)

_ENTRY = np.dtype([("identity", "<u8"), ("content", "<u4"), ("offset", "<i8")])
_STORED = np.dtype([("identity", "<u8"), ("content", "<u4"), ("distance", "<u4")])

Entries: TypeAlias = NDArray[np.void]  # of dtype _ENTRY
Numbers: TypeAlias = Sequence[int] | NDArray[Any]


class Verdict(Enum):
    """What an event is that is not new."""

    REPEATED = "repeated"
    CONFLICT = "conflict"


class Taken(Struct, frozen=True):
    """What one group commit writes for a window, and which of its keys it deletes."""

    segments: list[tuple[bytes, bytes]]
    expired: list[bytes]


class Seen(Struct, frozen=True):
    """What the owner of a partition knows of some identities in one source topic.

    next_offset: records below it are handled, and that is committed.
    since: from this offset on the window holds every entry.
    size: W, in offsets; 0 remembers nothing.
    entries: (identity, content, offset) of accepted events, by offset.
    """

    next_offset: int
    since: int
    size: int
    entries: Sequence[tuple[int, int, int]]


class Window:
    """What one topic-partition accepted in its last `size` offsets.

    Args:
        topic: full name; part of the segments' keys.
        size: W, in offsets, 1 to `MAX_WINDOW`; 0 remembers nothing.
    """

    def __init__(self, topic: str, size: int) -> None:
        if not 0 <= size <= MAX_WINDOW:
            raise ValueError(f"a duplicates window of {size} is not between 0 and {MAX_WINDOW}")
        self.topic = topic
        self.size = size
        self._table = _Table.empty()
        # The newest, not yet in the table: as entries in the order of offsets, and by name.
        self._newest: list[Entries] = []
        self._tail: set[int] = set()
        self._untaken: list[Entries] = []
        self._parts: dict[int, Entries] = {}  # by first offset, not yet in a block
        self._part_entries = 0  # in all of them
        self._ends: dict[int, int] = {}  # first -> last offset of each stored segment, ascending

    @classmethod
    def load(
        cls, topic: str, size: int, segments: Iterable[tuple[bytes, bytes]], next_offset: int
    ) -> "Window":
        """Rebuild the window from its segments, in any order.

        Args:
            topic: full name; segments of other topics are skipped.
            size: W, in offsets.
            segments: keys and values as `take` gave them.
            next_offset: the meta record's position: where reading goes on.
        """
        window = cls(topic, size)
        stored: list[Entries] = []
        for key, value in sorted(segments):
            name, first = parse_key(key)
            if name == topic:
                stored.append(entries := _unpack(first, value))
                window._ends[first] = int(entries["offset"][-1])
                if entries.size < BLOCK_ENTRIES:
                    window._add_part(first, entries)
        entries = _joined(stored)
        window._table = window._table.merged(entries, next_offset - size)
        return window

    def judge(self, offsets: Numbers, identities: Numbers, contents: Numbers) -> dict[int, Verdict]:
        """Tell which events are not new, and remember those that are.

        Args:
            offsets: ascending, above all judged before.
            identities: `IDENTITY_BITS` of a hash of source and id.
            contents: 32 bits of a hash of type and data.

        Returns:
            A verdict by index for each event that is not new; usually nothing.
        """
        if not self.size or not len(offsets):
            return {}
        entries = _entries(identities, contents, offsets)
        known = self._table.find(entries, self.size)
        fresh = set(entries["identity"].tolist())
        verdicts: dict[int, Verdict] = {}
        if known or len(fresh) < entries.size or not self._tail.isdisjoint(fresh):
            known |= self._among_newest(entries)
            verdicts = self._judge_each(entries, known)
            entries = np.delete(entries, list(verdicts))
        self._tail |= fresh
        self._newest.append(entries)
        self._untaken.append(entries)
        if len(self._tail) > _TAIL_ENTRIES:
            # Of an identity that is twice among the newest, one is below the new floor.
            newest, self._newest, self._tail = _joined(self._newest), [], set()
            self._table = self._table.merged(newest, int(offsets[-1]) + 1 - self.size)
        return verdicts

    def entries_of(self, identities: Numbers) -> list[tuple[int, int, int]]:
        """Look up what is still held, without judging or remembering anything.

        Returns:
            (identity, content, offset) of every entry of these identities, by offset; also
            of what was folded a moment ago and is not committed yet.
        """
        return self.as_now()(identities)

    def as_now(self) -> Callable[[Numbers], list[tuple[int, int, int]]]:
        """Return `entries_of` as it answers now, for who may ask after more was judged.

        Costs nothing until it is called: arrays of entries are never changed, only replaced.
        """
        table, parts = self._table, list(self._newest)

        def entries_of(identities: Numbers) -> list[tuple[int, int, int]]:
            wanted, newest = np.unique(np.asarray(identities, np.uint64)), _joined(parts)
            held = [table.matching(wanted)[1], newest[np.isin(newest["identity"], wanted)]]
            return sorted(_joined(held).tolist(), key=lambda entry: entry[2])

        return entries_of

    @property
    def since(self) -> int:
        """The offset from which on every entry is still held."""
        return max(0, self._table.floor)

    def _among_newest(self, entries: Entries) -> dict[int, tuple[int, int]]:
        """Offset and content, by identity, of those that wait to be merged."""
        newest = _joined(self._newest)
        return _described(newest[np.isin(newest["identity"], entries["identity"])])

    def _judge_each(
        self, entries: Entries, known: dict[int, tuple[int, int]]
    ) -> dict[int, Verdict]:
        """One by one, for a slice in which something was seen before."""
        verdicts: dict[int, Verdict] = {}
        for i, (identity, content, offset) in enumerate(entries.tolist()):
            seen_at, seen = known.get(identity, (-1, 0))
            if seen_at < max(0, offset - self.size):
                known[identity] = offset, content
            else:
                verdicts[i] = Verdict.REPEATED if seen == content else Verdict.CONFLICT
        return verdicts

    def take(self, next_offset: int) -> Taken:
        """Give what a group commit must write; counts as written from now on.

        Args:
            next_offset: the group's position in this topic.
        """
        floor = next_offset - self.size
        gone = [first for first, _ in takewhile(lambda end: end[1] < floor, self._ends.items())]
        for first in gone:
            del self._ends[first]
            if first in self._parts:
                self._part_entries -= self._parts.pop(first).size
        entries, self._untaken = _joined(self._untaken), []
        if entries.size and (
            entries.size + self._part_entries >= BLOCK_ENTRIES or len(self._parts) >= MAX_PARTS
        ):
            gone += self._parts
            entries = self._join(entries)
        segments: dict[int, Entries] = {}
        for start in range(0, entries.size, BLOCK_ENTRIES):
            segment = entries[start : start + BLOCK_ENTRIES]
            first = int(segment["offset"][0])
            segments[first] = segment
            self._ends[first] = int(segment["offset"][-1])
            if segment.size < BLOCK_ENTRIES:
                self._add_part(first, segment.copy())  # not the whole array beneath
        return Taken(
            segments=[(_key(self.topic, first), _pack(e)) for first, e in segments.items()],
            # A block takes the key of its first part.
            expired=[_key(self.topic, first) for first in gone if first not in segments],
        )

    def _add_part(self, first: int, entries: Entries) -> None:
        self._parts[first] = entries
        self._part_entries += entries.size

    def _join(self, fresh: Entries) -> Entries:
        """Put the parts and what is fresh together, and forget the parts."""
        entries = _joined([*self._parts.values(), fresh])
        for first in self._parts:
            del self._ends[first]
        self._parts, self._part_entries = {}, 0
        # A part that came back from the dead may hold what another one holds.
        return entries[np.unique(entries["offset"], return_index=True)[1]]

    def nbytes(self) -> int:
        """Measure the memory held, in bytes."""
        held = {id(e): e for e in (*self._parts.values(), *self._newest, *self._untaken)}
        arrays = sum(entries.nbytes for entries in held.values())
        return self._table.nbytes() + arrays + sys.getsizeof(self._tail) + 32 * len(self._tail)


class _Table(Struct, frozen=True, gc=False):
    """Entries in buckets by the top bits of their identity; never changed, only replaced.

    floor: offset that the entries' distances count from; older entries are dropped.
    words: the identity's other 42 bits and the distance of 22, together 8 bytes.
    contents: 4 bytes an entry.
    starts: where in the other two each bucket begins, and the end of the last.
    """

    floor: int
    words: NDArray[np.uint64]
    contents: NDArray[np.uint32]
    starts: NDArray[np.int32]

    @classmethod
    def empty(cls) -> "_Table":
        return cls(
            0,
            np.empty(0, np.uint64),
            np.empty(0, np.uint32),
            np.zeros(_BUCKETS + 1, np.int32),
        )

    def nbytes(self) -> int:
        return self.words.nbytes + self.contents.nbytes + self.starts.nbytes

    def find(self, asking: Entries, size: int) -> dict[int, tuple[int, int]]:
        """Return offset and content, by identity, of entries within `size` of the asker."""
        asker, found = self.matching(asking["identity"])
        return _described(found[found["offset"] >= asking["offset"][asker] - size])

    def matching(self, wanted: NDArray[np.uint64]) -> tuple[NDArray[np.intp], Entries]:
        """Return the entries of these identities, and beside each the place of its asker."""
        if not self.words.size:
            return np.empty(0, np.intp), np.empty(0, _ENTRY)
        bucket = (wanted >> _BUCKET_SHIFT).astype(np.intp)
        start = self.starts[bucket]
        count = self.starts[bucket + 1] - start
        # For each candidate: who asks, and its place.
        asker = np.repeat(np.arange(wanted.size), count)
        place = np.arange(asker.size) + np.repeat(start - (np.cumsum(count) - count), count)
        same = np.flatnonzero((self.words[place] >> _DISTANCE_BITS) == (wanted & _REST_MASK)[asker])
        found = np.empty(same.size, _ENTRY)
        asker, place = asker[same], place[same]
        found["identity"] = wanted[asker]
        found["content"] = self.contents[place]
        found["offset"] = (self.words[place] & _DISTANCE_MASK).astype(np.int64) + self.floor
        return asker, found

    def merged(self, entries: Entries, floor: int) -> "_Table":
        """Return a table with these too, without what is older than `floor`.

        Args:
            entries: none of an identity that the table has at `floor` or later.
            floor: at least the table's own.
        """
        entries = entries.compress(entries["offset"] >= floor)
        # Within a bucket any order will do, and numpy sorts 16 bits in a few passes. `take`
        # moves whole entries ten times as fast as an index in brackets.
        bucket = (entries["identity"] >> _BUCKET_SHIFT).astype(np.uint16)
        order = np.argsort(bucket, kind="stable")
        bucket, entries = bucket.take(order), entries.take(order)
        distance = (entries["offset"] - floor).astype(np.uint64)
        words = ((entries["identity"] & _REST_MASK) << _DISTANCE_BITS) | distance
        contents = entries["content"].copy()
        added = np.zeros(_BUCKETS + 1, np.int32)
        np.cumsum(np.bincount(bucket, minlength=_BUCKETS), dtype=np.int32, out=added[1:])
        if not self.words.size:
            return _Table(floor, words, contents, added)

        # 1. Keep what is young enough; its distances shrink.
        aged = np.uint64(min(floor - self.floor, MAX_WINDOW))
        alive = (self.words & _DISTANCE_MASK) >= aged
        before = np.zeros(alive.size + 1, np.int32)
        np.cumsum(alive.view(np.int8), dtype=np.int32, out=before[1:])
        starts = before[self.starts]
        # 2. Each new entry goes to the end of its bucket; they are in bucket order.
        place = starts[bucket + 1] + np.arange(bucket.size)
        is_old = np.ones(before[-1] + place.size, np.bool_)
        is_old[place] = False
        merged_words = np.empty(is_old.size, np.uint64)
        merged_words[is_old] = self.words[alive] - aged
        merged_words[place] = words
        merged_contents = np.empty(is_old.size, np.uint32)
        merged_contents[is_old] = self.contents[alive]
        merged_contents[place] = contents
        return _Table(floor, merged_words, merged_contents, starts + added)


def parse_key(key: bytes) -> tuple[str, int]:
    """Split a segment's key into topic and first offset."""
    return key[len(SEGMENT_PREFIX) : -9].decode(), int.from_bytes(key[-8:])


def _key(topic: str, first: int) -> bytes:
    return SEGMENT_PREFIX + topic.encode() + b"\x00" + first.to_bytes(8)


def _entries(identities: Numbers, contents: Numbers, offsets: Numbers) -> Entries:
    entries = np.empty(len(identities), _ENTRY)
    entries["identity"], entries["content"], entries["offset"] = identities, contents, offsets
    return entries


def _described(entries: Entries) -> dict[int, tuple[int, int]]:
    """Offset and content by identity; of one that is twice, the last."""
    pairs = zip(entries["offset"].tolist(), entries["content"].tolist(), strict=True)
    return dict(zip(entries["identity"].tolist(), pairs, strict=True))


def _joined(parts: Sequence[Entries]) -> Entries:
    return np.concatenate(parts) if parts else np.empty(0, _ENTRY)


def _pack(entries: Entries) -> bytes:
    stored = np.empty(entries.size, _STORED)
    stored["identity"], stored["content"] = entries["identity"], entries["content"]
    stored["distance"] = entries["offset"] - entries["offset"][0]
    return stored.tobytes()


def _unpack(first: int, value: bytes) -> Entries:
    stored = np.frombuffer(value, _STORED)
    entries = np.empty(stored.size, _ENTRY)
    entries["identity"], entries["content"] = stored["identity"], stored["content"]
    entries["offset"] = stored["distance"].astype(np.int64) + first
    return entries
