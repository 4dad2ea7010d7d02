"""Files that are read again when they change, without a restart."""

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
_Mark = tuple[int, int, int, int]


class AccessError(Exception):
    """A file of tokens, secrets or certificates that cannot be used; one plain sentence."""


class WatchedFiles(Generic[T]):
    """What files make together, as it was when it was last right.

    Args:
        paths: of the files; a link is followed, so that a mounted secret may be swapped.
        load: makes the value of them; raises AccessError.

    Raises:
        AccessError: they cannot be used at the start. Later that is said in the log, and what
            was known before stays.
    """

    def __init__(self, paths: tuple[Path, ...], load: Callable[[], T]) -> None:
        self._paths, self._load = paths, load
        #: How long a change may stay unseen.
        self.every_s = UNSEEN_S
        self._look_at = 0.0
        # Before they are read: what changes meanwhile is seen by the next look.
        self._marks = [_mark(path) for path in paths]
        self._value = load()

    def get(self) -> T:
        """The value; looks for a change once in `every_s`."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + self.every_s
            self.look()
        return self._value

    def look(self) -> None:
        """Read them again if one has changed."""
        marks = [_mark(path) for path in self._paths]
        if marks == self._marks:
            return
        self._marks = marks
        try:
            self._value = self._load()
        except AccessError as error:
            log.error("%s What was known before goes on to hold.", error)
        else:
            verb = "were" if len(self._paths) > 1 else "was"
            log.info("%s %s read again.", " and ".join(map(str, self._paths)), verb)


class WatchedFile(WatchedFiles[T]):
    """One file. `read` makes the value of its bytes; raises AccessError."""

    def __init__(self, path: Path, read: Callable[[bytes], T]) -> None:
        super().__init__((path,), lambda: _read_by(path, read))


def _read_by(path: Path, read: Callable[[bytes], T]) -> T:
    try:
        return read(contents_of(path))
    except AccessError as error:
        raise AccessError(f"{path}: {error}") from error


def contents_of(path: Path) -> bytes:
    """What a file holds; raises AccessError, without its name."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise AccessError("it is too large to be one of Onhand's files.")
        return path.read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise AccessError(f"it cannot be read ({why}): let this user read it.") from error


def _mark(path: Path) -> _Mark | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # The last: it can be read now, and could not before.
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns
