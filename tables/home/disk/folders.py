"""Folders that a process needs before it can begin."""

from __future__ import annotations

from pathlib import Path

from tables.home.disk.sayings import said


def make_folder(folder: Path) -> None:
    """Make it, with those above it, unless it is there.

    Raises:
        StoreFailed: the disk refused; the message is one sentence with the remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise said(folder, error, reading=False) from error
