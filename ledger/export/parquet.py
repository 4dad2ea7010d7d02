"""Lines of the ledger as Parquet. The only file that knows pyarrow, which is not always there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ledger.export.plan import ExportRefused, settle

#: Lines of a row group: enough for statistics to be worth their bytes, about 30 MB in memory.
GROUP_ROWS: Final = 100_000
_AT_ONCE: Final = 2**20


def pyarrow() -> Any:
    """The library.

    Raises:
        ExportRefused: it is not installed.
    """
    try:
        import pyarrow as found
        import pyarrow.parquet
    except ImportError:
        raise ExportRefused(
            "Parquet is written by pyarrow, which is not installed with the service (165 MB): "
            "install requirements-warehouse.lock into its environment."
        ) from None
    return found


def schema() -> Any:
    """Columns of a file. Times are UTC, to the microsecond."""
    pa = pyarrow()
    time, word = pa.timestamp("us", "UTC"), pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("topic", word),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("log_at", time),
            ("recorded_at", time),
            ("occurred_at", time),
            ("outcome", word),
            ("repeat_of", pa.int64()),
            ("type", word),
            ("quantity", pa.int64()),
            ("change", pa.int64()),
            ("sku", pa.string()),
            ("location", word),
            ("source", word),
            ("id", pa.string()),
            ("reference", pa.string()),
            ("reason", pa.string()),
            ("actor", pa.string()),
            ("refused", word),
        ]
    )


class ParquetFile:
    """One file, written aside and put in its place when it is whole."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as parquet

        self._path, self._aside = path, path.with_name(f".{path.name}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._schema = schema()
        self._writer = parquet.ParquetWriter(
            self._aside, self._schema, compression="zstd", compression_level=3
        )
        self._waiting: list[Sequence[Any]] = []
        self.rows = 0

    def add(self, lines: Sequence[Sequence[Any]]) -> None:
        """Write lines; each in the order of the schema."""
        self._waiting += lines
        self.rows += len(lines)
        if len(self._waiting) >= GROUP_ROWS:
            self._write()

    def _write(self) -> None:
        pa = pyarrow()
        columns = zip(*self._waiting, strict=True)
        arrays = [
            pa.array(column, field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._waiting = []

    def finish(self) -> tuple[int, str]:
        """Put it in its place for good; bytes and SHA-256."""
        if self._waiting:
            self._write()
        self._writer.close()
        digest = hashlib.sha256()
        with self._aside.open("r+b") as file:
            while piece := file.read(_AT_ONCE):
                digest.update(piece)
            os.fsync(file.fileno())
        size = self._aside.stat().st_size
        self._aside.rename(self._path)
        settle(self._path.parent)
        return size, digest.hexdigest()

    def drop(self) -> None:
        """It will not be whole."""
        self._writer.close()
        self._aside.unlink(missing_ok=True)
