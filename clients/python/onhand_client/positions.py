"""Positions: how far answers were, so that later ones are no older.

A position is `topic-partition@offset`, joined by commas, and perhaps `control@epoch`. It is read
from the right, since a topic may hold dots, dashes and digits. Parts of no known kind are ignored.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

#: What Kafka lets a topic be called.
_TOPIC = re.compile(r"[A-Za-z0-9._-]+")
#: Before what `export` writes: which form it is in.
_FORM = "1."
#: More than any position is long, unpacked: what comes in a cookie may be anything.
_MOST_BYTES = 1_000_000
#: A request line may have 8,190 bytes; some are for path and filters.
_MOST_CHARS = 6_000


class Positions:
    """The highest position seen of each topic and partition, and the highest epoch."""

    def __init__(self, token: str = "") -> None:
        self._seen: dict[int, dict[str, int]] = {}
        self._epoch = 0
        self._tokens: dict[int, str] = {}
        #: Partitions with an own write that no answer has held yet.
        self._awaited: set[int] = set()
        self.see(token)

    def see(self, token: str) -> None:
        """An answer was at this position."""
        offsets, epoch = _read(token)
        if epoch > self._epoch:
            self._epoch = epoch
            self._tokens.clear()
        for (topic, partition), offset in offsets.items():
            known = self._seen.setdefault(partition, {})
            if offset > known.get(topic, -1):
                known[topic] = offset
                self._tokens.pop(partition, None)

    def wrote(self, token: str) -> None:
        """A write is in the log at this position; the next answer may have to wait for it."""
        offsets, _ = _read(token)
        self._awaited.update(partition for _, partition in offsets)
        self.see(token)

    def answered(self, token: str) -> None:
        """An answer to a request that named all that was known is at this position."""
        if self._awaited:
            self._awaited.difference_update(partition for _, partition in _read(token)[0])
        self.see(token)

    def awaits(self, partition: int | None) -> bool:
        """Whether an answer may have to wait for an own write."""
        return bool(self._awaited) if partition is None else partition in self._awaited

    def floor(self, partition: int) -> str:
        """For `min_position` of a read of this partition; empty if any answer will do."""
        token = self._tokens.get(partition)
        if token is None:
            token = self._tokens[partition] = self._write((partition,))
        return token

    def floor_of_all(self, partitions: Iterable[int] | None = None) -> str:
        """For a read of several, as far as a request line has room: the rest is checked after."""
        wanted = sorted(self._seen if partitions is None else partitions)
        token = self._write(wanted)
        while len(token) > _MOST_CHARS:
            wanted = wanted[: len(wanted) * _MOST_CHARS // (len(token) + 1)]
            token = self._write(wanted)
        return token

    def token(self) -> str:
        """All of it, as one position."""
        return self._write(sorted(self._seen))

    def export(self) -> str:
        """As a short text of letters, digits and `.-_`: for a cookie or a header."""
        packed = base64.urlsafe_b64encode(zlib.compress(self.token().encode(), 9))
        return _FORM + packed.decode().rstrip("=")

    def _write(self, partitions: Iterable[int]) -> str:
        parts = [
            f"{topic}-{partition}@{offset}"
            for partition in partitions
            for topic, offset in sorted(self._seen.get(partition, {}).items())
        ]
        if self._epoch:
            parts.append(f"control@{self._epoch}")
        return ",".join(parts)


def imported(text: str) -> str:
    """The position in what `Positions.export` wrote; a plain position is taken too.

    Raises:
        ValueError: it is neither. Start without one then.
    """
    if not text or "@" in text:
        return text
    try:
        if not text.startswith(_FORM):
            raise ValueError
        packed = text.removeprefix(_FORM).encode("ascii")
        data = base64.b64decode(packed + b"=" * (-len(packed) % 4), b"-_", validate=True)
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(data, _MOST_BYTES)
        if not unpacker.eof:
            raise ValueError
        return plain.decode("ascii")
    except (ValueError, binascii.Error, zlib.error):
        raise ValueError(f"This is no exported session: {text[:40]!a}") from None


def covers(position: str, floor: str) -> bool:
    """Whether an answer at this position is no older than the floor.

    A topic that it does not name says nothing: the worker may not know it.
    """
    if not floor or position == floor:
        return True
    (offsets, epoch), (least, least_epoch) = _read(position), _read(floor)
    if 0 < epoch < least_epoch:
        return False
    return all(offset >= least.get(place, -1) for place, offset in offsets.items())


@lru_cache(maxsize=4096)
def _read(token: str) -> tuple[Mapping[tuple[str, int], int], int]:
    offsets: dict[tuple[str, int], int] = {}
    epoch = 0
    for part in token.split(",") if token else ():
        place, _, offset_text = part.strip().rpartition("@")
        offset = _number(offset_text)
        if offset is None:
            continue
        if place == "control":
            epoch = max(epoch, offset)
            continue
        topic, _, partition_text = place.rpartition("-")
        partition = _number(partition_text)
        # What is read here goes into addresses again, and may have come in a cookie.
        if _TOPIC.fullmatch(topic) and partition is not None:
            offsets[topic, partition] = max(offset, offsets.get((topic, partition), 0))
    return offsets, epoch


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
