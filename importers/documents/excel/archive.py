"""The archive that a workbook is: its parts, each unpacked in pieces and never beyond a bound.

What an archive says of its own sizes is not believed: bytes are counted as they come out.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

from importers.documents.port import BrokenDocument

ZIP_HEAD: Final = b"PK\x03\x04"
#: Of one part, unpacked; a sheet of a million rows and twenty columns has about one GiB.
MAX_PART_BYTES: Final = 4 << 30
_CHUNK_BYTES: Final = 1 << 16
#: Of the list of parts, which is read as a whole.
_MAX_LIST_BYTES: Final = 1 << 20
_END: Final = struct.Struct("<4s4H2LH")
_END_HEAD: Final = b"PK\x05\x06"
_END_64_HEAD: Final = b"PK\x06\x07"
_MAX_END_BYTES: Final = _END.size + 0xFFFF
_PACKED_BY: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class PartArchive:
    """An archive of parts with names, which differ in more than capitals.

    Args:
        file: that can be sought; it stays its owner's to close.
        most_bytes: of one part, unpacked.

    Raises:
        BrokenDocument: it is none that can be read.
    """

    def __init__(self, file: BinaryIO, most_bytes: int = MAX_PART_BYTES) -> None:
        self._most_bytes = most_bytes
        _check_end(file)
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as why:
            raise broken_workbook(f"Its archive cannot be read ({why})") from None
        self._parts: dict[str, zipfile.ZipInfo] = {}
        for part in self._zip.infolist():
            if self._parts.setdefault(part.filename.lower(), part) is not part:
                raise broken_workbook(f"It has two parts {part.filename[:100]!a}")

    def has(self, name: str) -> bool:
        """Whether there is a part of that name."""
        return name.lower() in self._parts

    def pieces(self, name: str, most_bytes: int | None = None) -> Iterator[bytes]:
        """Unpack a part.

        Args:
            name: of the part.
            most_bytes: where fewer are allowed than of any part.

        Raises:
            BrokenDocument: it is not there, is damaged, locked or larger than allowed.
        """
        part = self._parts.get(name.lower())
        if part is None:
            raise broken_workbook(f"It has no part {name[:100]!a}")
        if part.flag_bits & 1 or part.compress_type not in _PACKED_BY:
            raise broken_workbook(f"Its part {name[:100]!a} is locked, or packed unlike Excel does")
        most = min(self._most_bytes, most_bytes or self._most_bytes)
        count = 0
        try:
            with self._zip.open(part) as file:
                while piece := file.read(_CHUNK_BYTES):
                    count += len(piece)
                    if count > most:
                        raise BrokenDocument(
                            f"Its part {name[:100]!a} has more than {most:,} bytes when it is "
                            "unpacked: split the workbook, or save the sheet as CSV (UTF-8)."
                        )
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as why:
            raise broken_workbook(f"Its part {name[:100]!a} is damaged ({why})") from None


def broken_workbook(what: str) -> BrokenDocument:
    """Return what is raised for a workbook of which nothing may be taken."""
    return BrokenDocument(f"{what}: open it in Excel and save it again, as .xlsx.")


def _check_end(file: BinaryIO) -> None:
    """Refuse a list of parts that would fill the memory, before anybody reads it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _MAX_END_BYTES))
    end = file.read(_MAX_END_BYTES)
    at = end.rfind(_END_HEAD)
    if at < 0 or len(end) - at < _END.size:
        raise broken_workbook("Its archive has no end, so it is cut off or something else")
    list_bytes = _END.unpack_from(end, at)[5]
    if list_bytes > _MAX_LIST_BYTES or end[max(0, at - 20) : at].startswith(_END_64_HEAD):
        raise broken_workbook("It has more parts than any workbook")
