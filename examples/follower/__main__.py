"""Keeps what is on hand by SKU and location in a database of its own, out of the feed alone.

    python -m examples.follower FILE URL...

FILE: an SQLite database; it may be new. URL: of workers, such as http://localhost:6066; when
one does not answer the next is asked. ONHAND_TOKEN: a token with the scope read, where there
are tokens.

Each fact and the position behind it are written in one transaction. So whoever is killed, this
program, the worker or the ledger, each fact is counted once: what was not committed is told again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from itertools import cycle
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

#: The feed says something every few seconds: who hears nothing for so long asks elsewhere.
SILENCE_S = 20.0
PAUSE_S = 0.5
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS stock(sku TEXT, location TEXT, on_hand INTEGER NOT NULL, "
    "facts INTEGER NOT NULL, PRIMARY KEY (sku, location))",
    "CREATE TABLE IF NOT EXISTS place(one INTEGER PRIMARY KEY CHECK (one = 1), position TEXT)",
)
COUNT = (
    "INSERT INTO stock VALUES (:sku, :location, :change, 1) ON CONFLICT DO UPDATE SET "
    "on_hand = on_hand + :change, facts = facts + 1"
)
MOVE = "INSERT INTO place VALUES (1, ?) ON CONFLICT DO UPDATE SET position = excluded.position"


class Ended(Exception):
    """The feed cannot go on from our position; the text says why."""


class Copy:
    """Our own sums, and up to where they are."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        # A power cut may undo the last transactions: sums and position together.
        self._database.execute("PRAGMA synchronous=NORMAL")
        for statement in SCHEMA:
            self._database.execute(statement)

    @property
    def position(self) -> str:
        """Where to go on; empty at the very beginning."""
        found = self._database.execute("SELECT position FROM place").fetchone()
        return "" if found is None else str(found[0])

    def take(self, line: dict[str, Any]) -> None:
        """Count one line of the feed and move on, both or neither."""
        self._database.execute("BEGIN IMMEDIATE")
        if line["event"] == "fact" and line["data"]["outcome"] == "applied":
            self._database.execute(COUNT, line["data"])
        self._database.execute(MOVE, [line["id"]])
        self._database.execute("COMMIT")


def lines_of(url: str, position: str) -> Iterator[dict[str, Any]]:
    """Lines of the feed from a position on, for as long as the connection holds."""
    headers = {"Accept": "application/x-ndjson"}
    if token := os.environ.get("ONHAND_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    query = urlencode({"after": position})
    with urlopen(Request(f"{url}/v1/changes?{query}", headers=headers), timeout=SILENCE_S) as feed:
        for raw in feed:
            yield json.loads(raw)


def follow(copy: Copy, urls: Sequence[str]) -> None:
    """Never returns; asks the next worker where one does not answer.

    Raises:
        Ended: it makes no sense to ask again.
    """
    for url in cycle(urls):
        try:
            for line in lines_of(url, copy.position):
                if line["event"] == "problem":
                    raise Ended(line["data"].get("detail", ""))
                if line["event"] != "waiting":
                    copy.take(line)
        except HTTPError as refused:
            detail = json.loads(refused.read() or b"{}").get("detail", refused.reason)
            if refused.code < 500:
                raise Ended(detail) from refused
            print(f"{url}: {detail}", file=sys.stderr)
        except (URLError, OSError, HTTPException, ValueError) as broken:  # or within a line
            print(f"{url}: {broken}", file=sys.stderr)
        time.sleep(PAUSE_S)


def main() -> None:
    """Run it."""
    if len(sys.argv) < 3:
        raise SystemExit("usage: python -m examples.follower FILE URL...")
    try:
        follow(Copy(sys.argv[1]), sys.argv[2:])
    except Ended as why:
        raise SystemExit(f"The feed ended: {why}") from None
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
