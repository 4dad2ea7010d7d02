"""What the demo shows while it runs: every number here is counted or timed, none is assumed."""

import json
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from dev.oracle.log import FollowingOracle, LogReader
from dev.reads.answers import Answer
from dev.reads.verdicts import fault, judgeable

META = b"\x00meta"


class Fates(NamedTuple):
    """What became of the log's records, as the service has committed it."""

    counted: int
    repeated: int
    dead: int

    @property
    def total(self) -> int:
        """Records with a fate."""
        return self.counted + self.repeated + self.dead


class CommittedCounts:
    """Follows the changelog's meta records, committed ones only."""

    def __init__(self, kafka: str, changelog: str) -> None:
        self._reader = LogReader(kafka, [changelog])
        self._metas: dict[int, Mapping[str, Any]] = {}

    def poll(self) -> None:
        """Take what has come; waits 0.2 s for it."""
        for record in self._reader.poll():
            if record.key == META:
                self._metas[record.partition] = json.loads(record.value or b"")

    @property
    def fates(self) -> Fates:
        """Sums over all partitions and topics."""
        counts = [count for meta in self._metas.values() for count in meta["counts"].values()]
        return Fates(*(sum(count[n] for count in counts) for n in range(3)))

    def close(self) -> None:
        """Give the connections back."""
        self._reader.close()


class Readings:
    """Answers of one stretch of time, judged as soon as the oracle has read that far."""

    def __init__(self) -> None:
        self._waiting: deque[Answer] = deque()
        self.reads = self.standby = self.failed = 0
        self.slowest_ms = 0.0
        #: Good answers by the version that gave them.
        self.versions: Counter[int] = Counter()
        self.wrong: list[str] = []

    def took(self, answer: Answer) -> None:
        """One more answer."""
        self.reads += 1
        if answer.status in (200, 404):
            self.standby += answer.role != "active"
            self.versions[answer.version] += 1
            self.slowest_ms = max(self.slowest_ms, (answer.ended - answer.began) * 1000)
        else:
            self.failed += 1
        self._waiting.append(answer)

    def judge(self, following: FollowingOracle, version: int | None = None) -> None:
        """Hold what can be held against the log; with a version, only what is of it."""
        following.check()
        with following.lock:
            for _ in range(len(self._waiting)):
                answer = self._waiting.popleft()
                is_other = version not in (None, answer.version) and answer.version
                if is_other or not judgeable(answer, following.oracle):
                    self._waiting.append(answer)
                elif told := fault(answer, following.oracle):
                    self.wrong.append(told)

    def start_again(self) -> None:
        """Begin the next stretch; what was wrong stays known."""
        self.reads = self.standby = self.failed = 0
        self.slowest_ms = 0.0
        self.versions.clear()


HEADING = (
    "         sent = counted + repeated + dead + in flight │ reads  standby  failed  wrong  slowest"
)


def line(began: float, sent: int, fates: Fates, readings: Readings) -> str:
    """One line of the table."""
    elapsed = time.monotonic() - began
    log = f"{sent:>8,}  {fates.counted:>8,}  {fates.repeated:>8,}  {fates.dead:>4,}"
    reads = f"{readings.reads:>5,}  {readings.standby:>7,}  {readings.failed:>6,}"
    wrong = f"{len(readings.wrong):>5,}  {readings.slowest_ms:>4,.0f} ms"
    return f"{clock(elapsed)}{log}  {sent - fates.total:>10,} │ {reads}  {wrong}"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60:02}:{int(seconds) % 60:02}"
