"""Stores of each kind, for the suite of all and for those on disk."""

from pathlib import Path

from tables.home.memory import MemoryStores
from tables.home.rocks import RocksStores
from tables.home.store import (
    Local,
    Store,
    Stores,
    row_pairs,
)

HERE = Local(next_offset=7, meta_offset=6, incarnation="abc")


def rocks(folder: Path) -> Stores:
    return RocksStores(folder, "inventory")


def memory(folder: Path) -> Stores:
    return MemoryStores()


def rows(store: Store) -> dict[bytes, bytes]:
    return dict(row_pairs(store))
