"""What was told last of each row, by each rule: a record of the alerts topic, and its next one.

    pending → sent      the receiver has taken it
    pending → pending   it has not, and is tried again later
    pending → dead      it never did
    dead → pending      `onhand alerts resend`

Only what is not pending is compared with the row, so that of a row and a rule one message is
under way at a time, and its number (`seq`) grows by one from message to message.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agents.alerts.webhook import TryOutcome, Waits
from domain.alerts import AlertLevel, AlertRule
from domain.rows import Row

_IDS: Final = uuid.UUID("0f1dfb0c-2f0f-5d3b-9c1e-6a8a3f6f2b57")
_GONE: Final = 410


class DeliveryState(StrEnum):
    """Where a message stands."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"

    def may_become(self, after: DeliveryState) -> bool:
        """Whether this is a legal move of one message."""
        return after in _MOVES[self]


_MOVES: Final[dict[DeliveryState, tuple[DeliveryState, ...]]] = {
    DeliveryState.PENDING: (DeliveryState.PENDING, DeliveryState.SENT, DeliveryState.DEAD),
    DeliveryState.SENT: (),
    DeliveryState.DEAD: (DeliveryState.PENDING,),
}


class ToldAlert(Struct, frozen=True, omit_defaults=True):
    """What was told last of a row by a rule; as JSON a value of the alerts topic.

    seq: number of this message, from 1 on. id: of the message, the same at each try.
    body: what is sent, the same at each try; left out once it is sent. attempts: how many tries
    failed. next_ms: not to be tried before, ms since the epoch. failed: why the last try did.
    """

    rule: str
    sku: str
    location: str
    told: AlertLevel
    seq: int
    state: DeliveryState
    id: str
    body: str = ""
    attempts: int = 0
    next_ms: int = 0
    failed: str = ""

    @property
    def key(self) -> bytes:
        """Of its record."""
        return f"{self.rule}\x00{self.sku}\x00{self.location}".encode()

    @property
    def is_pending(self) -> bool:
        """Whether it is still to be sent."""
        return self.state is DeliveryState.PENDING

    def moved(self, state: DeliveryState, **more: object) -> ToldAlert:
        """The same message in another state; raises ValueError for what is no legal move."""
        if not self.state.may_become(state):
            raise ValueError(f"message {self.id}: {self.state} -> {state}")
        return replace(self, state=state, **more)


class AlertData(Struct, frozen=True):
    """What a message says of a row: as it was when the message was made.

    below, above: of the rule; null where the rule is not there any more. events, checksum: which
    facts were counted, as rows of `/v1/inventory` tell it. version: by which they were counted.
    """

    rule: str
    level: AlertLevel
    seq: int
    sku: str
    location: str
    on_hand: int
    below: int | None
    above: int | None
    events: int
    checksum: str
    version: int


class AlertMessage(Struct, frozen=True):
    """The body of a POST. timestamp: when the row's newest fact was recorded, by the broker."""

    type: str
    timestamp: str
    data: AlertData


class Compared(Struct, frozen=True):
    """What all messages of a worker have in common. topic_id: Kafka's, of the alerts topic."""

    topic_id: str
    version: int

    def next_message(
        self,
        name: str,
        rule: AlertRule | None,
        key: tuple[str, str],
        row: Row,
        last: ToldAlert | None,
    ) -> ToldAlert | None:
        """What is to be told now of a row by a rule; None: nothing new.

        Args:
            name: of the rule.
            rule: None: it is not for this row any more, which clears what was raised.
            key: SKU and location.
            row: as it is now.
            last: what was told last; None: nothing ever, which is as good as cleared.
        """
        before = AlertLevel.CLEARED if last is None else last.told
        level = AlertLevel.CLEARED if rule is None else rule.level(row.on_hand, before)
        if level is before or (last is not None and last.is_pending):
            return None
        seq = 1 if last is None else last.seq + 1
        data = AlertData(
            rule=name,
            level=level,
            seq=seq,
            sku=key[0],
            location=key[1],
            on_hand=row.on_hand,
            below=None if rule is None else rule.below,
            above=None if rule is None else rule.above,
            events=row.events,
            checksum=f"{row.checksum:016x}",
            version=self.version,
        )
        message = AlertMessage(f"inventory.alert.{level}", _rfc3339(row.updated_at), data)
        # Of what it is, not by chance: whoever makes the same message again makes the same id. A
        # topic that was made anew counts from 1 again, with ids that no receiver has seen.
        named = msgspec.json.encode([self.topic_id, name, *key, seq]).decode()
        return ToldAlert(
            rule=name,
            sku=key[0],
            location=key[1],
            told=level,
            seq=seq,
            state=DeliveryState.PENDING,
            id=f"alert_{uuid.uuid5(_IDS, named).hex}",
            body=msgspec.json.encode(message).decode(),
        )


def after_try(told: ToldAlert, answer: TryOutcome, waits: Waits, now_ms: int) -> ToldAlert:
    """What a try has come to: sent, tried again later, or dead.

    Args:
        told: a pending message.
        answer: of the receiver.
        waits: between tries.
        now_ms: ms since the epoch.
    """
    if answer.is_taken:
        # Neither body nor failures are needed any more: there may be many rows.
        return told.moved(DeliveryState.SENT, body="", attempts=0, next_ms=0, failed="")
    attempts = told.attempts + 1
    wait_s = waits.after(attempts, told.id, answer.retry_after_s)
    if wait_s is None or answer.status == _GONE:
        return told.moved(DeliveryState.DEAD, attempts=attempts, next_ms=0, failed=answer.told)
    next_ms = now_ms + int(wait_s * 1000)
    return told.moved(DeliveryState.PENDING, attempts=attempts, next_ms=next_ms, failed=answer.told)


def sent_again(told: ToldAlert) -> ToldAlert:
    """A dead message that is to be sent once more, with all of its tries; its id stays."""
    return told.moved(DeliveryState.PENDING, attempts=0, next_ms=0)


def _rfc3339(ms: int) -> str:
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
