"""Workers under traffic, with meter, keeper and panel: all that a visitor plays with."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from app.config import Settings
from dev.demo.keeper import BACK_AFTER_S, Keeper
from dev.demo.meter import Meter
from dev.demo.panel import Panel
from dev.oracle.reading import ROLES
from dev.traffic.sending import KafkaSink, Traffic
from dev.traffic.shop import Shop
from dev.workers import Worker, until


class Watched(NamedTuple):
    """What runs. background: none of these ever ends by itself."""

    traffic: Traffic
    meter: Meter
    keeper: Keeper
    panel: Panel
    background: Sequence[asyncio.Task[None]]

    def check(self) -> None:
        """Raise what ended one of them."""
        for task in self.background:
            if task.done():
                task.result()

    async def paused(self) -> None:
        """Halt the traffic, and wait until all that was sent has its fate."""
        await self.traffic.pause()

        async def all_settled() -> bool:
            self.check()
            last = self.meter.last
            return last.sent == self.meter.books.sent and last.in_flight == 0

        await until(all_settled, "applied: all that was sent", 60)


@asynccontextmanager
async def watched(
    settings: Settings,
    workers: Sequence[Worker],
    shop: Shop,
    rate: float,
    port: int,
    *,
    say: Callable[[str], None],
    back_after_s: float = BACK_AFTER_S,
) -> AsyncIterator[Watched]:
    """All of it, until the end of the block; `rate`: events a second, `port`: of the panel."""
    prefix = settings.topic_prefix
    traffic = Traffic(rate)
    meter = Meter(settings.kafka, settings.changelog_topic, [prefix + role for role in ROLES])
    sink = KafkaSink(settings.kafka, prefix, traffic.acked, meter.books.acked)
    keeper = Keeper(workers, say, back_after_s)
    panel = Panel(port, keeper, lambda: meter.last)
    background: list[asyncio.Task[None]] = []
    try:
        await sink.start()
        async with panel.serving():
            for work in (traffic.run(shop, sink), meter.run(sink.answered), keeper.run()):
                background.append(asyncio.create_task(work))
            yield Watched(traffic, meter, keeper, panel, background)
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await sink.stop()
        meter.close()
