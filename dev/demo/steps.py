"""What every chapter of the demo does: numbered lines, workers that own all, and their end."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import aiohttp

from dev.demo.stage import PARTITIONS
from dev.kafka import free_port
from dev.kafka.broker import port_is_free
from dev.reads.answers import owners
from dev.workers import Late, Worker, until


class Failed(Exception):
    """The demo saw something that must not be."""


class Clock:
    """Times the steps for the numbered lines, of which there are so many."""

    def __init__(self, steps: int = 5) -> None:
        self._steps = steps
        self._since = time.monotonic()

    def say(self, step: int, name: str, what: str) -> None:
        """One numbered line with the seconds since the last one."""
        now = time.monotonic()
        print(f"{step}/{self._steps} {name:<10} {what:<74} {now - self._since:>5.1f} s", flush=True)
        self._since = now


def python_step() -> str:
    """Which Python, and how long `make` took to set it up if it has just done so."""
    version = ".".join(map(str, sys.version_info[:3]))
    made = Path(sys.prefix) / "pyvenv.cfg"
    ready = Path(sys.prefix) / ".from-the-lock-file"
    if ready.exists() and time.time() - ready.stat().st_mtime < 60:
        took = ready.stat().st_mtime - made.stat().st_mtime
        return f"{version}, .venv from the lock file in {took:.0f} s"
    return f"{version}, .venv was there already"


async def all_owned(workers: Sequence[Worker]) -> None:
    """Wait until each worker finds an owner for every partition."""

    async def found() -> bool:
        return all([all(await owners(http, w.url, PARTITIONS)) for w in workers])

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        await until(found, "owned: all partitions", 60)


def port(wished: int) -> int:
    """This port, or another one if it is taken."""
    return wished if port_is_free(wished) else free_port()


async def stop(workers: Sequence[Worker]) -> None:
    """End them, by force if they do not."""
    for worker in workers:
        if worker.alive:
            worker.ask_to_stop()
    for worker in workers:
        with suppress(Late):
            await worker.ended(15)
        worker.kill()
