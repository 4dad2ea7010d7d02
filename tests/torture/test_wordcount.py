"""WordCount through all that is done to the stock: it is the trivial machine on the same core.

Each test ends with every count compared, from each worker and in the output topic, where each
word's count has only grown for whoever reads committed records.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest

from dev.kafka import Kafka
from dev.wordcount import POEMS, Words
from dev.workers import until
from tests.support.breaking.faults import passes
from tests.support.breaking.kafka_tools import set_topic
from tests.support.topics.logs import a_name

pytestmark = pytest.mark.torture

SEED = int(os.environ.get("TORTURE_SEED", "1"))
AT_ONCE = 200
SESSION_S = 6.0
NAMES = ("a", "b", "c")


@pytest.fixture
def words(kafka: Kafka, tmp_path: Path) -> Iterator[Words]:
    settings = {"ONHAND_COMMIT_INTERVAL_MS": "10"}
    found = Words(kafka.bootstrap, tmp_path, a_name(), settings)
    yield found
    found.close()


@asynccontextmanager
async def said_all_the_while(words: Words) -> AsyncIterator[None]:
    """Three workers, and lines that never stop; in the end all of it is compared."""
    words.create_topics()
    await words.start(*NAMES)
    lines = cycle(POEMS.read_text().splitlines())
    over = asyncio.Event()

    async def say() -> None:
        while not over.is_set():
            some = [next(lines) for _ in range(AT_ONCE)]
            await asyncio.to_thread(words.say, some)
            await asyncio.sleep(0.05)

    saying = asyncio.create_task(say())
    try:
        yield
    finally:
        over.set()
        await saying
    await revived(words)
    wanted = await words.settled(180)
    assert wanted.total() > 10_000
    assert await words.check(wanted) == len(NAMES) * len(wanted)


async def more(words: Words, lines: int) -> None:
    """Let so many lines pass."""
    goal = len(words.said) + lines

    async def passed() -> bool:
        return len(words.said) >= goal

    await until(passed, f"said: {lines} more lines", 120)


async def revived(words: Words) -> None:
    """As a supervisor would: what ended by itself is started again."""
    ended = [name for name, worker in words.workers.items() if not worker.alive]
    await words.start(*ended)


async def test_kills_at_any_moment_some_with_their_disks(words: Words) -> None:
    rng = random.Random(SEED)
    async with said_all_the_while(words):
        for _ in range(15):
            await more(words, rng.randint(200, 2_000))
            victim = words.worker(rng.choice(NAMES))
            victim.kill()
            if rng.random() < 0.4:
                victim.wipe()
            await more(words, rng.randint(200, 2_000))
            await words.start(victim.name)


async def test_owners_that_sleep_through_their_loss(words: Words) -> None:
    async with said_all_the_while(words):
        for name in NAMES:
            await more(words, 1_000)
            words.worker(name).freeze()
            try:
                await passes(SESSION_S + 6)
            finally:
                words.worker(name).thaw()
            await more(words, 2_000)
            await revived(words)


async def test_all_disks_lost_at_once(words: Words) -> None:
    async with said_all_the_while(words):
        await more(words, 3_000)
        for name in NAMES:
            words.worker(name).kill()
            words.worker(name).wipe()
        await words.start(*NAMES)
        await more(words, 1_000)


@pytest.mark.parametrize("what", ["words", "counts", "counts-changelog"])
async def test_writes_that_are_refused(words: Words, what: str) -> None:
    topic = f"{words.name}-v1-{what}"
    async with said_all_the_while(words):
        for _ in range(2):
            await more(words, 1_000)
            await set_topic(words.kafka, topic, {"max.message.bytes": "200"})

            async def refused() -> bool:
                return any(not worker.alive for worker in words.workers.values())

            await until(refused, f"ended since {topic} takes nothing", 90)
            await set_topic(words.kafka, topic, {"max.message.bytes": str(16 * 2**20)})
            await revived(words)
