"""examples/follower as a process, and what it has counted."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from pathlib import Path

from dev.oracle.rows import Key
from dev.workers import start_process


class Follower:
    """One database, and a process at a time. It dies with the test's."""

    def __init__(self, folder: Path, *urls: str) -> None:
        self._file, self._log = folder / "copy.db", folder / "follower.log"
        self._arguments = ["-m", "examples.follower", str(self._file), *urls]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = start_process(self._arguments, {}, self._log)

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self._log.read_text()
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stock(self) -> dict[Key, tuple[int, int]]:
        """On hand and facts, by SKU and location."""
        if not self._file.exists():
            return {}
        with sqlite3.connect(self._file, timeout=30) as database:
            try:
                found = database.execute("SELECT sku, location, on_hand, facts FROM stock")
                return {(sku, location): (n, facts) for sku, location, n, facts in found}
            except sqlite3.OperationalError:
                return {}  # it has not made its tables yet
            finally:
                database.rollback()

    def facts(self) -> int:
        return sum(facts for _, facts in self.stock().values())
