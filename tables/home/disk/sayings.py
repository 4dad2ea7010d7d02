"""RocksDB tells a full disk from a damaged file by words alone: here they are told apart."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path

from core.words import in_words
from tables.home.store import StoreDamaged, StoreFailed

#: Of what RocksDB or the system says, by errno: the disk is as it was, it only refuses.
_REFUSALS = {
    errno.ENOSPC: "The disk under {path} is full: free space and start the worker again ({text}).",
    errno.EDQUOT: "The disk quota under {path} is used up: raise it or free space, and start the "
    "worker again ({text}).",
    errno.EROFS: "The disk under {path} is read-only: make it writable and start the worker "
    "again ({text}).",
    errno.EACCES: "{path} is closed to this user: give it the folder ({text}).",
    errno.EPERM: "{path} is closed to this user: give it the folder ({text}).",
    errno.EMFILE: "Too many files are open to use {path}: raise `ulimit -n` ({text}).",
    errno.ENFILE: "Too many files are open to use {path}: raise the system's limit ({text}).",
    errno.EAGAIN: "{path} is open in another process: stop it or use another data folder ({text}).",
}
#: What a read says of files that are gone or cannot be read any more.
_LOST = {errno.ENOENT, errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.EUCLEAN, errno.EBADMSG}
#: In RocksDB's words, what it was at when a file could not be read, also in the background.
_READS = ("While pread", "While open a file for random read", "while stat a file for size")
#: RocksDB's words for content that is not what it wrote.
_CORRUPT = {"Corruption", "Invalid argument", "Not implemented"}
_ERRNOS = {os.strerror(number): number for number in errno.errorcode}


def said(path: Path, error: Exception, reading: bool = True) -> StoreDamaged | StoreFailed:
    """What RocksDB, rocksdict or the system said of a store or its folder, as ours.

    By status and errno; the path is left out, since it may hold any word.

    Args:
        path: of the store.
        error: as raised.
        reading: whether files that cannot be read are what it is about.
    """
    text = str(error)
    words = re.split(r": |\n|  ", text.replace(str(path), ""))
    number = _errno_of(error, words)
    if number == errno.ENOLCK and words[1:] and words[1].startswith("lock hold by current"):
        number = errno.EAGAIN
    shown = in_words(error) if isinstance(error, OSError) else text
    if number in _REFUSALS:
        return StoreFailed(_REFUSALS[number].format(path=path, text=shown))
    # A write is told of what the joining of files met in the background.
    is_gone = number == errno.ENOENT and not isinstance(error, OSError)
    reading = reading or is_gone or any(word.startswith(_READS) for word in words)
    if words[0] in _CORRUPT or (reading and number in _LOST):
        return StoreDamaged(f"{path} is damaged ({text})")
    return StoreFailed(f"{path} cannot be used: {shown}. Check the disk and the folder.")


def _errno_of(error: Exception, words: Sequence[str]) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    # Rust appends the number, RocksDB the system's text for it.
    if (told := re.search(r"\(os error (\d+)\)$", str(error))) is not None:
        return int(told[1])
    return next((_ERRNOS[word] for word in reversed(words) if word in _ERRNOS), None)
