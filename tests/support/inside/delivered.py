"""The coordinator and the transport of a table in a test's hand, and when a call of it goes on."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from tables.ports import Delivery, Membership
from wire.fetch import End

WAIT_S = 60.0


class Gate:
    """Holds up the first call that comes to it, until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def pass_(self) -> None:
        first = not self.reached.is_set()
        self.reached.set()
        if first:
            await asyncio.wait_for(self.open.wait(), WAIT_S)

    async def is_reached(self) -> None:
        """Wait until a call is held up."""
        await asyncio.wait_for(self.reached.wait(), WAIT_S)

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, held up."""

        async def gated(*args: Any, **kwargs: Any) -> Any:
            await self.pass_()
            return await call(*args, **kwargs)

        return gated

    def after(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, whose answer is held up."""

        async def gated(*args: Any, **kwargs: Any) -> Any:
            answer = await call(*args, **kwargs)
            await self.pass_()
            return answer

        return gated


class FakeMembership(Membership):
    """The coordinator: says yes, at once, unless told otherwise."""

    def __init__(self) -> None:
        self.answers: list[Exception | None] = []
        self.silent_since: float | None = None
        self.asked = 0

    def confirmed_at(self) -> float:
        return monotonic() if self.silent_since is None else self.silent_since

    async def confirm(self) -> None:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer


class FakeDelivery(Delivery):
    """The transport: remembers what it was told, delivers nothing by itself."""

    def __init__(self) -> None:
        self.started: dict[int, tuple[dict[str, int], int]] = {}
        self.calls: list[tuple[str, int]] = []
        self.refuse_to_start: list[Exception] = []
        self.ends: dict[tuple[str, int], End] = {}
        #: After how many records each it was to give way.
        self.rests: list[int] = []

    async def start(self, partition: int, positions: dict[str, int], epoch: int) -> None:
        self.calls.append(("start", partition))
        if self.refuse_to_start:
            raise self.refuse_to_start.pop(0)
        self.started[partition] = (dict(positions), epoch)

    async def stop(self, partition: int) -> None:
        self.calls.append(("stop", partition))
        self.started.pop(partition, None)

    async def rest(self, records: int) -> None:
        self.rests.append(records)
        await asyncio.sleep(0)

    def end(self, topic: str, partition: int) -> End:
        return self.ends.get((topic, partition), End(None, 0, None))
