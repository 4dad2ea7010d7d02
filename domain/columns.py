"""A slice of the log as columns: the events of stock that may be applied, and what is refused.

A pure function of the records alone: it needs no partition's memory, so another process
may do it (`tables/decoder.py`). What needs memory is the fold (`core/fold.py`).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple, cast

import numpy as np
from xxhash import xxh3_64_intdigest

from core.columns import HEAD, Columns
from core.partitioning import are_of, partition_for
from core.records import Address, Record, crc_of
from core.refusals import DeadLetter, Refused, dead_letter
from core.window import IDENTITY_BITS
from domain.events import (
    Refusal,
    StockEvent,
    are_good_names,
    check_names,
    contents,
    identity,
)
from domain.rows import row_key
from domain.rules.sets import RuleSet

#: One event. identity: of a hash of source and id. content: of type and data. crc: CRC-32 of
#: source, NUL, id. field: number of the row's field that it changes. amount: by how much.
EVENT: Final = np.dtype([*HEAD, ("crc", "<u4"), ("field", "<i4"), ("amount", "<i4")])


def columns(address: Address, records: Sequence[Record], rules: RuleSet) -> Columns:
    """Decode and check records, which come in offset order.

    Step 1 is the value (`domain/reading.py`), step 2 its address: names, type and topic, key,
    partition. Each step takes all records before the next one begins: Python runs a
    comprehension at twice the speed of a loop.

    Args:
        address: of all of them.
        records: at least one; some hundreds at a time fit the processor's cache.
        rules: by which they are judged.
    """
    return examined(address, records, rules)[0]


def examined(
    address: Address, records: Sequence[Record], rules: RuleSet
) -> tuple[Columns, list[StockEvent]]:
    """The same, and beside each line the event that it was made of: for who keeps all it says."""
    refused: list[DeadLetter] = []
    sound = _addressed(address, _decoded(address, records, rules, refused), refused)
    identities = [identity(event) for event in sound.events]
    events = np.empty(len(identities), EVENT)
    events["offset"] = [record[0] for record in sound.records]
    events["time_ms"] = [record[1] for record in sound.records]
    events["identity"] = list(map(identity_hash, identities, sound.events))
    events["content"] = contents(sound.events, sound.keys)
    events["crc"] = list(map(zlib.crc32, identities))
    events["field"], events["amount"] = rules.effects(sound.events)
    refused.sort(key=attrgetter("offset"))
    first, last = records[0], records[-1]
    found = Columns(sound.keys, events, refused, first[:2], last[:2], crc_of(last))
    return found, sound.events


class _Sound(NamedTuple):
    """Records that passed so far, their events and their rows' keys, side by side."""

    records: Sequence[Record]
    events: list[StockEvent]
    keys: list[bytes]


def _decoded(
    address: Address, records: Sequence[Record], rules: RuleSet, refused: list[DeadLetter]
) -> _Sound:
    """Step 1."""
    values, headers = [record[3] for record in records], [record[4] for record in records]
    outcomes = rules.decode_batch(values, headers)
    events = cast("list[StockEvent]", outcomes)
    if Refused in set(map(type, outcomes)):
        pairs = list(zip(records, outcomes, strict=True))
        events = [event for event in outcomes if not isinstance(event, Refused)]
        refused += [
            dead_letter(address, record, why) for record, why in pairs if isinstance(why, Refused)
        ]
        records = [record for record, event in pairs if not isinstance(event, Refused)]
    return _Sound(records, events, [row_key(e.data.sku, e.data.location) for e in events])


def _addressed(address: Address, sound: _Sound, refused: list[DeadLetter]) -> _Sound:
    """Step 2."""
    records, events, keys = sound
    named = [record[2] for record in records]
    if (
        {kind.role for kind in {type(event) for event in events}} <= {address.role}
        and named == [event.data.sku.encode() for event in events]
        and are_of(address.partition, set(cast("list[bytes]", named)), address.partitions)
        and are_good_names(keys)
    ):
        return sound
    whys = [_misfit(address, *each) for each in zip(named, events, strict=True)]
    refused += [
        dead_letter(address, record, why)
        for record, why in zip(records, whys, strict=True)
        if why is not None
    ]
    kept = [i for i, why in enumerate(whys) if why is None]
    return _Sound(*([column[i] for i in kept] for column in sound))  # type: ignore[arg-type]


def _misfit(address: Address, key: bytes | None, event: StockEvent) -> Refused | None:
    """Refuse names that no path can hold, then an event that came to the wrong address."""
    sku, role = event.data.sku, address.role
    if unspeakable := check_names(sku, event.data.location):
        return unspeakable
    if event.role != role:
        return Refused(Refusal.MISROUTED, f"This type belongs to {event.role}, not to {role}.")
    if not key:
        return Refused(Refusal.MISSING_KEY, "The record has no key; it must be the SKU.")
    if key != sku.encode():
        return Refused(Refusal.KEY_MISMATCH, "The record's key is not data.sku in UTF-8.")
    home = partition_for(key, address.partitions)
    if home != address.partition:
        return Refused(
            Refusal.MISROUTED,
            f"This key belongs to partition {home}, not to {address.partition}: "
            "produce with the murmur2 partitioner.",
        )
    return None


def identity_hash(ident: bytes, event: StockEvent) -> int:
    """Hash an identity for the window; the length of the source says where the NUL stands."""
    return xxh3_64_intdigest(ident, len(event.source)) >> 64 - IDENTITY_BITS


def identity_hash_of(source: str, event_id: str) -> int:
    """Return the same for who asks for an event of this source and id."""
    ident = f"{source}\x00{event_id}".encode()
    return xxh3_64_intdigest(ident, len(source)) >> 64 - IDENTITY_BITS
