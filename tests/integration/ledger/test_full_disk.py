"""A full disk under SQLite: nothing of a batch is there, a sentence, and on when there is room."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from dev.oracle.stock import Record
from ledger.engine import unavailable
from tests.ledgers.comparing import assert_agrees, lines
from tests.ledgers.kept import Kept, in_batches
from tests.ledgers.logs import a_log, judged

#: Pages of 4 KB, no more than which the file may have.
UNBOUNDED = 2**30


def bound(kept: Kept, pages: int) -> None:
    """From now on, for all connections of the writer."""

    @sa.event.listens_for(kept.engine, "begin")
    def limit(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


def write(kept: Kept, batches: Sequence[Sequence[Record]]) -> None:
    for batch in batches:
        kept.feed(batch)


def pages_of(kept: Kept) -> int:
    with kept.engine.connect() as connection:
        return int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())


def test_a_batch_that_finds_no_room_leaves_nothing_and_is_written_when_there_is_some(
    tmp_path: Path,
) -> None:
    kept, records = Kept(f"sqlite:///{tmp_path}/ledger.db"), a_log(seed=23, count=1_200)
    batches = in_batches(records, 100)
    for batch in batches[:3]:
        kept.feed(batch)
    bound(kept, pages_of(kept) + 8)
    with pytest.raises(sa.exc.OperationalError, match="full") as full:
        write(kept, batches[3:])

    said = str(unavailable(kept.url, full.value))
    assert "database or disk is full" in said
    assert "must exist, be writable and have room" in said
    written, half = divmod(len(lines(kept.reads)), 100)  # it still answers
    assert (half, 3 <= written < len(batches)) == (0, True)
    bound(kept, UNBOUNDED)
    kept.restart()
    write(kept, batches[written:])
    assert_agrees(kept.reads, judged(records), records)
    kept.close()
