"""The first record of versions: `onhand topics create` writes it, everything else asks for it."""

from __future__ import annotations

import re

from aiokafka.errors import KafkaError

from app.admin import TopicsError, connected, kafka_failed
from app.config import Settings
from app.upgrades.record import begun, recorded
from wire.batches import Unreadable
from wire.control import OutcomeUnknown


async def begin_record(settings: Settings) -> None:
    """The record of versions begins with the version whose topics these are.

    Raises:
        TopicsError: no Kafka, or a lower version has a table: nobody knows which one is active.
    """
    try:
        if (await recorded(settings)).entries:
            return
        if others := await _lower_versions(settings):
            raise TopicsError(
                f"Version {others[0]} has a table and no record says which version is active: run "
                f"`onhand topics create` with ONHAND_VERSION={others[0]} first, then `onhand "
                f"upgrade stage {settings.version}`."
            )
        await begun(settings)
    except (KafkaError, TimeoutError, OSError, Unreadable, OutcomeUnknown) as error:
        raise TopicsError(kafka_failed(settings, error)) from error


async def _lower_versions(settings: Settings) -> list[int]:
    """Versions of this name that have a changelog, below this one."""
    named = re.compile(rf"{re.escape(settings.name)}-v([0-9]+)-inventory-changelog")
    async with connected(settings) as admin:
        found = [named.fullmatch(topic["topic"]) for topic in await admin.describe_topics()]
    numbers = {int(match[1]) for match in found if match}
    return sorted(number for number in numbers if number < settings.version)


async def problems(settings: Settings) -> list[str]:
    """What is wrong with the record of versions, whose topic is there; [] is good.

    Raises:
        TopicsError: Kafka does not answer.
    """
    try:
        return [] if (await recorded(settings)).entries else [no_record(settings)]
    except (KafkaError, TimeoutError, OSError) as error:
        raise TopicsError(kafka_failed(settings, error)) from error
    except Unreadable as error:
        return [str(error)]


def no_record(settings: Settings) -> str:
    """What to do where it was never begun."""
    return (
        f"No record in {settings.control_topic} says which version is active: run `onhand topics "
        "create` with the ONHAND_VERSION that answers now."
    )
