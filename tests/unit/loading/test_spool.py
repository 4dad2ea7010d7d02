"""What was found in a file is kept for the second time, and nothing is left behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest

from app.loading import pieces
from app.loading.checking import CheckedFile, FileRefused, Opened
from app.loading.found import spool
from app.loading.found.spool import Spool
from app.loading.given import FileOnDisk
from app.loading.pieces import Chunk
from tests.support.inputs.documents import opened, written

TEXT = (
    "doc A\nsold 1\nsold 1000000001\nlevel 4 2026-11-23T10:00:00Z\nother\ndoc B called X\n"
    "revoke A\nsold 3\nrefused\ntest T\nsold 1\ndoc C\n"
)


class Disk(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    monkeypatch.setattr(pieces.chunks, "__kwdefaults__", {"size": 2})
    found = Spool()
    yield found
    found.close()


def check(path: Path, by: Opened) -> CheckedFile:
    return by.check(FileOnDisk(path), lambda one: None, lambda count: None)


def all_of(chunks: Iterator[Chunk]) -> list[bytes]:
    return [chunk.packed() for chunk in chunks]


def keeping(kept: Spool | None) -> Opened:
    by = opened()
    by._spool = kept
    return by


@pytest.mark.parametrize("in_memory", [0, 2**20])
def test_what_was_kept_is_what_reading_again_would_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: Spool, in_memory: int
) -> None:
    monkeypatch.setattr(spool, "_IN_MEMORY", in_memory)
    path, by, twice = written(tmp_path, TEXT), keeping(kept), keeping(None)
    again = all_of(twice.chunks(check(path, twice)))
    checked = check(path, by)
    path.unlink()  # it is not read again

    assert all_of(by.chunks(checked)) == again
    first, second = by.chunks(checked), by.chunks(checked)
    both = [(one.packed(), two.packed()) for one, two in zip(first, second, strict=True)]
    assert both == list(zip(again, again, strict=True))


def test_nothing_of_it_has_a_name_in_the_folder_of_such_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: Spool
) -> None:
    monkeypatch.setattr(spool, "_IN_MEMORY", 0)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    assert kept.keep(b"a" * 100) is not None
    assert list(folder.iterdir()) == []
    assert not isinstance(kept._file, BytesIO)


@pytest.mark.parametrize("why", ["too much", "no room", "no folder"])
def test_where_it_cannot_be_kept_each_file_is_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(pieces.chunks, "__kwdefaults__", {"size": 2})
    monkeypatch.setattr(spool, "_IN_MEMORY", 0)
    if why == "no room":
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(9, 9, 300))
    if why == "no folder":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    by = keeping(Spool(150 if why == "too much" else 2**30))
    checked = [check(written(tmp_path, TEXT, f"{n}.toy"), by) for n in range(2)]
    assert checked[1].kept is None

    for one in checked:
        assert all_of(by.chunks(one)) == all_of(keeping(None).chunks(one))
    checked[0].file.path.write_text("doc A\nsold 2\n")  # type: ignore[attr-defined]
    with pytest.raises(FileRefused, match="was changed while it was loaded"):
        all_of(by.chunks(checked[0]))


def test_a_disk_that_gives_back_too_little_ends_the_load_with_a_sentence(
    tmp_path: Path, kept: Spool
) -> None:
    by = keeping(kept)
    checked = check(written(tmp_path, TEXT), by)
    assert kept._file is not None
    kept._file.truncate(5)

    with pytest.raises(FileRefused, match=r"does not come back .*load it again"):
        all_of(by.chunks(checked))
