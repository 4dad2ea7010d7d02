"""After a kill -9 in the middle of a load a store on disk holds what it says it holds."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dev.workers import ROOT
from tables.home.rocks import RocksStores
from tables.home.store import row_pairs

# A load is large and a write small, and all is ready before the first: the kill comes while
# the last load is on its way to a file.
KILLED = """
import os, signal, sys
from pathlib import Path
from tables.home.rocks import RocksStores
from tables.home.store import Local

store = RocksStores(Path(sys.argv[1]), "inventory").open(3)
sizes = {"load": 20_000, "write": 1}
steps = [
    (getattr(store, step), {b"%d-%05d" % (n, row): bytes(100) for row in range(sizes[step])}, n)
    for n, step in enumerate(sys.argv[2:], 1)
]
for do, rows, n in steps:
    do(rows, [], Local(next_offset=n))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "steps",
    [
        ["load"],
        ["load", "load"],
        ["load", "write"],
        ["load", "load", "write"],
        ["write", "load"],
        ["write", "load", "write", "load"],
    ],
    ids="-".join,
)
def test_after_a_kill_a_store_holds_what_it_claims_and_all_up_to_the_last_write(
    steps: list[str], tmp_path: Path
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path, *steps], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL

    stores = RocksStores(tmp_path, "inventory")
    store = stores.open(3)

    claimed = store.local.next_offset
    assert claimed >= max((n for n, step in enumerate(steps, 1) if step == "write"), default=0)
    held = Counter(int(key[:1]) for key, _ in row_pairs(store))
    assert held == {n: 20_000 if step == "load" else 1 for n, step in enumerate(steps[:claimed], 1)}
    store.close()
    stores.close()
