"""One worker's whole HTTP under nonsense: from clients, and from liars that pose as workers."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from app import __version__
from app.channels.document import topics_document
from app.config import Settings
from app.loading.kept import kept_loads
from core.stages import Role
from domain.rules.held import Ruling
from tables.stats import Stats
from tests.support.breaking.fuzz import Fuzz, Seen, throw
from tests.support.inputs.builders import an_active_version
from tests.support.inside.shelf import TOPICS, Shelf
from web.access.access import OPEN, Access
from web.cluster.heartbeats import Claim, Heartbeat, beat_of
from web.config import Limits, WebConfig
from web.http.connections import ConnectionLimits
from web.server import Web
from web.writes.loads import LoadAnswer, LoadAsked, LoadEnd, LoadQuestions

CLIENTS = 16
#: How long a client waits for an answer before it goes away.
PATIENCE_S = 3.0
LEAST = 1000
TELL_EVERY_S = 0.02
LIMITS = Limits(
    connections=ConnectionLimits(linger_s=0.02, head_timeout_s=0.5),
    append_timeout_s=0.02,
    notice_s=0,
    drain_s=0.1,
)


class NoLoader:
    """Loads nothing."""

    async def load(self, asked: LoadAsked, questions: LoadQuestions) -> LoadAnswer:
        return LoadAnswer(end=LoadEnd.UNREADABLE, detail=f"{len(asked.data)} bytes of nonsense.")

    async def stop(self) -> None:
        """There is nothing to end."""


@asynccontextmanager
async def a_target(fuzz: Fuzz, access: Access = OPEN) -> AsyncIterator[BaseTestServer]:
    """A worker with rows of its own for half of its partitions, and liars for the rest."""
    shelf = Shelf(4, "http://127.0.0.1:2")
    shelf.hold([0, 1], sales=10)
    shelf.hold([2], Role.STANDBY, sales=5)
    for number in range(20):
        shelf.put(f"SKU-{number}", "s-7", received=number, events=1)
    config = WebConfig(
        url="http://127.0.0.1:2",
        version=1,
        kafka={"bootstrap_servers": "127.0.0.1:1"},
        topics={topic: topic for topic in TOPICS},
        members_topic="members",
        dead_letters="onhand-v1-dlq",
        asyncapi=topics_document(Settings(), __version__),
        loads=kept_loads(Settings()),
        limits=LIMITS,
    )
    versions, app = an_active_version(), web.Application()
    part = Web(config, shelf, Stats(), versions, Ruling(), NoLoader(), access=access)
    part.attach(app)

    writers: list[asyncio.StreamWriter] = []

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(fuzz.answer())
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def tell() -> None:
        for sequence in itertools.count(1):
            liar = sequence % 3
            url = fuzz.url() if sequence % 4 == 0 else urls[liar]
            claims = tuple(Claim(**fuzz.claim()) for _ in range(4))  # type: ignore[arg-type]  # lies
            beat = Heartbeat(1, 1, "x", url, f"liar-{liar}", sequence, claims=claims)
            part.members.roster.hear(beat, int(time.time() * 1000))
            assert beat_of(fuzz.value()) is None
            await asyncio.sleep(TELL_EVERY_S)

    liars = [await asyncio.start_server(lie, "127.0.0.1", 0) for _ in range(3)]
    urls = [f"http://127.0.0.1:{liar.sockets[0].getsockname()[1]}" for liar in liars]
    telling = asyncio.create_task(tell())
    try:
        async with TestServer(app) as server:
            yield server
    finally:
        assert not telling.done(), "a heartbeat was too much"
        telling.cancel()
        for liar in liars:
            liar.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)  # their tasks end


def seed_of_this_run(*, anew: bool = os.environ.get("HYPOTHESIS_PROFILE") == "torture") -> int:
    """ONHAND_SEED, or the same one each time: a run judges the change and not the draw.

    Torture draws one `anew`. It is printed, so that pytest shows it where it matters.
    """
    seed = int(os.environ.get("ONHAND_SEED") or (random.randrange(2**32) if anew else 7))
    print(f"seed {seed}")  # noqa: T201  for the report of a failure
    return seed


async def fuzz_for(seconds: float, seed: int) -> Seen:
    """Throw for so long, and `LEAST` requests on a machine that is slow."""
    fuzz, seen, until = Fuzz(seed), Seen(), time.monotonic() + seconds

    def is_over() -> bool:
        return time.monotonic() > until and seen.statuses.total() > LEAST

    async with a_target(fuzz) as target:
        await asyncio.gather(
            *(
                throw(str(target.host), int(target.port or 0), fuzz, seen, is_over, PATIENCE_S)
                for _ in range(CLIENTS)
            )
        )
    return seen
