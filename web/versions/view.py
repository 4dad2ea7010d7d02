"""Which version is active, as this worker has read it: loaded before all else, then followed.

With Kafka away the last record holds, for as long as that takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka.errors import KafkaError

from core.versions import VersionBegun, VersionEntry, VersionHistory, Versions, VersionState
from core.words import in_words
from tables.tasks import Tasks
from wire.batches import Unreadable
from wire.control import PATIENCE_S, listen, read_control

log = logging.getLogger(__name__)

_RETRY_S = 0.5
#: Whose workers hold nothing: no group, no rows.
IDLE = (VersionState.UNLISTED, VersionState.RETIRED)


class VersionView:
    """The record of versions, and where the version of this worker stands in it.

    listeners: told of each new record, after it counts here.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str, version: int) -> None:
        self._kafka, self._topic = dict(kafka), topic
        self.version = version
        self._history = VersionHistory()
        self._tasks = Tasks()
        self._news = asyncio.Event()
        self.listeners: list[Callable[[], None]] = []

    @property
    def entries(self) -> list[VersionEntry]:
        """All records that count, oldest first."""
        return self._history.entries

    @property
    def last(self) -> Versions | None:
        """How it stands; None before `load`."""
        return self._history.last

    @property
    def epoch(self) -> int | None:
        """Number of the newest record; None before `load`."""
        return None if self.last is None else self.last.epoch

    @property
    def state(self) -> VersionState:
        """Where the version of this worker stands."""
        last = self.last
        return VersionState.UNLISTED if last is None else last.state_of(self.version)

    @property
    def begun(self) -> VersionBegun | None:
        """What the version of this worker was begun with; None where it was not."""
        return None if self.last is None else self.last.versions.get(str(self.version))

    @property
    def is_idle(self) -> bool:
        """Whether this worker has nothing to hold."""
        return self.state in IDLE

    def not_ready(self) -> str | None:
        """Why nobody should send this worker anything, in a sentence; None: no reason."""
        match self.state:
            case VersionState.UNLISTED:
                return (
                    f"Version {self.version} is not staged, so this worker idles: run `onhand "
                    f"upgrade stage {self.version}`."
                )
            case VersionState.RETIRED:
                return f"Version {self.version} is retired, so this worker idles: stop it."
            case VersionState.STAGED:
                return f"Version {self.version} is staged: it counts, and is not active yet."
        return None

    async def load(self) -> None:
        """Read the record to its end.

        Raises:
            KafkaError, OSError, TimeoutError, Unreadable: it could not be read.
        """
        async with asyncio.timeout(PATIENCE_S):
            self._history = await read_control(self._kafka, self._topic)

    def start(self) -> None:
        """Begin to follow it."""
        self._tasks.keep(self._follow, "versions", _RETRY_S)

    async def stop(self) -> None:
        """Follow it no more. May be called twice."""
        await self._tasks.cancel()

    async def reread(self, within_s: float) -> None:
        """Read it anew, for as long as that may take; what was known stays."""
        try:
            async with asyncio.timeout(within_s):
                found = await read_control(self._kafka, self._topic)
        except (KafkaError, OSError, TimeoutError, Unreadable) as error:
            log.debug("The record of versions was not read again (%s).", in_words(error))
            return
        if len(found.entries) > len(self._history.entries):
            self._history.entries[:] = found.entries
            self._heard()

    def learn(self, records: Iterable[tuple[bytes, int, int]]) -> None:
        """Take in what another worker has read: value, offset and time of each, oldest first."""
        known = len(self._history.entries)
        for value, offset, log_ms in records:
            if not self._history.entries or offset > self._history.entries[-1].offset:
                self._history.take(value, offset, log_ms)
        if len(self._history.entries) > known:
            self._heard()

    async def reaches(self, epoch: int, within_s: float) -> None:
        """Wait until that record is known here, but no longer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while (self.epoch or 0) < epoch:
                    await self.changed()

    async def changed(self) -> None:
        """Wait for the next record."""
        await self._news.wait()

    async def _follow(self) -> None:
        while True:
            try:
                await listen(self._kafka, self._topic, self._history, self._heard)
            except (KafkaError, OSError) as error:
                # Known elsewhere, and no reason to say it twice a second.
                log.debug("The record of versions cannot be read (%s).", in_words(error))
            await asyncio.sleep(_RETRY_S)

    def _heard(self) -> None:
        last = self.last
        assert last is not None
        log.info(
            "Epoch %d (%s): version %d is active; this worker's version %d is %s.",
            last.epoch,
            last.change,
            last.active,
            self.version,
            self.state,
        )
        self._news.set()
        self._news = asyncio.Event()
        for listener in list(self.listeners):
            listener()
