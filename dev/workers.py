"""Workers as real processes: started, asked, frozen, killed and wiped by whoever watches them.

Used by `make demo`, the end-to-end tests and the fault tests. Only ever ends
processes that it started, by their id; none of them outlives this one.
"""

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp

from dev.kafka import free_port

Answer = TypeVar("Answer")

ROOT = Path(__file__).resolve().parent.parent
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)  # here, since little may be done between fork and exec
WORKER = ("-m", "faust", "-A", "app", "worker", "-l", "info")
LEDGER = ("-m", "faust", "-A", "app.ledger", "worker", "-l", "info")
AUDIT = ("-c", "from app.commands import main; main()", "audit", "--watch")
HTTP_TIMEOUT_S = 5.0


class Late(AssertionError):
    """Something that had to happen did not, by its deadline."""


async def until(
    probe: Callable[[], Awaitable[Answer]], what: str, timeout_s: float, every_s: float = 0.05
) -> Answer:
    """Ask again and again until the answer is true.

    Raises:
        Late: it was not, by the deadline; says the last answer.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = await probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise Late(f"not {what} within {timeout_s:g} s; last seen: {answer!r}")
        await asyncio.sleep(every_s)


def _end_with_parent() -> None:
    """In the child: have the kernel kill it when the thread that started it is gone.

    It takes signals as if started at a prompt: a run under nohup, or in the background of a
    shell, ignores some, and what it starts would ignore them as well.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The machine's environment with these ONHAND_… settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")}
    return kept | dict(settings)


def start_process(
    arguments: list[str], settings: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Run this Python with the arguments, in a session of its own, its output into `log`.

    Call it from the main thread: the child dies with the thread that started it.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the one who watches
            preexec_fn=_end_with_parent,
        )


@dataclass
class Worker:
    """One worker with its own port, folder and log.

    Attributes:
        name: for people.
        folder: holds its data and its log.
        settings: ONHAND_… variables beyond port and data folder.
        command: what to give to Python.
    """

    name: str
    folder: Path
    settings: Mapping[str, str]
    port: int = field(default_factory=free_port)
    command: tuple[str, ...] = WORKER
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """Its disk."""
        return self.folder / f"{self.name}-data"

    @property
    def log(self) -> Path:
        """Everything it said, all its lives."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Its process id; it must have been started."""
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether its process runs (a frozen one does)."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start its process; it is not ready yet."""
        assert not self.alive, f"worker {self.name} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        own = {"ONHAND_WEB_PORT": str(self.port), "ONHAND_DATA_DIR": str(self.data)}
        self.process = start_process([*self.command], {**self.settings, **own}, self.log)
        self.starts += 1

    async def ready(self, timeout_s: float = 60) -> None:
        """Wait until it says that it can answer."""

        async def says_so() -> bool:
            if not self.alive:
                raise Late(f"worker {self.name} ended by itself")
            return await status_of(f"{self.url}/ready") == 200

        try:
            await until(says_so, f"ready: worker {self.name}", timeout_s, every_s=0.1)
        except Late as late:
            raise Late(f"{late}\n{self.tail()}") from None

    def kill(self) -> None:
        """`kill -9`: no chance to say goodbye."""
        if self.process is not None and self.alive:
            os.kill(self.pid, signal.SIGKILL)
            self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it keeps its sockets and its memory, and does nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        os.kill(self.pid, signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """SIGTERM: finish what is under way, leave, end."""
        os.kill(self.pid, signal.SIGTERM)

    async def ended(self, timeout_s: float = 60) -> int:
        """Wait for its end; the exit code."""

        async def has_ended() -> bool:
            return not self.alive

        await until(has_ended, f"ended: worker {self.name}", timeout_s)
        assert self.process is not None
        assert self.process.returncode is not None
        return self.process.returncode

    async def stop(self, timeout_s: float = 60) -> int:
        """Ask it to stop and wait; the exit code."""
        self.ask_to_stop()
        return await self.ended(timeout_s)

    def wipe(self) -> None:
        """Lose its disk; only while it is down."""
        assert not self.alive, f"worker {self.name} still runs"
        shutil.rmtree(self.data, ignore_errors=True)

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        with suppress(FileNotFoundError):
            said = self.log.read_text(errors="replace").splitlines()
            return f"--- {self.name}, last lines of its log:\n" + "\n".join(said[-lines:])
        return f"--- {self.name} has no log"


async def status_of(url: str, timeout_s: float = 1.0) -> int:
    """The HTTP status of a GET; 0 if nobody answered."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return 0


async def onhand(
    *arguments: str, settings: Mapping[str, str], timeout_s: float = 60
) -> tuple[int, str]:
    """Run the `onhand` command; exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys; from app.commands import main; sys.exit(main())",
        *arguments,
        cwd=ROOT,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")
