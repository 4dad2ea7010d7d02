"""What every chapter of the demo does: its stage, numbered lines, workers that own all, its end."""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from dev.demo.stage import PARTITIONS, Stage, staged
from dev.kafka import KafkaUnavailable, free_port
from dev.kafka.broker import port_is_free
from dev.oracle.rows import Comparison, compare
from dev.oracle.stock import Oracle
from dev.reads.answers import NotWhole, owners, read_list
from dev.workers import AUDIT, Late, Worker, until


class Failed(Exception):
    """The demo saw something that must not be."""


class Clock:
    """Times the steps for the numbered lines, of which there are so many."""

    def __init__(self, steps: int) -> None:
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


def shown(chapter: Coroutine[Any, Any, None]) -> int:
    """Run a chapter to its end, or to Ctrl-C; exit code 0 only if nothing was wrong."""
    try:
        asyncio.run(chapter)
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("Everything is stopped.")
    except (Failed, KafkaUnavailable) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    return 0


@asynccontextmanager
async def on_stage(steps: Clock) -> AsyncIterator[tuple[Stage, Path]]:
    """The first two steps: a Kafka and a folder, until the block ends or is told to by a signal."""
    this = asyncio.current_task()
    assert this is not None
    for ending in (signal.SIGINT, signal.SIGTERM):
        # Not KeyboardInterrupt: it would end the loop from wherever it is, not the task.
        asyncio.get_running_loop().add_signal_handler(ending, this.cancel)
    steps.say(1, "Python", python_step())
    with (
        tempfile.TemporaryDirectory(prefix="onhand-demo-") as folder,
        staged(Path(folder)) as stage,
    ):
        try:
            steps.say(2, "Kafka", stage.kafka)
            yield stage, Path(folder)
        finally:
            print("Stopping …", flush=True)


async def compared(http: aiohttp.ClientSession, worker: Worker, oracle: Oracle) -> Comparison:
    """All rows, as the list through a worker has them."""
    try:
        return compare(oracle.rows(), await read_list(http, worker.url))
    except NotWhole as error:
        raise Failed(f"the list through worker {worker.name} is not whole: {error}") from None


async def all_owned(workers: Sequence[Worker]) -> None:
    """Wait until each worker finds an owner for every partition."""

    async def found() -> bool:
        return all([all(await owners(http, w.url, PARTITIONS)) for w in workers])

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        await until(found, "owned: all partitions", 60)


def an_audit(workers: Sequence[Worker], ledger: Worker) -> Worker:
    """Counts the log again for ever, and holds each copy and the ledger against it."""
    kept = {"ONHAND_LEDGER_URL": f"sqlite:///{ledger.data}/ledger.db"}
    audit = Worker("audit", ledger.folder, {**ledger.settings, **kept}, port(6366))
    asked = [word for worker in workers for word in ("--url", worker.url)]
    audit.command = (*AUDIT, "--port", str(audit.port), *asked)
    return audit


def port(wished: int) -> int:
    """This port, or another one if it is taken."""
    return wished if port_is_free(wished) else free_port()


async def stop(workers: Sequence[Worker]) -> None:
    """End those that were started, by force if they do not."""
    started = [worker for worker in workers if worker.starts]
    for worker in started:
        if worker.alive:
            worker.ask_to_stop()
    for worker in started:
        with suppress(Late):
            await worker.ended(15)
        worker.kill()
