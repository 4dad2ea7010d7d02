"""What an export is to write, what it has written, and what all of them wrote before.

Each export goes from the positions where the last one ended to those that the ledger had when it
began. Lines below a position never change, so what it writes is settled then: `plan.json` says
so, and after a crash the same export goes on where a file was last finished. Its manifest comes
last. Two manifests that follow each other join without gap or overlap: `to` of the one is `from`
of the next, by topic-partition.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from core.words import in_words

#: Number of the layout of files and manifests.
MANIFEST_FORMAT: Final = 1
PLAN: Final = "plan.json"


class ExportRefused(Exception):
    """It would not be exact, or cannot be done; the message is one sentence."""


class ExportedFile(Struct, frozen=True, kw_only=True):
    """One Parquet file. path: below the folder. day: UTC, of its lines' `log_at`."""

    path: str
    day: str
    rows: int
    bytes: int
    sha256: str


class ChainAt(Struct, frozen=True):
    """The chain's head where an export ends; `onhand audit --chain --against` takes these."""

    topic: str
    partition: int
    next: int
    head: str


class Manifest(Struct, frozen=True, kw_only=True, rename={"start": "from"}):
    """What one export wrote. start, to: next offsets, as `topic-partition`."""

    format: int = MANIFEST_FORMAT
    number: int
    ledger: str
    start: dict[str, int]
    to: dict[str, int]
    rows: int
    files: list[ExportedFile]
    heads: list[ChainAt]
    written_at: str


class ExportCursor(Struct, frozen=True):
    """Where the next file begins: a day, and in it a topic, a partition and an offset."""

    day: str
    topic: int
    part: int
    offset: int


class Plan(Struct, kw_only=True):
    """An export that is under way. cursor: None before its first file is finished."""

    number: int
    ledger: str
    start: dict[str, int]
    to: dict[str, int]
    heads: list[ChainAt]
    files: list[ExportedFile] = []
    cursor: ExportCursor | None = None


def manifest_name(number: int) -> str:
    """Of the export of this number, 1 and up."""
    return f"manifest-{number:05}.json"


def manifests(folder: Path) -> list[Manifest]:
    """All that are there, in order.

    Raises:
        ExportRefused: they do not follow each other, or cannot be read.
    """
    found: list[Manifest] = []
    for path in sorted(folder.glob("manifest-*.json")):
        one: Manifest = _read(path, Manifest)
        if one.format != MANIFEST_FORMAT:
            raise ExportRefused(
                f"{path} is of format {one.format}, and this build writes {MANIFEST_FORMAT}."
            )
        if found and (one.number != found[-1].number + 1 or one.start != found[-1].to):
            raise ExportRefused(
                f"{path} does not go on where the one before it ends: one of them is missing. "
                "Export into an empty folder."
            )
        found.append(one)
    if found and found[0].number != 1:
        raise ExportRefused(f"{folder} has lost its first manifest: export into an empty folder.")
    return found


def plan_in(folder: Path) -> Plan | None:
    """The export that was not finished, if one was not."""
    path = folder / PLAN
    return _read(path, Plan) if path.exists() else None


def _read(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise ExportRefused(f"{path} cannot be read ({in_words(error)}).") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise ExportRefused(f"{path} cannot be read ({error}): export elsewhere.") from error


def write_whole(path: Path, content: object) -> None:
    """Write a JSON file so that it is there whole, or as it was; also after a power cut."""
    aside = path.with_name(f".{path.name}.tmp")
    with aside.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(content), indent=1))
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    settle(path.parent)


def settle(folder: Path) -> None:
    """Make what was renamed in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def place_name(topic: str, part: int) -> str:
    """A topic-partition as manifests name it."""
    return f"{topic}-{part}"


def exported_places(topics: Sequence[str], partitions: int) -> list[tuple[int, int, str]]:
    """Topic's number, partition and name of each topic-partition, in the order of files."""
    return [(t, p, place_name(name, p)) for t, name in enumerate(topics) for p in range(partitions)]
