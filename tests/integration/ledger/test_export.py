"""Parquet of a ledger: every record once, in its day; killed anywhere, the next call goes on."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from audit.chaining import ChainHead
from dev.oracle.stock import Record
from dev.workers import ROOT
from ledger.audited import AuditedLedger
from ledger.export.exporting import Exporter
from ledger.export.plan import ExportRefused, Manifest, manifests
from ledger.lines import TOPICS
from ledger.upkeep.compacting import compact
from tests.ledgers.kept import NAME, Kept
from tests.ledgers.logs import PARTITIONS, WINDOW, a_log, judged

FILES = "facts/*/*.parquet"


def export(
    kept: Kept, folder: Path, file_rows: int = 100, said: Callable[[int], None] = lambda n: None
) -> Manifest | None:
    ledger = AuditedLedger(kept.url, NAME)
    try:
        return Exporter(ledger, NAME, TOPICS, PARTITIONS, folder, said, file_rows).run()
    finally:
        ledger.close()


def query(folder: Path, sql: str) -> list[Any]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'America/New_York'")  # no reader's own day counts
        source = f"read_parquet('{folder}/{FILES}', hive_partitioning = true)"
        return connection.execute(sql.replace("FACTS", source)).fetchall()


def across_days(records: list[Record]) -> list[Record]:
    """The same, some hours apart."""
    return [r._replace(timestamp_ms=r.timestamp_ms + n * 700_000) for n, r in enumerate(records)]


def assert_exact(folder: Path, records: list[Record]) -> None:
    """Each record once, with the oracle's verdict, in the day of its `log_at`."""
    oracle = judged(records)
    found = query(folder, 'SELECT topic, partition, "offset", outcome, refused, change FROM FACTS')
    places = {(topic, part, offset) for topic, part, offset, *_ in found}
    assert len(found) == len(places) == len(records)
    assert places == {record.place for record in records}
    for topic, part, offset, outcome, refused, _ in found:
        place = topic, part, offset
        right = "refused" if place in oracle.refused else (
            "repeated" if place in oracle.repeated else "applied"
        )  # fmt: skip
        assert (outcome, refused) == (right, oracle.refused.get(place))
    counted = "SELECT sku, location, sum(change) FROM FACTS WHERE outcome = 'applied' GROUP BY ALL"
    stock = {(sku, location): on_hand for sku, location, on_hand in query(folder, counted)}
    assert stock == {key: row.on_hand for key, row in oracle.rows().items()}
    days = query(folder, "SELECT DISTINCT day, epoch_us(log_at) // 86400000000 FROM FACTS")
    epoch = datetime(1970, 1, 1, tzinfo=UTC).date()
    assert len(days) > 3
    assert all((day - epoch).days == number for day, number in days)


def test_every_record_is_exported_once_in_its_day_and_two_exports_join(
    kept: Kept, tmp_path: Path
) -> None:
    records = across_days(a_log(3, 700))
    folder = tmp_path / "warehouse"
    for start in (0, 300, 550):
        kept.feed(records[start : {0: 300, 300: 550, 550: 700}[start]])
        assert export(kept, folder) is not None
    assert export(kept, folder) is None

    assert_exact(folder, records)
    all_ = manifests(folder)
    assert [one.number for one in all_] == [1, 2, 3]
    assert all(before.to == after.start for before, after in pairwise(all_))
    assert sum(one.rows for one in all_) == len(records)
    assert not (folder / "plan.json").exists()
    written = {str(p.relative_to(folder)) for p in folder.glob(FILES)}
    assert written == {file.path for one in all_ for file in one.files}
    # The heads are those that `onhand audit --chain --against` takes.
    heads = json.loads((folder / "manifest-00003.json").read_bytes())["heads"]
    assert {ChainHead(**head).next for head in heads} == set(all_[-1].to.values()) - {0}


class Stop(BaseException):
    pass


