"""A file that is read again when it changes, without a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
UNSEEN_S = 1.0
#: A file of ours is far smaller; whatever is larger is another one.
MAX_BYTES = 16 * 2**20
_Mark = tuple[int, int, int]


class AccessError(Exception):
    """A file of tokens or secrets that cannot be used; the message is one plain sentence."""


class WatchedFile(Generic[T]):
    """What a file holds, as it was when it was last right.

    Args:
        path: of the file; a link is followed, so that a mounted secret may be swapped.
        read: makes the value of the bytes; raises AccessError.

    Raises:
        AccessError: it cannot be read at the start. Later that is said in the log, and what
            was known before stays.
    """

    def __init__(self, path: Path, read: Callable[[bytes], T]) -> None:
        self._path, self._read = path, read
        #: How long a change may stay unseen.
        self.every_s = UNSEEN_S
        self._look_at = 0.0
        self._mark = _mark(path)
        self._value = self._load()

    def get(self) -> T:
        """The value; looks for a change once in `every_s`."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + self.every_s
            self.look()
        return self._value

    def look(self) -> None:
        """Read it again if it has changed."""
        mark = _mark(self._path)
        if mark == self._mark:
            return
        self._mark = mark
        try:
            self._value = self._load()
        except AccessError as error:
            log.error("%s What was known before goes on to hold.", error)
        else:
            log.info("%s was read again.", self._path)

    def _load(self) -> T:
        try:
            if self._path.stat().st_size > MAX_BYTES:
                raise AccessError(f"{self._path} is too large to be one of Onhand's files.")
            return self._read(self._path.read_bytes())
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise AccessError(
                f"{self._path} cannot be read ({why}): let this user read it."
            ) from error
        except AccessError as error:
            raise AccessError(f"{self._path}: {error}") from error


def _mark(path: Path) -> _Mark | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
