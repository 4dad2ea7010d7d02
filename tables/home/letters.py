"""Dead letters read back: the inverse of what `tables/home/changelog.py` writes.

Reads Kafka alone, so it works while every worker is down. All readers here read
committed: a dead letter of an aborted commit was never written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer

from wire.fetch import Stored
from wire.whole import whole_topic

#: How many headers the service appends to a record's own (tables/home/changelog.py).
_OUR_HEADERS = 6


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One refused record as it came, and why.

    topic, partition, offset, recorded_ms: where and when it was first appended.
    refused_ms: when the table refused it.
    headers: its own, without ours; of one too large to keep only those that name it.
    size, sha256: of key and value, where these were too large to keep; else 0 and "".
    """

    topic: str
    partition: int
    offset: int
    recorded_ms: int
    refused_ms: int
    reason: str
    detail: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    size: int = 0
    sha256: str = ""

    @property
    def position(self) -> str:
        """`topic-partition@offset` of the original; its name for `show` and for replays."""
        return f"{self.topic}-{self.partition}@{self.offset}"


async def letters(
    consumer: AIOKafkaConsumer,
    topic: str,
    partition: int | None,
    said: Callable[[int], None],
    strange: Callable[[Stored], None] = lambda record: None,
) -> AsyncIterator[Letter]:
    """All dead letters there are now in the topic; of one partition, or of all if None.

    `strange` is told what others have written there.
    """
    async for record in whole_topic(consumer, topic, partition, said):
        letter = letter_of(record)
        if letter is None:
            strange(record)
        else:
            yield letter


def letter_of(record: Stored) -> Letter | None:
    """Undo what tables/home/changelog.py did; None for what somebody else wrote there.

    Ours are the last headers, whatever came before.
    """
    headers = list(record.headers)
    ours, own = dict(headers[-_OUR_HEADERS:]), headers[:-_OUR_HEADERS]
    size, sha256 = b"0", b""
    if "onhand-sha256" in ours:  # too large to keep: the names are left of its own headers
        ours, own = dict(headers), headers[: -_OUR_HEADERS - 2]
        size, sha256 = ours.get("onhand-size") or b"0", ours["onhand-sha256"] or b""
    try:
        return Letter(
            topic=_text(ours["onhand-topic"]),
            partition=int(ours["onhand-partition"] or b""),
            offset=int(ours["onhand-offset"] or b""),
            recorded_ms=int(ours["onhand-timestamp"] or b""),
            refused_ms=record.timestamp,
            reason=_text(ours["onhand-reason"]),
            detail=_text(ours["onhand-detail"]),
            key=record.key,
            value=record.value,
            headers=own,
            size=int(size),
            sha256=_text(sha256),
        )
    except (KeyError, ValueError):
        return None


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def described(letter: Letter) -> dict[str, Any]:
    """As `--json` shows it: bytes as text where they are UTF-8, else as base64."""
    shown: dict[str, Any] = {
        "position": letter.position,
        "reason": letter.reason,
        "detail": letter.detail,
        "recorded_ms": letter.recorded_ms,
        "refused_ms": letter.refused_ms,
        **_readable("key", letter.key),
        **_readable("value", letter.value),
        "headers": [
            {
                **_readable("name", name.encode(errors="surrogateescape")),
                **_readable("value", value),
            }
            for name, value in letter.headers
        ],
    }
    if letter.sha256:
        shown |= {"size": letter.size, "sha256": letter.sha256}
    return shown


def _readable(name: str, value: bytes | None) -> dict[str, Any]:
    try:
        return {name: None if value is None else value.decode()}
    except UnicodeDecodeError:
        import base64

        assert value is not None
        return {f"{name}_base64": base64.b64encode(value).decode()}
