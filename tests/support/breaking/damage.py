"""Damage to the files of a store: any range of bytes, ends that are lost, files that are lost."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from tables.home.rocks import RocksStores
from tables.home.store import Local, Store, StoreDamaged, row_pairs

#: What RocksDB never reads for its data; and what it does not need.
_NOT_READ = ("LOG", "LOCK")
_NOT_NEEDED = ("OPTIONS", "IDENTITY", "rocksdict")


def files_of(store: Path) -> list[Path]:
    """What a store rests on, by name."""
    return sorted(f for f in store.iterdir() if f.is_file() and not f.name.startswith(_NOT_READ))


def damage(store: Path, rng: random.Random, wide: bool = False) -> str:
    """Do something to one file of a store; says what, so that it can be done again.

    wide: a good piece of what is needed, so that it is likely to be met.
    """
    files = [f for f in files_of(store) if not (wide and f.name.startswith(_NOT_NEEDED))]
    # Each kind of file as likely as another, however many there are of it.
    kinds = sorted({file.name.partition("-")[0].rpartition(".")[2] for file in files})
    kind = rng.choice(["sst", *kinds] if wide else kinds)
    file = rng.choice([f for f in files if kind in f.name] or files)
    held = file.read_bytes()
    start = rng.randrange(max(1, len(held) // 2 if wide else len(held)))
    sizes = [4096, len(held) // 2, len(held)] if wide else [1, 7, 64, 4096, len(held)]
    end = min(len(held), start + rng.choice(sizes))
    how = rng.choice(["zeros", "ones", "noise", "bit", "cut", "lost"])
    with file.open("r+b") as there:  # the same file to whoever has it open
        match how:
            case "zeros":
                there.seek(start)
                there.write(bytes(end - start))
            case "ones":
                there.seek(start)
                there.write(b"\xff" * (end - start))
            case "noise":
                there.seek(start)
                there.write(rng.randbytes(end - start))
            case "bit" if held:
                there.seek(start)
                there.write(bytes([held[start] ^ 1 << rng.randrange(8)]))
            case "cut":
                there.truncate(start)
    if how == "lost":
        file.unlink()
    return f"{file.name}: {how} from {start} to {end} of {len(held)}"


class Life:
    """A store's life of many writes, and what it held after each.

    A crash is copied to `crashed`: a store in use, with its log, several files, and a changed
    list of files.
    """

    def __init__(self, folder: Path, rng: random.Random, steps: int = 60) -> None:
        self.crashed = folder / "crashed"
        #: By changelog offset, all rows.
        self.held: dict[int, dict[bytes, bytes]] = {0: {}}
        rows: dict[bytes, bytes] = {}
        stores = RocksStores(folder / "lived", "inventory")
        store = stores.open(0)
        for step in range(1, steps + 1):
            puts = {b"%04d\x00x" % rng.randrange(2000): rng.randbytes(60) for _ in range(40)}
            deletes = [
                key for key in rng.sample(sorted(rows), min(5, len(rows))) if key not in puts
            ]
            # What is loaded becomes files; what is written is in the log alone at first.
            loads = step < steps // 3 or step % 9 == 0
            (store.load if loads else store.write)(puts, deletes, Local(step, step - 1))
            rows = {k: v for k, v in rows.items() if k not in deletes} | puts
            self.held[step] = rows
            if step % 25 == 0:
                store.close()
                store = stores.open(0)
        settled(store)
        copied(folder / "lived", self.crashed)
        store.close()
        stores.close()


def copied(used: Path, copy: Path) -> None:
    """As a crash leaves a folder in use; again where RocksDB removes a file meanwhile."""
    for _ in range(20):
        try:
            shutil.copytree(used, copy)
            return
        except shutil.Error:
            shutil.rmtree(copy)
    raise AssertionError(f"{used} never stood still")


def settled(store: Store) -> None:
    """Wait until what was loaded is in files."""
    store.write({}, [], store.local)


def rows_of(store: Store) -> dict[bytes, bytes]:
    return dict(row_pairs(store))


def lived_on(life: Life, folder: Path, seed: int) -> None:
    """Damage a copy of a store, before or while it is open, and use it.

    All that it says is what it held after one of its writes, and goes on from there, or it says
    that it is damaged.
    """
    rng = random.Random(seed)
    shutil.copytree(life.crashed, folder)
    is_open = rng.random() < 0.5
    what = "" if is_open else damage(folder / "inventory-0", rng)
    stores = RocksStores(folder, "inventory")
    try:
        store = stores.open(0)
        if is_open:
            what = damage(folder / "inventory-0", rng)
        try:
            _use(store, life, f"seed {seed}, open {is_open}: {what}")
            grown = life.held[store.local.next_offset] | {b"zz\x00x": b"1"}
            store.write({b"zz\x00x": b"1"}, [], Local(99, 98))
        finally:
            store.close()
        store = stores.open(0)
        try:
            # What was written into a damaged log may be missing again, from some write on.
            held = {**life.held, 99: grown}
            assert rows_of(store) == held[store.local.next_offset], f"seed {seed}: {what}"
        finally:
            store.close()
    except StoreDamaged:
        stores.wipe(0)
        store = stores.open(0)
        assert (rows_of(store), store.local) == ({}, Local()), f"seed {seed}: {what}"
        store.close()
    finally:
        stores.close()


def _use(store: Store, life: Life, what: str) -> None:
    wanted = life.held[store.local.next_offset]
    keys = sorted(life.held[max(life.held)])
    assert store.get_many(keys) == [wanted.get(key) for key in keys], what
    assert [store.get(key) for key in keys[:50]] == [wanted.get(key) for key in keys[:50]], what
    assert rows_of(store) == wanted, what
