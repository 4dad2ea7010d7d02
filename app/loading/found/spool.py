"""What the first reading of files found, so that none of them is read and cut a second time.

It lies in a file without a name, in the system's folder for such (TMPDIR): the kernel takes its
room back with the process, however that ends, so no later one has anything to clear away. Where
there is no room for it, nothing is kept, and a file is read twice as it always can be.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from typing import IO, Any, Final, TypeAlias

import cramjam

#: Where something lies: its first byte, and how many there are.
KeptAt: TypeAlias = tuple[int, int]
#: So much stays in memory: most loads never touch the disk.
_IN_MEMORY: Final = 2**20
_MOST_BYTES: Final = 4 * 2**30


class Spool:
    """Of one load.

    Args:
        most_bytes: that are kept, packed.
        on_disk: what is beyond a MiB goes there, at most half of what is free; else to memory.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES, *, on_disk: bool = True) -> None:
        self._most, self._on_disk = most_bytes, on_disk
        self._end = 0
        self._file: IO[bytes] | None = BytesIO()
        self._has_moved = not on_disk

    def keep(self, data: bytes) -> KeptAt | None:
        """Keep it; None: nothing is kept any more, of what came before neither."""
        packed = bytes(cramjam.lz4.compress_block(data))
        if self._file is None:
            return None
        found = self._end, len(packed)
        try:
            if not self._has_moved and self._end + len(packed) > _IN_MEMORY:
                self._move(self._file)
            if self._end + len(packed) > self._most:
                self.close()
                return None
            self._file.seek(self._end)
            self._file.write(packed)
            # A disk that is full says so here, and not when it is read.
            self._file.flush()
        except OSError:
            self.close()
            return None
        self._end += len(packed)
        return found

    def _move(self, before: IO[Any]) -> None:
        """From memory to the disk; raises OSError."""
        folder = tempfile.gettempdir()
        self._most = min(self._most, shutil.disk_usage(folder).free // 2)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed with the load
        self._has_moved = True
        before.seek(0)
        shutil.copyfileobj(before, self._file)

    def read(self, extents: Sequence[KeptAt]) -> Iterator[bytes] | None:
        """What was kept there, one after the other; None: it is not there any more.

        Raises:
            OSError: while it is read, by a disk that fails.
        """
        return None if self._file is None else self._read(self._file, extents)

    def _read(self, file: IO[bytes], extents: Sequence[KeptAt]) -> Iterator[bytes]:
        for begin, length in extents:
            file.seek(begin)
            packed = file.read(length)
            if len(packed) != length:
                raise OSError(f"{length} bytes were kept, and {len(packed)} came back")
            yield bytes(cramjam.lz4.decompress_block(packed))

    def close(self) -> None:
        """Give its room back."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._file = None
