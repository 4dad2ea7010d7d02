"""What the person in front of the terminal sees while a run lasts."""

import sys
import time


def say(text: str) -> None:
    """One line of progress, on stderr: stdout is for the result."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
    sys.stderr.flush()


class Ticker:
    """Says something at most every `every_s` seconds."""

    def __init__(self, every_s: float = 2.0) -> None:
        self.every_s = every_s
        self._next = time.monotonic() + every_s

    def say(self, text: str) -> None:
        """Say it if the last time is long enough ago."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self.every_s
            say(text)


CALIBRATION_ROUNDS = 3_000_000


def calibrate() -> float:
    """Seconds for a fixed loop in this process: tells when the machine itself was slow."""
    start = time.perf_counter()
    total = 0
    for number in range(CALIBRATION_ROUNDS):
        total += number & 7
    return time.perf_counter() - start
