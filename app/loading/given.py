"""What is loaded: bytes that are read twice, from the disk or as they came by HTTP."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec


class GivenFile(Protocol):
    """A file; as text, what messages call it."""

    @property
    def name(self) -> str:
        """Under which it is remembered, and a table is known."""

    def open(self) -> BinaryIO:
        """At its first byte. Raises OSError."""

    def version(self) -> tuple[int, int]:
        """Another one after each change. Raises OSError."""


class FileOnDisk(msgspec.Struct, frozen=True):
    """A file that others may change meanwhile."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """As text, whatever bytes it has."""
        return os.fsencode(self.path.name).decode("utf-8", "backslashreplace")

    def open(self) -> BinaryIO:
        """At its first byte. Raises OSError."""
        return self.path.open("rb")

    def version(self) -> tuple[int, int]:
        """Size and time of change. Raises OSError."""
        found = os.stat(self.path)
        return found.st_size, found.st_mtime_ns


class FileInMemory(msgspec.Struct, frozen=True):
    """A file as somebody sent it."""

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name

    def open(self) -> BinaryIO:
        """At its first byte."""
        return io.BytesIO(self.data)

    def version(self) -> tuple[int, int]:
        """Always the same."""
        return len(self.data), 0
