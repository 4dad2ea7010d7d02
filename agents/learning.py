"""Schemas are fetched before the records that need them are translated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from time import monotonic
from typing import Protocol

from core.records import Record
from importers.frames.numbered import NoSchema, WriterSchema
from importers.frames.schemabook import SchemaBook

log = logging.getLogger(__name__)


class RegistryAway(Exception):
    """Nobody says what a schema is; asking again may help. One sentence, with the remedy."""


class SchemaSource(Protocol):
    """Where schemas come from."""

    async def schema(self, number: bytes) -> WriterSchema | NoSchema:
        """What a number means. Raises RegistryAway."""
        ...

    async def stop(self) -> None:
        """Close its connections."""
        ...


class Learning:
    """Fills a book from a source.

    Args:
        book: of a map.
        source: who knows.
    """

    def __init__(self, book: SchemaBook, source: SchemaSource) -> None:
        self._book, self._source = book, source
        self._open: set[bytes] = set()
        self._turn = asyncio.Lock()
        self.is_away = False

    async def learn(self, records: Iterable[Record]) -> None:
        """Know what these need.

        Raises:
            RegistryAway: of one of them, nobody says.
        """
        if wanted := self._book.wanted(records, monotonic()):
            self._open |= wanted
            await self.answered()

    async def answered(self) -> None:
        """Know what was asked for before. Raises RegistryAway, as `learn`."""
        async with self._turn:
            try:
                for number in sorted(self._open):
                    found = await self._source.schema(number)
                    self._book.add(number, found, monotonic())
                    self._open.discard(number)
            except RegistryAway as why:
                if not self.is_away:
                    log.error("The bridge waits: %s It asks again every second.", why)
                self.is_away = True
                raise
            if self.is_away:
                self.is_away = False
                log.info("The schema registry answers again; the bridge goes on.")

    async def stop(self) -> None:
        """Close its connections."""
        await self._source.stop()
