"""One clock for every system: processes watched from outside, in the same way.

The clock starts at the last look at which nothing had been handled and stops
at the first look at which all was committed, so that what lies between two
looks counts against the system. At that moment its processes are killed (-9):
only what was really committed can pass the check that follows.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from bench.harness.progress import Ticker

BEGIN_LOOKS_EVERY_S = 0.01
# A look costs the system some ms; near the end it is precision.
END_LOOKS_EVERY_S = (0.05, 0.5)
LOOKS_TO_THE_END = 8
LOG_TAIL_LINES = 15


class DidNotFinish(RuntimeError):
    """The measured process ended or hung; the message holds the end of its log."""


class Process:
    """One process under measurement, in a session of its own, with its log in a file."""

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        self._ps = psutil.Process(self._popen.pid)

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def cpu_s(self) -> float:
        """CPU seconds used so far, user and system, by all threads, its children's too."""
        used_s = 0.0
        for process in self._family():
            with suppress(psutil.NoSuchProcess):  # a child that was and is no more
                used = process.cpu_times()
                used_s += used.user + used.system
        return used_s

    def peak_mb(self) -> float:
        """Greatest resident size so far (VmHWM), its children's added, in MB.

        Pages of programs and libraries that a child shares are counted once, as a
        container's limit counts them.
        """
        family = self._family()
        shared = sum(_shared_mb(child.pid) for child in family[1:])
        return sum(_peak_mb(process.pid) for process in family) - shared

    def _family(self) -> list[psutil.Process]:
        return [self._ps, *self._ps.children(recursive=True)]

    def said(self, text: str) -> bool:
        """Whether its log holds this text."""
        return text.encode() in self.log.read_bytes()

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def must_run(self) -> None:
        """Raise `DidNotFinish` if it has ended."""
        code = self._popen.poll()
        if code is not None:
            raise DidNotFinish(
                f"process ended with {code}; the end of {self.log}:\n{self.log_tail()}"
            )

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def wait(self, timeout_s: float) -> int:
        """Wait for its own end; returns the exit code."""
        return self._popen.wait(timeout_s)

    def stop(self, timeout_s: float = 30.0) -> None:
        """End it as an operator does (SIGTERM), by force after `timeout_s`."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL: nothing more is flushed, committed or handed over."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGKILL)
            self._popen.wait()


def _peak_mb(pid: int) -> float:
    return _mb_in(Path(f"/proc/{pid}/status"), "VmHWM:")


def _shared_mb(pid: int) -> float:
    return _mb_in(Path(f"/proc/{pid}/smaps_rollup"), "Shared_Clean:")


def _mb_in(page: Path, name: str) -> float:
    for line in page.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise LookupError(f"no {name} in {page}: Linux is needed")


@dataclass(frozen=True)
class Sample:
    """One look: a clock reading and the CPU seconds used until then."""

    at_s: float
    cpu_s: float


@dataclass(frozen=True)
class Span:
    """What lay between two looks.

    Attributes:
        wall_s: seconds on the clock.
        cpu_s: CPU seconds of all processes together.
        peak_mb: sum over processes of their greatest resident size, what they share once, MB.
        startup_s: from starting the processes to the first event.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    startup_s: float


def look(processes: Sequence[Process]) -> Sample:
    """Read the clock, then the CPU times."""
    return Sample(time.monotonic(), sum(process.cpu_s() for process in processes))


def watch(
    processes: Sequence[Process],
    begun: Callable[[], bool],
    handled: Callable[[], int],
    wanted: int,
    *,
    timeout_s: float,
    what: str,
) -> Span:
    """Follow running processes from their first event to their last commit.

    Args:
        processes: just started.
        begun: whether anything was handled yet.
        handled: records handled and committed.
        wanted: stop when `handled` says this many.
        timeout_s: raise `DidNotFinish` after this long.
        what: for the progress lines.
    """
    started = time.monotonic()
    ticker = Ticker()

    def check() -> None:
        for process in processes:
            process.must_run()
        if time.monotonic() - started > timeout_s:
            tails = "\n".join(process.log_tail() for process in processes)
            raise DidNotFinish(f"{what}: not done after {timeout_s:.0f} s; its log ends:\n{tails}")

    first = now = look(processes)
    while not begun():
        first = now
        check()
        ticker.say(f"{what}: starting")
        time.sleep(BEGIN_LOOKS_EVERY_S)
        now = look(processes)
    while (done := handled()) < wanted:
        check()
        ticker.say(f"{what}: {done:,} of {wanted:,}")
        passed_s = time.monotonic() - first.at_s
        left_s = passed_s * (wanted - done) / done if done else 0.0
        time.sleep(min(max(left_s / LOOKS_TO_THE_END, END_LOOKS_EVERY_S[0]), END_LOOKS_EVERY_S[1]))
    last = look(processes)
    return Span(
        wall_s=last.at_s - first.at_s,
        cpu_s=last.cpu_s - first.cpu_s,
        peak_mb=sum(process.peak_mb() for process in processes),
        startup_s=first.at_s - started,
    )
