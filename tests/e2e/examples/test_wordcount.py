"""WordCount on a real Kafka: every count right, from any worker, whoever is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.kafka import Kafka
from dev.oracle.log import read_topics
from dev.wordcount import PARTITIONS, POEMS, Words, counted_by_the_rule
from dev.workers import until
from tests.support.topics.logs import a_name


@pytest.fixture
def words(kafka: Kafka, tmp_path: Path) -> Iterator[Words]:
    found = Words(kafka.bootstrap, tmp_path, a_name())
    yield found
    found.close()


async def answer(url: str) -> tuple[int, Any]:
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.request("GET", url, timeout=timeout) as response:
        return response.status, await response.json(content_type=None)


async def test_every_count_is_right_though_a_worker_is_killed_in_the_middle(words: Words) -> None:
    words.create_topics()
    lines = POEMS.read_text().splitlines()
    await words.start("a", "b")
    a, b = words.worker("a"), words.worker("b")
    words.say(lines * 20)
    await words.settled()
    words.say(lines * 20)
    b.kill()
    words.say(lines * 20)
    wanted = await words.settled()

    assert await words.check(wanted) == len(wanted)
    assert wanted["tyger"] == 300
    assert wanted[""] > 0

    # A lost disk is restored from the changelogs, and a standby answers meanwhile.
    b.wipe()
    await words.start("b")
    words.say(lines)
    await words.check(await words.settled())

    # What a reader wrote himself is in the words topic: its position can be waited for.
    status, body = await answer(f"{a.url}/counts/tyger")
    assert (status, body["count"]) == (200, 305)
    freshness = body["freshness"]
    assert freshness["position"].startswith(f"{words.words_topic}-{freshness['partition']}@")
    query = f"min_position={freshness['position']}&wait_ms=10000"
    status, _ = await answer(f"{b.url}/counts/tyger?{query}")
    assert status == 200

    # Words that met in a group went out together: fewer records than words, and none too many.
    told = read_topics(words.kafka, [words.words_topic])
    wanted = counted_by_the_rule(words.said)
    assert sum(int.from_bytes(record.value or b"", "big") for record in told) == wanted.total()
    assert len(told) < wanted.total()
    for worker in (a, b):
        assert await worker.stop() == 0, worker.tail()


async def test_a_line_that_is_none_is_a_dead_letter_and_stops_nothing(words: Words) -> None:
    words.create_topics()
    await words.start("a")
    words._producer.produce(words.lines_topic, None, partition=1)
    words.say(["after it"] * PARTITIONS)
    await words.check(await words.settled())

    async def told() -> bool:
        letters = read_topics(words.kafka, [f"{words.name}-v1-split-dlq"])
        return [dict(r.headers)["onhand-reason"] for r in letters] == [b"null_value"]

    await until(told, "a dead letter", 60)
