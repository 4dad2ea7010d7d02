"""What a worker says while Kafka is away: each cause in a few lines, however long it takes."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from dev.kafka import Kafka, start
from dev.workers import Worker, onhand, status_of
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster

PARTITIONS = 6
#: Of one cause: our own sentences; and the client's lines, in a minute (app/logs.py, Bounded).
OURS, THEIRS = 1, 3
#: Of all causes together, in a minute.
LINES = 40
NOT_TAKEN = "Facts are answered with 503 for now"
_LINE = re.compile(r"[-0-9]+ [:,0-9]+ [A-Z]+ +([\w.]+): (.*)")
_VALUES = re.compile(r"\S*\d\S*|'[^']*'|\"[^\"]*\"|\(.*\)|: .*")


@dataclass
class Told:
    """Lines of a log, and how long it took until they were told."""

    lines: list[str]
    seconds: float

    @property
    def minutes(self) -> int:
        """How many have begun."""
        return 1 + int(self.seconds // 60)


def causes(lines: list[str]) -> Counter[tuple[str, str]]:
    """Lines by who says them and what they say, without what differs from one to the next."""
    found = (_LINE.match(line) for line in lines)
    return Counter((one[1], _VALUES.sub("#", one[2])) for one in found if one)


async def asked_for(worker: Worker, seconds: float, said: Callable[[], list[str]]) -> None:
    """Every kind of call that needs Kafka, for so long, and until facts are not taken any more."""
    begun = monotonic()

    def is_over() -> bool:
        assert monotonic() - begun < seconds + 180, said()
        return monotonic() - begun > seconds and any(NOT_TAKEN in line for line in said())

    fact = {"source": "x", "id": "1", "sku": "SKU-1", "location": "s", "quantity": 1}
    calls = (("POST", "/v1/sales", fact), ("GET", "/v1/facts?source=x&id=1", None))
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        while not is_over():
            assert await status_of(f"{worker.url}/v1/inventory?limit=1", 30) == 200
            for method, path, body in calls:
                async with http.request(method, worker.url + path, json=body) as answer:
                    assert answer.status in (200, 503)
            await asyncio.sleep(0.2)


async def a_worker_whose_kafka_goes(
    kafka: Kafka, folder: Path, go: Callable[[], None], come: Callable[[], None], away_s: float
) -> tuple[Told, Told]:
    """What it says while it is away, and after it came back, until it has caught up."""
    cluster = Cluster(kafka.bootstrap, folder, PARTITIONS)
    try:
        await cluster.create_topics()
        await cluster.start("a")
        await cluster.settled()
        with cluster.feeding(a_shop(partitions=PARTITIONS, run="first"), 200):
            pass
        await cluster.caught_up()
        worker = cluster.worker("a")

        def said() -> list[str]:
            return worker.log.read_text().splitlines()

        before, gone = len(said()), monotonic()
        go()
        await asked_for(worker, away_s, lambda: said()[before:])
        code, shown = await onhand("status", "--url", worker.url, settings=cluster.settings)
        assert code == 1, shown
        assert "nobody knows how many events are not counted yet" in shown
        assert "is not known: Kafka last said it " in shown
        meanwhile, back = len(said()), monotonic()
        come()
        with cluster.feeding(a_shop(partitions=PARTITIONS, run="then"), 200):
            pass
        await cluster.caught_up()
        assert worker.starts == 1
        assert worker.alive
        return (
            Told(said()[before:meanwhile], back - gone),
            Told(said()[meanwhile:], monotonic() - back),
        )
    finally:
        cluster.close()


def check(told: Told) -> None:
    shown = "\n".join(told.lines)
    for (logger, text), count in causes(told.lines).items():
        theirs = logger.startswith(("aiokafka", "mode", "asyncio", "faust"))
        most = THEIRS * told.minutes if theirs else OURS
        assert count <= most, f"{count} times {logger}: {text}\n{shown}"
    assert "Traceback" not in shown, shown
    assert "overlapping" not in shown, shown


async def test_a_frozen_kafka_is_told_in_a_few_lines(tmp_path: Path) -> None:
    with start() as kafka:
        away, back = await a_worker_whose_kafka_goes(
            kafka, tmp_path, kafka.pause, kafka.resume, away_s=20
        )

    check(away)
    check(back)
    assert len(away.lines) <= LINES * away.minutes


@pytest.mark.torture
async def test_a_kafka_that_is_gone_for_minutes_is_told_in_a_few_lines(tmp_path: Path) -> None:
    with start() as kafka:
        away, back = await a_worker_whose_kafka_goes(
            kafka, tmp_path, kafka.kill, kafka.restart, away_s=58
        )

    check(away)
    check(back)
    assert len(away.lines) <= LINES * away.minutes
