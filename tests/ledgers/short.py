"""A ledger for which a log of some thousand records is long: it makes sums and indexes at the end.

`python -m tests.ledgers.short GATE FAUST-OPTIONS…`. Its transactions are small. Once it has as many
records as the file GATE says, the next one waits, with all its lines written and not committed: so
whoever kills it does so while it catches up, on however slow a machine.
"""

import runpy
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from dev.workers import LEDGER
from ledger import keeping
from ledger.books import Posting
from ledger.upkeep import building
from ledger.writing import LedgerWriter

FAR, NEARLY, LINES = 10_000, 200, 200
_WRITTEN = text("SELECT sum(applied + repeated + refused) FROM position")


class Gate:
    """From how many records on such a ledger may write no more."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def command(self) -> tuple[str, ...]:
        """What to give to Python, as `LEDGER` is."""
        return "-m", "tests.ledgers.short", str(self.path), *LEDGER[2:]

    def open(self, records: float) -> None:
        """It is from so many on, now."""
        aside = self.path.with_suffix(".new")
        aside.write_text(str(int(records)))
        aside.replace(self.path)

    def is_open(self, records: int) -> bool:
        """Whether who has so many may write more."""
        return records < int(self.path.read_text())


def _write(
    gate: Gate,
    write: Callable[..., None],
    writer: LedgerWriter,
    connection: Connection,
    batch: Sequence[Posting],
    *what: Any,
) -> None:
    write(writer, connection, batch, *what)
    written = int(connection.execute(_WRITTEN).scalar_one())
    while not gate.is_open(written - sum(posting.size for posting in batch)):
        time.sleep(0.01)


def main() -> None:
    """Be `python -m faust`, with smaller numbers."""
    gate = Gate(Path(sys.argv.pop(1)))
    vars(building).update(FAR=FAR, _NEARLY=NEARLY)
    vars(keeping).update(MOST_LINES=LINES)
    write = partial(_write, gate, LedgerWriter._write)
    LedgerWriter._write = lambda *its: write(*its)  # type: ignore[method-assign]  # for this process
    runpy.run_module("faust", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
