"""The record of versions of these settings: read it, begin it, write the next one."""

from __future__ import annotations

import asyncio
import getpass
import os
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeAlias

from msgspec.structs import replace

from app.config import Settings
from core.versions import (
    AlreadySo,
    MoveRefused,
    VersionBegun,
    VersionHistory,
    Versions,
    first_record,
)
from domain.rules.held import CURRENT
from wire import control
from wire.control import Overtaken

Decide: TypeAlias = Callable[[VersionHistory], Versions]

_TRIES = 5
_LEAVE_S = 0.5


def kept(settings: Settings, rules: int = CURRENT.number) -> VersionBegun:
    """What a version is begun with: the first one of a deployment by the current rules."""
    return VersionBegun(rules=rules, window=settings.dedup_window)


async def recorded(settings: Settings) -> VersionHistory:
    """All records, oldest first.

    Raises:
        KafkaError, OSError, TimeoutError, Unreadable: they could not be read.
    """
    async with asyncio.timeout(control.PATIENCE_S):
        return await control.read_control(settings.client_kwargs(), settings.control_topic)


async def begun(settings: Settings) -> bool:
    """Write the first record if there is none: this version is active. Whether it was written.

    Raises:
        KafkaError, OSError, TimeoutError, Unreadable: it could not be written.
        OutcomeUnknown: Kafka went away; run it again.
    """
    for attempt in range(_TRIES):
        if (await recorded(settings)).entries:
            return False
        with suppress(Overtaken):
            try:
                await written(settings, _first(settings))
            except AlreadySo:
                return False
            return True
        # Who has overtaken this one gets time to write.
        await asyncio.sleep(_LEAVE_S * 2**attempt * random.uniform(1, 2))  # noqa: S311  # no secret
    raise TimeoutError("other commands begin it again and again")


def _first(settings: Settings) -> Decide:
    def decide(history: VersionHistory) -> Versions:
        if history.entries:
            raise AlreadySo("It is begun.")
        return first_record(settings.version, kept(settings))

    return decide


def following(seen: Versions, move: Callable[[Versions], Versions]) -> Decide:
    """The move, if nobody has written since what was checked."""

    def decide(history: VersionHistory) -> Versions:
        last = history.last
        if last is None or last.epoch != seen.epoch:
            changed = "" if last is None else f" ({last.change} by {last.by}, epoch {last.epoch})"
            raise MoveRefused(
                f"The versions have changed meanwhile{changed}: see `onhand upgrade status`."
            )
        return move(last)

    return decide


async def written(
    settings: Settings,
    decide: Decide,
    *,
    note: str = "",
    forced: tuple[str, ...] = (),
    accepted: tuple[str, ...] = (),
    positions: str = "",
) -> Versions:
    """Write the record that follows the last one, signed; see `wire.control.compare_and_set`."""

    def signed(history: VersionHistory) -> Versions:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        signature = f"{_user()}@{socket.gethostname()}"
        return replace(
            decide(history),
            by=signature,
            at=at,
            note=note,
            forced=forced,
            accepted=accepted,
            positions=positions,
        )

    name = f"{settings.name}-control"
    return await control.compare_and_set(
        settings.client_kwargs(), settings.control_topic, name, signed
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        return str(os.getuid())
