"""The memory of answers that are made and wait for their clients to take them."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Who took nothing for this long gives way when the memory is wanted by others.
SLOW_S = 2.0


class Outbox:
    """Bounds the bytes of all large answers of a worker together.

    Where there is no room for more of an answer, the client that has taken nothing for longest
    is cut off for it, if that is longer than `SLOW_S`; else the answer is refused. One alone
    always has room, or the largest could never be had. So of several that grow together one
    gets through, and a client that does not read keeps nobody out.
    """

    def __init__(self, bytes_: int = 128 * 2**20) -> None:
        self._limit = bytes_
        #: Bytes of all answers.
        self.held = 0
        #: Those that wait for their clients: since when, the longest first.
        self._waiting: dict[Parcel, float] = {}

    def parcel(self) -> Parcel:
        """For one answer; whoever takes it must close it."""
        return Parcel(self)

    def make_room(self, size: int, own: int) -> bool:
        """Whether so many bytes more fit, besides `own` of the same answer."""
        while self.held + size > self._limit:
            slowest = next(iter(self._waiting), None)
            if slowest is None or time.monotonic() - self._waiting[slowest] < SLOW_S:
                return self.held == own
            slowest.cut_off()
        return True

    def wait(self, parcel: Parcel) -> None:
        """Its client took something, or has all before it."""
        self._waiting.pop(parcel, None)
        self._waiting[parcel] = time.monotonic()

    def forget(self, parcel: Parcel) -> None:
        """It waits no more."""
        self._waiting.pop(parcel, None)


class Parcel:
    """What one answer holds."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._held = 0
        self._cut: Callable[[], None] | None = None

    def grow(self, size: int) -> bool:
        """Take so many bytes more; False: there is no room, and nothing was taken."""
        if not self._outbox.make_room(size, self._held):
            return False
        self._held += size
        self._outbox.held += size
        return True

    def waits(self, cut: Callable[[], None]) -> None:
        """From here on its client is to take it; `cut` ends that client's connection."""
        self._cut = cut
        self._outbox.wait(self)

    def took(self, size: int) -> None:
        """The client gets so many bytes now: they are held no more."""
        self._give_back(size)
        if self._cut is not None:
            self._outbox.wait(self)

    def close(self) -> None:
        """The answer is taken, or nobody wants it. May be called twice."""
        self._cut = None
        self._outbox.forget(self)
        self._give_back(self._held)

    def cut_off(self) -> None:
        """Somebody else needs the room."""
        cut = self._cut
        self.close()
        if cut is not None:
            cut()

    def _give_back(self, size: int) -> None:
        size = min(size, self._held)
        self._held -= size
        self._outbox.held -= size
