"""pandas and polars read what `onhand export` wrote, each line as DuckDB reads it.

Both are large, and nothing else here needs them: `make readers` installs them and runs this.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from dev.oracle.rows import Key
from ledger.export.parquet import schema
from tests.integration.ledger.test_export import FILES, across_days, export, query
from tests.ledgers.kept import Kept
from tests.ledgers.logs import a_log, judged

#: In the order of the files, and what the folder's name says.
NAMES, DAY = tuple(schema().names), "day"
TIMES = ("log_at", "recorded_at", "occurred_at")
RECORDS = across_days(a_log(12, 600))
Line = tuple[Any, ...]


def library(name: str) -> Any:
    return pytest.importorskip(
        name, reason="`make readers` installs it", exc_type=ModuleNotFoundError
    )


def exported(folder: Path) -> Path:
    """Two exports, in many files."""
    kept = Kept(f"sqlite:///{folder}/ledger.db")
    for records in (RECORDS[:400], RECORDS[400:]):
        kept.feed(records)
        assert export(kept, folder / "warehouse") is not None
    kept.close()
    return folder / "warehouse"


def by_duckdb(folder: Path) -> list[Line]:
    """All lines by place; times in µs, the day as text."""
    chosen = [f"epoch_us({name})" if name in TIMES else f'"{name}"' for name in NAMES]
    return sorted(query(folder, f"SELECT {', '.join(chosen)}, {DAY}::varchar FROM FACTS"))


def by_pandas(folder: Path) -> tuple[list[Line], dict[Key, int]]:
    """The same, and what is on hand."""
    pandas = library("pandas")
    frame = pandas.read_parquet(folder / "facts")
    assert {str(frame[name].dt.tz) for name in TIMES} == {"UTC"}
    columns = [
        [None if pandas.isna(value) else _plain(value) for value in frame[name]]
        for name in (*NAMES, DAY)
    ]
    applied = frame[frame["outcome"] == "applied"]
    grouped = applied.groupby(["sku", "location"], observed=True)["change"].sum()
    return sorted(zip(*columns, strict=True)), grouped.to_dict()


def _plain(value: Any) -> Any:
    """A pandas Timestamp says nanoseconds."""
    return value.value // 1000 if hasattr(value, "nanosecond") else value


def by_polars(folder: Path) -> tuple[list[Line], dict[Key, int]]:
    """The same."""
    polars = library("polars")
    facts = polars.scan_parquet(folder / FILES, hive_partitioning=True)
    assert {facts.collect_schema()[name].time_zone for name in TIMES} == {"UTC"}
    times = [polars.col(name).dt.epoch("us") for name in TIMES]
    lines = facts.with_columns(*times, polars.col(DAY).cast(polars.String))
    applied = facts.filter(polars.col("outcome").cast(polars.String) == "applied")
    sums = applied.group_by("sku", "location").agg(polars.col("change").sum()).collect()
    on_hand = {(sku, location): change for sku, location, change in sums.rows()}
    return sorted(lines.select(*NAMES, DAY).collect().rows()), on_hand


@pytest.mark.parametrize("read", [by_pandas, by_polars])
def test_another_reader_sees_each_line_as_duckdb_does_and_adds_up_the_same_stock(
    read: Callable[[Path], tuple[list[Line], dict[Key, int]]], tmp_path: Path
) -> None:
    folder = exported(tmp_path)

    lines, on_hand = read(folder)

    expected = by_duckdb(folder)
    assert len(lines) == len(expected) == len(RECORDS)
    assert lines == expected
    assert set(_outcomes(lines)) == {"applied", "repeated", "refused"}
    oracle = judged(RECORDS)
    assert on_hand == {key: row.on_hand for key, row in oracle.rows().items()}


def _outcomes(lines: Iterable[Line]) -> Counter[str]:
    return Counter(line[NAMES.index("outcome")] for line in lines)
