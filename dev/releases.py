"""The releases, as docs/releases.toml names them."""

from __future__ import annotations

import subprocess
import tarfile
import tomllib
from io import BytesIO
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs/releases.toml"


class Release(msgspec.Struct, frozen=True):
    """One release. rules: the numbers that its build can count by."""

    version: str
    date: str
    commit: str
    rules: list[int]


def releases() -> list[Release]:
    """All of them, newest last."""
    found = tomllib.loads(FILE.read_text(encoding="utf-8"))["release"]
    return [Release(**each | {"date": each["date"].isoformat()}) for each in found]


def checked_out(release: Release, folder: Path) -> Path:
    """The files of a release in this folder, which is made; its commit must be in the clone.

    Raises:
        FileNotFoundError: it is not, as in a shallow clone.
    """
    archive = ["git", "archive", "--format=tar", release.commit]
    found = subprocess.run(archive, cwd=ROOT, capture_output=True)  # ours
    if found.returncode:
        raise FileNotFoundError(
            f"Commit {release.commit} of {release.version} is not here: git fetch --unshallow."
        )
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(found.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder
