"""What was told, read from its topic alone; and dead messages made pending again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from aiokafka.errors import KafkaError

from agents.alerts.home import KafkaTold
from agents.alerts.teller import resend
from agents.alerts.told import ToldAlert
from app.admin import TopicsError, kafka_failed
from app.alerts.wiring import home_of
from app.config import Settings
from app.topics import exists
from tables.tasks import Final
from wire.batches import Unreadable

T = TypeVar("T")


async def told_now(settings: Settings) -> list[ToldAlert]:
    """The newest message of each row and rule, by rule, SKU and location.

    Raises:
        TopicsError: it cannot be read; a sentence.
    """

    async def read(home: KafkaTold) -> list[ToldAlert]:
        found = [await home.read(partition) for partition in range(settings.partitions)]
        return sorted((one for part in found for one in part.values()), key=lambda one: one.key)

    return await _with_home(settings, read)


async def sent_once_more(settings: Settings, ids: Collection[str]) -> list[ToldAlert]:
    """Dead messages that workers post again from now on; all of them, if none is named.

    Raises:
        TopicsError: Kafka does not answer or refuses; of some partitions it may be done.
    """

    async def again(home: KafkaTold) -> list[ToldAlert]:
        def is_wanted(told: ToldAlert) -> bool:
            return not ids or told.id in ids

        return list(await resend(home, range(settings.partitions), is_wanted))

    return await _with_home(settings, again)


async def _with_home(settings: Settings, work: Callable[[KafkaTold], Awaitable[T]]) -> T:
    topic = settings.alerts_topic
    if not await exists(settings, topic):
        raise TopicsError(
            f"There is no topic {topic}: set ONHAND_ALERTS (docs/alerts.md), then run `onhand "
            "topics create`."
        )
    home = home_of(settings)
    try:
        await home.start()
        return await work(home)
    except (KafkaError, OSError, TimeoutError) as error:
        raise TopicsError(kafka_failed(settings, error)) from error
    except (Unreadable, Final) as error:
        raise TopicsError(str(error)) from error
    finally:
        await home.stop()
