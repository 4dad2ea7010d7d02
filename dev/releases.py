"""The releases, as docs/releases.toml names them."""

from __future__ import annotations

import tomllib
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
