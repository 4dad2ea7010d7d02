"""Asking Kafka how versions stand; what comes of it is a sentence, whatever goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.errors import KafkaError

from app import topics
from app.access import beats_of
from app.admin import TopicsError, kafka_failed
from app.config import Settings
from app.upgrades import beginning, record
from core.versions import MoveRefused, VersionHistory
from web.access.watched import AccessError
from wire.batches import Unreadable
from wire.control import Overtaken


class UpgradeRefused(Exception):
    """The move was refused and nothing was changed; one plain sentence."""


class NotAsked(Exception):
    """Kafka did not answer, so nothing was changed; one plain sentence."""


@asynccontextmanager
async def asking(settings: Settings) -> AsyncIterator[None]:
    """Around what asks Kafka; raises NotAsked and UpgradeRefused with sentences."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise NotAsked(kafka_failed(settings, error)) from error
    except (Unreadable, TopicsError, AccessError) as error:
        raise NotAsked(str(error)) from error
    except MoveRefused as error:
        raise UpgradeRefused(str(error)) from error
    except Overtaken as error:
        raise UpgradeRefused(f"{error} See `onhand upgrade status`.") from error


async def known(settings: Settings) -> VersionHistory:
    """All records, of which there is one at least.

    Raises:
        NotAsked: Kafka does not answer, or the file of secrets cannot be used.
        UpgradeRefused: there is none.
    """
    async with asking(settings):
        beats_of(settings)  # before anything is recorded that the workers must be heard of
        problems = await topics.check(settings)
        for problem in problems:
            if not problem.topic:
                raise NotAsked(str(problem))
            if problem.kind == "missing" and not settings.is_of_version(problem.topic):
                raise UpgradeRefused(str(problem))
        history = await record.recorded(settings)
    if history.last is None:
        raise UpgradeRefused(beginning.no_record(settings))
    return history
