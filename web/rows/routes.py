"""What a program says of its calls: a path, and how rows are found and shown there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

#: A row as people see it: of its key and its value as they are stored. Raises ValueError for
#: what is no row: the store is given up then.
RowView: TypeAlias = Callable[[bytes, bytes], Mapping[str, Any]]

_KEY_PATH = re.compile(r"((?:/[a-z0-9-]+)+)((?:/\{[a-z_]+\})+)")


class RowPlace(NamedTuple):
    """Where a row is.

    home: key of the records that it was made of: says which partition has it. row: its key.
    """

    home: bytes
    row: bytes


class KeyRoute(msgspec.Struct, frozen=True):
    """One row by its key.

    path: such as `/counts/{word}`: fixed parts, then one part or more of a key, which may be
        empty and hold anything, percent-encoded.
    place: of these parts, decoded. Raises ValueError with a sentence without its subject.
    shown: the row.
    """

    path: str
    place: Callable[..., RowPlace]
    shown: RowView

    def __post_init__(self) -> None:
        if not _KEY_PATH.fullmatch(self.path):
            raise ValueError(f"{self.path} is no path like /counts/{{word}}")

    @property
    def prefix(self) -> str:
        """What stands before the key: `/counts/`."""
        return self.path[: self.path.index("{")]

    @property
    def parts(self) -> list[str]:
        """Names of the key's parts."""
        return re.findall(r"\{([a-z_]+)\}", self.path)


class TopRoute(msgspec.Struct, frozen=True):
    """The rows with the largest rank, of all partitions; reads the whole table.

    rank: of a row's value as it is stored. Raises ValueError as `shown` does.
    """

    path: str
    rank: Callable[[bytes], int]
    shown: RowView
