"""Keeps a folder of Parquet files with every fact, seconds fresh, out of the feed alone.

    python -m examples.warehouse FOLDER URL...

FOLDER: may be new. URL: of workers; when one does not answer the next is asked. ONHAND_TOKEN: a
token with the scope read, where there are tokens. WAREHOUSE_EVERY_S: seconds of facts in a file
(10). Needs pyarrow. `SELECT sku, location, sum(change) FROM 'FOLDER/*.parquet' GROUP BY ALL` is
what is on hand, in DuckDB.

A file names the position behind its last fact, and appears at once and whole. So whoever is killed,
this program, the worker or the ledger, each fact is in one file: the newest file says from where
on it is followed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from http.client import HTTPException
from itertools import cycle
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.parquet as pq

SILENCE_S, PAUSE_S = 20.0, 0.5  # the feed says something every few seconds
MAX_FACTS = 100_000  # of a file
POSITION = b"onhand.position"
TIMES = ("recorded_at", "occurred_at")
NUMBERS = ("change", "quantity")
TEXTS = (
    *("position", "outcome", "type", "sku", "location", "source", "id"),
    *("reference", "reason", "actor", "of", "refused", "detail"),
)
SCHEMA = pa.schema(
    [(name, pa.timestamp("ms", "UTC")) for name in TIMES]
    + [(name, pa.int64()) for name in NUMBERS]
    + [(name, pa.string()) for name in TEXTS]
)
Json = dict[str, Any]


class Warehouse:
    """A folder of files, and what is to be in the next one."""

    def __init__(self, folder: Path, every_s: float) -> None:
        self._folder, self._every_s = folder, every_s
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob("*.part"):
            unfinished.unlink()
        files = sorted(folder.glob("*.parquet"))
        self._next = 1 + (int(files[-1].stem) if files else 0)
        #: Behind what is in files, and in the next one.
        self.position = pq.read_metadata(files[-1]).metadata[POSITION].decode() if files else ""
        self._facts: list[Json] = []
        self._since = time.monotonic()

    def take(self, line: Json) -> None:
        """A line of the feed; now and then a file."""
        if line["event"] == "fact":
            fact = line["data"]
            times = {name: datetime.fromisoformat(fact[name]) for name in TIMES if name in fact}
            self._facts.append(fact | times)
        self.position = line["id"]
        is_time = time.monotonic() - self._since >= self._every_s
        if self._facts and (is_time or len(self._facts) >= MAX_FACTS):
            self._write()

    def _write(self) -> None:
        file = self._folder / f"{self._next:09}.parquet"
        part = self._folder / f"{self._next:09}.{os.getpid()}.part"
        table = pa.Table.from_pylist(self._facts, schema=SCHEMA)
        pq.write_table(table.replace_schema_metadata({POSITION: self.position}), part)
        sync(part)
        # Unlike a rename it fails where the file is there: another process writes here, too.
        os.link(part, file)
        part.unlink()
        sync(self._folder)
        self._next, self._facts, self._since = self._next + 1, [], time.monotonic()


def sync(path: Path) -> None:
    """Outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lines_of(url: str, position: str) -> Iterator[Json]:
    """Lines of the feed from a position on, for as long as the connection holds."""
    headers = {"Accept": "application/x-ndjson"}
    if token := os.environ.get("ONHAND_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    query = urlencode({"after": position})
    with urlopen(Request(f"{url}/v1/changes?{query}", headers=headers), timeout=SILENCE_S) as feed:
        yield from map(json.loads, feed)


def follow(warehouse: Warehouse, urls: Sequence[str]) -> NoReturn:
    """Ask the next worker where one does not answer."""
    for url in cycle(urls):
        try:
            for line in lines_of(url, warehouse.position):
                if line["event"] == "problem":
                    raise SystemExit(f"The feed ended: {line['data'].get('detail', '')}")
                if line["event"] != "waiting":
                    warehouse.take(line)
        except FileExistsError as other:
            raise SystemExit(f"Another process writes here, too: {other}") from None
        except HTTPError as refused:
            print(f"{url}: {(said := refused.read().decode(errors='replace'))}", file=sys.stderr)
            if refused.code < 500:
                raise SystemExit(f"The feed cannot be followed: {said}") from refused
        except (URLError, OSError, HTTPException, ValueError) as broken:  # or within a line
            print(f"{url}: {broken}", file=sys.stderr)
        time.sleep(PAUSE_S)
    raise AssertionError("there is always a next one")


def main() -> None:
    """Run it."""
    if len(sys.argv) < 3:
        raise SystemExit("usage: python -m examples.warehouse FOLDER URL...")
    every_s = float(os.environ.get("WAREHOUSE_EVERY_S", "10"))
    follow(Warehouse(Path(sys.argv[1]), every_s), sys.argv[2:])


if __name__ == "__main__":
    main()
