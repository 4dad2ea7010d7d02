"""What a dead worker left on its disk, opened with RocksDB's own tools, not the service's."""

import json
import shutil
import tempfile
from pathlib import Path

import rocksdict

from dev.workers import Worker
from tests.support.judges.oracle import META


def positions_on_disk(worker: Worker, group: str) -> dict[int, dict[str, int]]:
    """How far each of its stores says it is: next offsets by topic, by partition."""
    assert not worker.alive
    positions = {}
    for store in (worker.data / group).glob("inventory-*"):
        # A copy: to open a store is to finish what its log holds, which is its worker's job.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / store.name
            shutil.copytree(store, copy)
            database = rocksdict.Rdict(str(copy), rocksdict.Options(raw_mode=True))
            meta = database.get(META)
            database.close()
        partition = int(store.name.rpartition("-")[2])
        positions[partition] = json.loads(meta)["positions"] if meta else {}
    return positions
