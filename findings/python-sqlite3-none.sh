#!/usr/bin/env bash
# Python's sqlite3 (3.11) takes six times as long to bind None, or bytes, as an int: an event log in
# SQLite whose optional fields are NULL pays more for what is not there than for what is.
#
# Expected: None and bytes are values that SQLite has itself, so binding them costs what binding an
#   int or a str costs.
# Seen: Modules/_sqlite exempts exactly int, float, str and bytearray from adaptation (`need_adapt`).
#   For each None and each bytes it makes a tuple, looks into the dict of adapters, and asks
#   PrepareProtocol for __adapt__ and the value for __conform__, which takes an AttributeError that
#   is thrown away. 1. An adapter registered for NoneType or bytes is called for each of them.
#   2. None takes 320 ns where 0 takes 46; b"a" 440 where bytearray(b"a") takes 110. A line of 22
#   columns, six of them NULL, is written in half the time if NULL columns are not mentioned.
# Exits non-zero if any of that changes.
set -euo pipefail
python3 - <<'PY'
import sqlite3
import sys
import time

WIDTH, ROWS = 20, 5_000
columns, marks = ", ".join(f"c{n}" for n in range(WIDTH)), ", ".join("?" * WIDTH)


def nanoseconds(value):
    """CPU to bind one such value; the least of many."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute(f"CREATE TABLE t ({columns})")
    least = float("inf")
    for _ in range(9):
        db.execute("BEGIN")
        began = time.process_time()
        db.executemany(f"INSERT INTO t VALUES ({marks})", [(value,) * WIDTH] * ROWS)
        least = min(least, time.process_time() - began)
        db.execute("ROLLBACK")
    return least / ROWS / WIDTH * 1e9


print(sys.version.split()[0])
took = {repr(value): nanoseconds(value) for value in (None, 0, b"a", bytearray(b"a"))}
print({value: round(ns) for value, ns in took.items()})
assert took["None"] > 2.5 * took["0"], took
assert took["b'a'"] > 2 * took["bytearray(b'a')"], took

asked = []
for kind in (type(None), bytes):
    sqlite3.register_adapter(kind, lambda value: asked.append(type(value).__name__) or value)
sqlite3.connect(":memory:").execute("SELECT ?, ?, ?", (None, b"a", 1))
print("asked for an adapter of:", asked)
assert asked == ["NoneType", "bytes"], asked
PY
echo "As described."
