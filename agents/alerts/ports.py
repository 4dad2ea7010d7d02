"""What a teller asks of its worker, and of the place where it is kept what was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from agents.alerts.told import ToldAlert
from domain.rows import Row


class NotOurs(Exception):
    """This worker is not the one to tell: it does not own the partition, or is not active."""


class AlertRows(Protocol):
    """The rows of one partition, as this worker counts them; raises StoreError."""

    def is_ours(self) -> bool:
        """Whether this worker owns them and its version is active, as far as it knows."""
        ...

    async def caught_up(self) -> None:
        """Return once all is counted that was there when they became ours."""
        ...

    async def confirm(self) -> None:
        """Ask the group's coordinator and the record of versions now.

        Raises:
            NotOurs: they are not.
            KafkaError, TimeoutError, OSError: nobody says.
        """
        ...

    def get_many(self, keys: Sequence[tuple[str, str]]) -> Sequence[Row | None]:
        """Rows by SKU and location, as they are now; None where there is none."""
        ...

    def scan(self, after: tuple[str, str] | None, limit: int) -> Sequence[tuple[str, str, Row]]:
        """At most so many rows behind a key, in order."""
        ...


class ToldWriter(Protocol):
    """The newest right to write what was told of one partition."""

    async def write(self, told: Sequence[ToldAlert]) -> None:
        """Make these durable, all or none; raises KafkaError where that is unknown."""
        ...


class ToldHome(Protocol):
    """Where it is kept what was told, by all versions and workers; each may raise KafkaError."""

    async def fence(self, partition: int) -> ToldWriter:
        """The right to write: whoever had it before is refused from here on."""
        ...

    async def read(self, partition: int) -> Mapping[bytes, ToldAlert]:
        """The newest of each key. Behind a fence nobody else can add to it."""
        ...

    async def incarnation(self) -> str:
        """Tells this home from one that was made anew under its name."""
        ...
