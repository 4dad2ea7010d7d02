"""docs/warehouse.md: its questions, asked of an export, have the answers that it shows."""

import json
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from app.commands.console import table
from dev.oracle.stock import Record, partition_of
from dev.workers import ROOT
from ledger.audited import AuditedLedger
from ledger.export.exporting import Exporter
from ledger.lines import TOPICS
from tests.ledgers.kept import NAME, Kept
from tests.ledgers.logs import PARTITIONS

PAGE = ROOT / "docs" / "warehouse.md"
MONDAY = datetime(2026, 11, 23, 7, tzinfo=UTC)
STORES, SKUS = ("store-001", "store-002"), ("SKU-1", "SKU-2")


class Log:
    """A small chain of shops, written by hand."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._ends: dict[tuple[str, int], int] = defaultdict(int)

    def say(
        self, what: str, sku: str, location: str, quantity: int, hours: float, late_h: float = 0,
        source: str = "wms", **words: str,
    ) -> None:  # fmt: skip
        role, kind = what.split("/")
        at = MONDAY + timedelta(hours=hours)
        event = {
            "specversion": "1.0",
            "id": f"{len(self.records)}",
            "source": source,
            "type": f"inventory.{kind}.v1",
            "time": (at - timedelta(hours=late_h)).isoformat(),
            "data": {"sku": sku, "location": location, "quantity": quantity, **words},
        }
        partition = partition_of(sku, PARTITIONS)
        offset = self._ends[role, partition]
        self._ends[role, partition] += 1
        ms = int(at.timestamp() * 1000)
        value = json.dumps(event).encode()
        self.records.append(Record(role, partition, offset, ms, sku.encode(), value))


def three_days() -> list[Record]:
    """Shipments at seven, sales through the day, a transfer, losses, a till without network."""
    log = Log()
    for day in range(3):
        for s, store in enumerate(STORES):
            hours = 24 * day + s / 10
            for n, sku in enumerate(SKUS):
                log.say("shipments/shipment.received", sku, store, 20 + n, hours)
                for sale in range(4):
                    quantity = 1 + (day + s + n + sale) % 3
                    late = 5 if (day, s, sale) == (1, 1, 3) else 0
                    at = hours + 2 + sale
                    till = f"till-{s + 1}"
                    log.say("sales/sale.completed", sku, store, quantity, at, late, till)
        log.say("adjustments/stock.adjusted", SKUS[day % 2], STORES[0], -1 - day, 24 * day + 9,
                reason=("damage", "theft", "damage")[day])  # fmt: skip
    for reference, arrives in (("transfer-7", True), ("transfer-8", False)):
        log.say("shipments/shipment.dispatched", "SKU-1", STORES[0], 5, 60, reference=reference)
        if arrives:
            log.say("shipments/shipment.received", "SKU-1", STORES[1], 5, 61, reference=reference)
    return log.records


def questions(page: str) -> list[tuple[str, str]]:
    """SQL, and the answer that stands below it."""
    return re.findall(r"```sql\n(SELECT.*?)```\n\n```\n(.*?)```", page, re.DOTALL)


def answer(folder: Path, sql: str) -> str:
    """As the page shows it."""
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE VIEW facts AS SELECT * FROM read_parquet('{folder}/facts/*/*.parquet', "
            "hive_partitioning = true)"
        )
        done = connection.execute(sql)
        names = [column[0] for column in done.description or ()]
        rows = done.fetchall()
    numbers = [n for n, value in enumerate(rows[0]) if isinstance(value, int)]
    return table([names, *rows], right=numbers) + "\n"


def exported(folder: Path) -> Path:
    kept = Kept(f"sqlite:///{folder}/ledger.db")
    kept.feed(three_days())
    ledger = AuditedLedger(kept.url, NAME)
    Exporter(ledger, NAME, TOPICS, PARTITIONS, folder / "warehouse").run()
    ledger.close()
    kept.close()
    return folder / "warehouse"


def test_the_answers_in_the_page_are_those_of_an_export(tmp_path: Path) -> None:
    warehouse = exported(tmp_path)
    asked = questions(PAGE.read_text())

    assert len(asked) == 5
    for sql, shown in asked:
        assert answer(warehouse, sql) == shown, sql


def test_other_readers_see_the_same_lines(tmp_path: Path) -> None:
    import pyarrow.dataset as dataset

    warehouse = exported(tmp_path)

    found = dataset.dataset(warehouse / "facts", partitioning="hive").to_table().to_pydict()

    assert len(found["id"]) == len(three_days())
    told = answer(warehouse, "SELECT sum(change)::bigint AS all_of_it FROM facts")
    assert sum(found["change"]) == int(told.split()[1])
    assert {time.tzinfo is not None for time in found["log_at"]} == {True}