def test_an_export_that_was_cut_off_anywhere_goes_on_where_it_was(
    kept: Kept, tmp_path: Path
) -> None:
    records = across_days(a_log(4, 400))
    kept.feed(records)
    folder, calls = tmp_path / "warehouse", 0

    def cut_off(count: int) -> None:
        nonlocal calls
        calls += 1
        if calls % 4 == 3:
            raise Stop

    manifest = None
    for _ in range(200):
        try:
            manifest = export(kept, folder, 30, cut_off)
            break
        except Stop:
            kept.feed(a_log(4, 401)[400:]) if calls == 3 else None  # the plan stands
    assert manifest is not None
    assert calls > 12

    assert sum(file.rows for file in manifest.files) == len(records)
    assert_exact(folder, records)
    assert not list(folder.rglob("*.tmp"))


def test_an_export_that_is_killed_goes_on(tmp_path: Path) -> None:
    kept = Kept(f"sqlite:///{tmp_path}/ledger.db")
    records = across_days(a_log(6, 600))
    kept.feed(records)
    folder = tmp_path / "warehouse"
    for files in (1, 2, 4):
        program = f"""
import os, signal, sys
from pathlib import Path
from ledger.audited import AuditedLedger
from ledger.lines import TOPICS
from ledger.engine import url_of
from ledger.export import exporting
left = {files}
whole = exporting.write_whole
def write_whole(path, content):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    whole(path, content)
exporting.write_whole = write_whole
ledger = AuditedLedger(url_of("sqlite:///{tmp_path}/ledger.db"), "{NAME}")
exporting.Exporter(ledger, "{NAME}", TOPICS, {PARTITIONS}, Path("{folder}"), file_rows=50).run()
"""
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
        assert done.returncode == -9

    assert export(kept, folder, 50) is not None
    assert_exact(folder, records)
    kept.close()


def test_what_would_not_be_exact_is_refused_in_a_sentence(
    kept: Kept, new_database: Callable[[], str], tmp_path: Path
) -> None:
    records = across_days(a_log(3, 300))
    kept.feed(records)
    folder = tmp_path / "warehouse"
    export(kept, folder)

    behind = Kept(new_database())
    behind.feed(records[:100])
    with pytest.raises(ExportRefused, match="wait until the ledger has caught up"):
        export(behind, folder)
    behind.close()
    ledger = AuditedLedger(kept.url, NAME)
    with pytest.raises(ExportRefused, match="is an export of onhand-test-v1-ledger, and this is x"):
        Exporter(ledger, "x", TOPICS, PARTITIONS, folder).run()
    kept.feed(across_days(a_log(3, 360))[300:])
    export(kept, folder)
    (folder / "manifest-00001.json").unlink()
    kept.feed(across_days(a_log(3, 380))[360:])
    with pytest.raises(ExportRefused, match="has lost its first manifest"):
        export(kept, folder)
    ledger.close()


def test_a_folder_with_other_things_in_it_is_left_alone(kept: Kept, tmp_path: Path) -> None:
    kept.feed(across_days(a_log(3, 50)))
    folder = tmp_path / "mistyped"
    (folder / "lost+found").mkdir(parents=True)
    letter = folder / "letter.txt"
    letter.touch()

    with pytest.raises(ExportRefused, match=r"is no export and not empty \(it has letter.txt\)"):
        export(kept, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["letter.txt", "lost+found"]

    letter.unlink()
    assert export(kept, folder) is not None


def test_lines_that_are_compacted_while_they_are_exported_leave_no_gap_in_silence(
    kept: Kept, tmp_path: Path
) -> None:
    kept.feed(across_days(a_log(4, 400)))
    folder, after_all = tmp_path / "warehouse", 2**62

    def beside(count: int) -> None:
        compact(kept.engine, after_all, WINDOW)

    with pytest.raises(ExportRefused, match=r"below [0-9]+ any more"):
        export(kept, folder, 30, beside)
    assert manifests(folder) == []
