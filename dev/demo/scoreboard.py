"""What the demo shows while it runs: every number here is counted or timed, none is assumed."""

from collections import Counter, deque

from dev.demo.meter import Balance
from dev.oracle.log import FollowingOracle
from dev.reads.answers import Answer
from dev.reads.verdicts import fault, judgeable


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
    "         sent = counted + repeated + refused + in flight, drift │ "
    "reads  standby  failed  wrong  slowest"
)


def line(at: str, now: Balance, readings: Readings) -> str:
    """One line of the table."""
    log = f"{now.sent + now.others:>8,}  {now.counted:>8,}  {now.repeated:>9,}  {now.refused:>8,}"
    log += f"  {now.in_flight:>10,}  {now.drift:>5,}"
    reads = f"{readings.reads:>5,}  {readings.standby:>7,}  {readings.failed:>6,}"
    wrong = f"{len(readings.wrong):>5,}  {readings.slowest_ms:>4,.0f} ms"
    return f"{at}{log} │ {reads}  {wrong}"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60:02}:{int(seconds) % 60:02}"
