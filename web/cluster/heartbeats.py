"""What workers tell each other twice a second, and the clock that judges silence."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec


class WorkerState(StrEnum):
    """How far a worker is in its life.

    RUNNING: ask it. LEAVING: it drains; ask it only if nobody else can answer.
    GONE: it said goodbye; never ask it.
    """

    RUNNING = "running"
    LEAVING = "leaving"
    GONE = "gone"

    @classmethod
    def _missing_(cls, value: object) -> WorkerState:
        """Of a newer build: a worker is not passed over because it has one state more."""
        return cls.RUNNING


class HeldUp(msgspec.Struct, frozen=True, array_like=True):
    """What a partition's owner cannot count for now: from an offset of a topic on.

    cause: as `tables.partition.Hold`; another version may know others.
    since_ms: ms since the epoch.
    """

    topic: str
    offset: int
    cause: str
    since_ms: int


class Claim(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker says of one partition that it holds.

    state: as `core.stages.Stage`; another version may know others.
    role: as `core.stages.Role`, None while it cannot answer.
    epoch: number of the assignment in that worker; comparable with nobody else's.
    handled: sum of the next offsets over the source topics. Positions of one
        partition form a line (one writer), so the sum orders them.
    position: the same, as the token that callers see.
    held_up: what holds its topics up. stopped_because: sentence, where an operator must decide.
    """

    partition: int
    state: str
    role: str | None = None
    epoch: int = 0
    handled: int = 0
    position: str = ""
    lag_events: int = 0
    as_of_ms: int = 0
    standby_lag_records: int = 0
    restore_done: int | None = None
    restore_total: int | None = None
    held_up: tuple[HeldUp, ...] = ()
    stopped_because: str | None = None


#: `Heartbeat.kind` of a process that keeps history, and of one that audits without end.
LEDGER = "ledger"
AUDIT = "audit"


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """One worker's word about itself: everything, each time, so that none is missed.

    version: N of `ONHAND_VERSION`; rules: number of the rules that it folds by.
    build: of the code that runs. window: offsets of its duplicates window.
    epoch: of the versions' control topic, as far as this worker has read it.
    instance: random per process, so that a restarted worker is a new one.

    kind: `LEDGER` or `AUDIT`; None: an inventory worker.
    behind: of a ledger that is built, or far from the log's end: others are asked first.

    window and epoch are None where a build does not say them.
    """

    version: int
    rules: int
    build: str
    url: str
    instance: str
    sequence: int
    state: WorkerState = WorkerState.RUNNING
    claims: tuple[Claim, ...] = ()
    window: int | None = None
    epoch: int | None = None
    kind: str | None = None
    behind: bool = False


#: `ONHAND_URL` (app/config.py): what is asked of a worker goes there, unread by anybody else.
_URL = re.compile(r"https?://([^\s/:?#@\[\]]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?", re.ASCII)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Heartbeat)


def bytes_of(beat: Heartbeat) -> bytes:
    """JSON, so that any Kafka tool can read the topic."""
    return _encoder.encode(beat)


def beat_of(value: bytes | None) -> Heartbeat | None:
    """None for what is not a heartbeat that this build understands, whatever it is."""
    if value is None:
        return None
    try:
        beat = _decoder.decode(value)
    # The latter two: text that is not UTF-8, and what is nested too deeply.
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return beat if _is_address(beat.url) and beat.instance else None


def _is_address(url: str) -> bool:
    match = _URL.fullmatch(url)
    return match is not None and 0 < int((match[2] or ":80")[1:]) < 65536


#: Longest step that the clock takes between two records, and past the newest one.
#: Above the heartbeat interval of 0.5 s, so that one worker alone keeps it running.
STEP_S = 0.75
#: A log without a record for this long means that Kafka was away, not all workers.
OUTAGE_S = 2.0
#: After that, workers find their way back at different speeds.
GRACE_S = 5.0


class LogClock:
    """Time that passes only while heartbeats arrive, in seconds.

    Silence of a worker is judged against what others wrote meanwhile. Thus a slow
    reader of the topic (a stalled event loop) ages nobody out, as it reads in log
    order, nor does a worker that reads nothing because Kafka is away.
    """

    def __init__(self) -> None:
        self._ticks = 0.0
        self._log_ms: int | None = None
        self._arrived = 0.0
        self._grace_until = 0.0

    def hear(self, log_ms: int, now: float) -> float:
        """A record with the broker's time `log_ms` was read; returns its time here."""
        if self._log_ms is not None:
            gap = max(0, log_ms - self._log_ms) / 1000
            self._ticks += min(gap, STEP_S)
            if gap > OUTAGE_S:
                self._grace_until = self._ticks + GRACE_S
        self._log_ms, self._arrived = log_ms, now
        return self._ticks

    @property
    def arrived(self) -> float:
        """When the newest record was read, in local monotonic seconds; 0 for none."""
        return self._arrived

    def now(self, now: float) -> float:
        """`now` is the local monotonic time in seconds."""
        return self._ticks + min(max(0.0, now - self._arrived), STEP_S)

    def silent_for(self, heard_at: float, now: float) -> float:
        """Seconds since a record that `hear` placed at `heard_at`."""
        at = self.now(now)
        return 0.0 if at < self._grace_until else at - heard_at
