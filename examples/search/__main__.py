"""Keeps an index of all rows, to be searched by words, fresh out of the feed of rows.

    python -m examples.search FILE URL...
    python -m examples.search FILE --find WORDS...

FILE: an SQLite database; it may be new. URL: of workers; when one does not answer the next is
asked. ONHAND_TOKEN: a token with the scope read, where there are tokens.

Rows and the position behind them are one transaction. At a `reset` changes are missing: all rows
are listed, as they are there or later, and the feed is followed from there. So whoever is
killed, the index becomes what the rows are.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from http.client import HTTPException
from itertools import cycle
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

SILENCE_S, PAUSE_S = 20.0, 0.5  # the feed says something every few seconds
SCHEMA = """
CREATE TABLE IF NOT EXISTS stock(number INTEGER PRIMARY KEY, sku TEXT, location TEXT,
  on_hand INTEGER NOT NULL, events INTEGER NOT NULL, UNIQUE (sku, location));
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(sku, location);
CREATE TRIGGER IF NOT EXISTS gained AFTER INSERT ON stock BEGIN
  INSERT INTO words(rowid, sku, location) VALUES (new.number, new.sku, new.location); END;
CREATE TRIGGER IF NOT EXISTS lost AFTER DELETE ON stock BEGIN
  DELETE FROM words WHERE rowid = old.number; END;
CREATE TABLE IF NOT EXISTS place(one INTEGER PRIMARY KEY CHECK (one = 1), position TEXT);
"""
# A row that is told may be older than one that was listed: more events are newer.
KEEP = (
    "INSERT INTO stock(sku, location, on_hand, events) VALUES (:sku, :location, :on_hand, :events) "
    "ON CONFLICT(sku, location) DO UPDATE SET on_hand = excluded.on_hand, "
    "events = excluded.events WHERE excluded.events >= stock.events"
)
MOVE = "INSERT INTO place VALUES (1, ?) ON CONFLICT DO UPDATE SET position = excluded.position"
FIND = (
    "SELECT stock.sku, stock.location, on_hand FROM words JOIN stock ON number = words.rowid "
    "WHERE words MATCH ? ORDER BY rank, stock.sku, stock.location LIMIT 50"
)
Json = dict[str, Any]


class Index:
    """Our own rows, and up to where they are."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.executescript(SCHEMA)

    @property
    def position(self) -> str:
        """Where to go on; empty at the very beginning."""
        found = self._database.execute("SELECT position FROM place").fetchone()
        return "" if found is None else str(found[0])

    def take(self, rows: Iterable[Json], position: str, *, is_all: bool = False) -> None:
        """Keep these rows and move on, both or neither. is_all: there are no others."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            if is_all:
                self._database.execute("DELETE FROM stock")
            self._database.executemany(KEEP, rows)
            self._database.execute(MOVE, [position])

    def find(self, words: Sequence[str]) -> list[tuple[str, str, int]]:
        """SKU, location and on hand of rows whose names have words that begin so."""
        wanted = " ".join(f'"{word.replace(chr(34), "")}"*' for word in words)
        return self._database.execute(FIND, [wanted]).fetchall()


def ask(url: str, path: str, accept: str, **query: str | int) -> Any:
    """An answer whose body is still to be read."""
    headers = {"Accept": accept}
    if token := os.environ.get("ONHAND_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    return urlopen(Request(f"{url}{path}?{urlencode(query)}", headers=headers), timeout=SILENCE_S)


def listed(url: str, position: str) -> Iterator[Json]:
    """All rows, none of them older than the position."""
    query: dict[str, Any] = {"limit": 1000, "min_position": position, "wait_ms": 10_000}
    while True:
        with ask(url, "/v1/inventory", "application/json", **query) as answer:
            page = json.load(answer)
        yield from page["items"]
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]


def follow_one(index: Index, url: str) -> bool:
    """Until the connection ends; or rows have been listed anew, which is true."""
    rows: list[Json] = []
    with ask(url, "/v1/changes", "application/x-ndjson", of="rows", after=index.position) as feed:
        for line in map(json.loads, feed):
            if line["event"] == "row":
                rows.append(line["data"])
            elif line["event"] == "position":
                index.take(rows, line["id"])
                rows = []
            elif line["event"] == "reset":
                break
        else:
            return False
    index.take(list(listed(url, line["id"])), line["id"], is_all=True)
    return True


def follow(index: Index, urls: Sequence[str]) -> NoReturn:
    """Ask the next worker where one does not answer."""
    for url in cycle(urls):
        try:
            while follow_one(index, url):
                pass
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
        raise SystemExit("usage: python -m examples.search FILE URL... | FILE --find WORDS...")
    index = Index(sys.argv[1])
    if sys.argv[2] != "--find":
        follow(index, sys.argv[2:])
    for sku, location, on_hand in index.find(sys.argv[3:]):
        print(f"{on_hand:>8}  {sku}  {location}")


if __name__ == "__main__":
    main()
