"""What may not be folded: a record, why, and a sentence for whoever has to mend it."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from core.records import Address, Record

#: Reasons that any fold has; each projection has an enum of its own that holds these and more.
RECORD_TOO_LARGE: Final = "too_large"  # represented since it was read: `core.records.TooLarge`
ID_CONFLICT: Final = "id_conflict"  # the duplicates window has the same id with other content


class Refused(Struct, frozen=True, gc=False):
    """A record that was not applied. `detail` is one ASCII sentence for a person.

    reason: one word of the projection's closed set.
    """

    reason: str
    detail: str


class DeadLetter(Struct, frozen=True, gc=False):
    """A refused record exactly as it came, and why; `detail` is ASCII."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    reason: str
    detail: str


def dead_letter(address: Address, record: Record, why: Refused) -> DeadLetter:
    """Keep a refused record."""
    return DeadLetter(address.topic, address.partition, *record, why.reason, why.detail)
