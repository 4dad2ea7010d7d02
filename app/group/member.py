"""A Faust application whose batches come whole, and that ends with one sentence where it must."""

from __future__ import annotations

import logging
import os
import sys

import faust

from app.group.transport import FAUST_LOG, BatchTransport
from tables.ports import Fail

log = logging.getLogger(__name__)

_FAILED = 70


class GroupMember(faust.App):
    """What all our processes in a consumer group have in common."""

    logger = FAUST_LOG
    #: Told in the place of the process's end, where somebody handed it to the composition root.
    end: Fail | None = None
    #: When it has stopped, it is started once more.
    starts_anew = False
    _failing = False

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_producer, self)

    async def may_join(self) -> None:
        """Return once it may join its group."""

    def most_events_per_s(self) -> int:
        """What it may take in now; 0: as much as comes."""
        return 0

    async def fail(self, sentence: str, error: BaseException | None) -> None:
        """End the worker now, with one sentence.

        Not through Faust's crash: its orderly shutdown acknowledges and commits on the
        way out (FS#189), and a worker that must not write must not try.
        """
        if self.end is not None:
            await self.end(sentence, error)
            return
        if self._failing:
            return
        self._failing = True
        log.critical("%s The worker ends; what is committed is safe.", sentence, exc_info=error)
        logging.shutdown()
        sys.stdout.flush()
        os._exit(_FAILED)
