"""A program of examples/ that follows the feed, as a process, and what it has."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet

from dev.oracle.rows import Key
from dev.workers import start_process, until


class Process(Protocol):
    """What can be killed and started."""

    def kill(self) -> None: ...

    def start(self) -> None: ...


class Following:
    """One database, and a process at a time. It dies with the test's.

    Args:
        example: its name in examples/.
        counted: the column of its table `stock` that says how many facts are in a row.
        folder: of the database and of what the process says.
        urls: of workers.
    """

    def __init__(self, example: str, counted: str, folder: Path, *urls: str) -> None:
        self.file, self._log = folder / f"{example}.db", folder / f"{example}.log"
        self._arguments = ["-m", f"examples.{example}", str(self.file), *urls]
        self._query = f"SELECT sku, location, on_hand, {counted} FROM stock"
        self.process: subprocess.Popen[bytes] | None = None
        #: Of its environment.
        self.settings: dict[str, str] = {}

    def start(self) -> None:
        self.process = start_process(self._arguments, self.settings, self._log)

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self._log.read_text()
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stock(self) -> dict[Key, tuple[int, int]]:
        """On hand and facts, by SKU and location."""
        if not self.file.exists():
            return {}
        database = sqlite3.connect(self.file, timeout=30)
        try:
            found = database.execute(self._query)
            return {(sku, location): (n, facts) for sku, location, n, facts in found}
        except sqlite3.OperationalError:
            return {}  # it has not made its tables yet
        finally:
            database.close()

    def facts(self) -> int:
        return sum(facts for _, facts in self.stock().values())

    async def outlives(self, *victims: Process) -> None:
        """Kill each in the middle, and start it again. There must always be more to count."""
        for victim in victims:
            had = self.facts()

            async def more(had: int = had) -> bool:
                return self.facts() > had

            await until(more, f"counted: more than {had}", 60)
            victim.kill()
            victim.start()


class Filling(Following):
    """`examples/warehouse`: files instead of a database."""

    def __init__(self, folder: Path, *urls: str) -> None:
        super().__init__("warehouse", "", folder, *urls)
        self.file = folder / "warehouse"
        self._arguments[2] = str(self.file)
        self.settings = {"WAREHOUSE_EVERY_S": "0.5"}
        self._read: dict[Path, list[dict[str, Any]]] = {}

    def told(self) -> Counter[str]:
        """How often each record is in the files, by its position."""
        return Counter(str(fact["position"]) for fact in self._facts())

    def stock(self) -> dict[Key, tuple[int, int]]:
        found: dict[Key, tuple[int, int]] = {}
        for fact in self._facts():
            if fact["outcome"] == "applied":
                key = fact["sku"], fact["location"]
                on_hand, facts = found.get(key, (0, 0))
                found[key] = on_hand + fact["change"], facts + 1
        return found

    def _facts(self) -> Iterator[dict[str, Any]]:
        for file in sorted(self.file.glob("*.parquet")):
            if file not in self._read:  # which never changes
                self._read[file] = pyarrow.parquet.ParquetFile(file).read().to_pylist()
            yield from self._read[file]
