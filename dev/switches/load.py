"""Reads stock and posts facts through all ready workers, each request at its time.

An open loop: a request is sent when it is due, whatever became of those before it, so that a
pause of the service is seen in full. Half of the reads are of sessions, which name the position
of their last answer; the others name none. Each answer is one JSON line.

`python -m dev.switches.load` is the loop as a process of its own, ended by SIGTERM.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import aiohttp
from confluent_kafka import Producer

from dev.oracle.rows import Key
from dev.reads.answers import Balancer, ask
from dev.traffic.sending import run_tag

FACTS_A_POST = 10
#: Sales taken back, as a till of the next release writes them to Kafka.
VOIDED_PER_S = 2.0
SESSIONS = 40
SESSION_WAIT_MS = 2_000
#: Beyond this nobody waits; what counts as failed is decided later.
PATIENCE_S = 15.0
EVENTS = {"Content-Type": "application/cloudevents-batch+json"}


class Posted(NamedTuple):
    """One request with facts, and what came back.

    Attributes:
        due: when it was to be sent, seconds since the epoch.
        began: when it was sent.
        ended: when its answer was complete.
        asked: URL of the worker that was asked.
        status: HTTP status; 0 if there was none.
        facts: how many it held.
        problem: what was said, or why there was no answer.
    """

    due: float
    began: float
    ended: float
    asked: str
    status: int
    facts: int
    problem: str = ""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(self)

    @classmethod
    def from_json(cls, line: str) -> "Posted":
        """What `to_json` wrote."""
        return cls(*json.loads(line))


def a_fact(rng: random.Random, key: Key, run: str, number: int) -> dict[str, object]:
    """A sale, a delivery or a return; of the returns every second one is damaged."""
    draw = rng.random()
    kind, quantity = "sale.completed", rng.randint(1, 3)
    data: dict[str, object] = {"sku": key[0], "location": key[1]}
    if draw < 0.1:
        kind, quantity = "shipment.received", rng.randint(5, 30)
    elif draw < 0.15:
        kind, quantity = "sale.returned", 1
        data |= {"reason": "damaged" if draw < 0.125 else "too small"}
    return _event(kind, f"{run}-{number}", data | {"quantity": quantity})


def _event(kind: str, id: str, data: dict[str, object]) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": id,
        "source": "till-1",
        "type": f"inventory.{kind}.v1",
        "data": data,
    }


class OpenLoop:
    """The loop.

    Args:
        urls: of all workers; asked are those whose /ready says 200.
        keys: rows to read and to change.
        reads_per_s, facts_per_s: the pace.
        answered: is given each read's line, posted: each post's.
        voided: sends a sale taken back to Kafka; None: nobody does.
    """

    def __init__(
        self,
        urls: Sequence[str],
        keys: Sequence[Key],
        *,
        reads_per_s: float,
        facts_per_s: float,
        answered: TextIO,
        posted: TextIO,
        voided: Callable[[Key, bytes], None] | None = None,
        seed: int = 1,
    ) -> None:
        self._balancer, self._keys = Balancer(urls), list(keys)
        self._reads_per_s, self._facts_per_s = reads_per_s, facts_per_s
        self._answered, self._posted, self._voided = answered, posted, voided
        self._random, self._run = random.Random(seed), run_tag()
        self._sent = 0
        chosen = self._random.sample(self._keys, min(SESSIONS, len(self._keys)))
        self._sessions = [(key, "") for key in chosen]

    async def run(self) -> None:
        """Go on until cancelled; what is under way then is waited for."""
        await self._balancer.probed()
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
            under_way: set[asyncio.Task[None]] = set()
            paces = [
                self._paced(self._reads_per_s, lambda due: self._read(http, due), under_way),
                self._paced(
                    self._facts_per_s / FACTS_A_POST, lambda due: self._post(http, due), under_way
                ),
            ]
            if self._voided is not None:
                paces.append(self._paced(VOIDED_PER_S, self._void, under_way))
            going = [asyncio.create_task(one) for one in (*paces, self._balancer.probe())]
            try:
                await asyncio.gather(*going)
            finally:
                for task in going:
                    task.cancel()
                if under_way:
                    await asyncio.wait(under_way)

    async def _paced(
        self,
        per_s: float,
        one: Callable[[float], Coroutine[Any, Any, None]],
        under_way: set[asyncio.Task[None]],
    ) -> None:
        due = time.time()
        while True:
            await asyncio.sleep(max(0.0, due - time.time()))
            task = asyncio.create_task(one(due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            due += 1 / per_s

    async def _read(self, http: aiohttp.ClientSession, due: float) -> None:
        session = self._random.randrange(2 * len(self._sessions))
        key, token = self._random.choice(self._keys), ""
        if session < len(self._sessions):
            key, token = self._sessions[session]
        query = f"?min_position={token}&wait_ms={SESSION_WAIT_MS}" if token else ""
        answer = await ask(http, self._balancer.next(), key, query)
        self._balancer.saw(answer.asked, answer.status)
        if session < len(self._sessions) and answer.position:
            self._sessions[session] = key, answer.position
        answer = answer._replace(due=due, asked_position=token)
        print(answer.to_json(), file=self._answered)

    async def _post(self, http: aiohttp.ClientSession, due: float) -> None:
        facts = []
        for _ in range(FACTS_A_POST):
            self._sent += 1
            facts.append(a_fact(self._random, self._key(), self._run, self._sent))
        url, status, problem = self._balancer.next(), 0, ""
        began = time.time()
        try:
            async with http.post(f"{url}/v1/events", data=json.dumps(facts), headers=EVENTS) as got:
                status, said = got.status, await got.text()
                problem = "" if status == 202 else said
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = repr(error)
        self._balancer.saw(url, status)
        posted = Posted(due, began, time.time(), url, status, FACTS_A_POST, problem)
        print(posted.to_json(), file=self._posted)

    async def _void(self, due: float) -> None:
        assert self._voided is not None
        key = self._key()
        data: dict[str, object] = {"sku": key[0], "location": key[1], "quantity": 1}
        self._voided(key, json.dumps(_event("sale.voided", f"void-{due}", data)).encode())

    def _key(self) -> Key:
        return self._random.choice(self._keys)


def sender(kafka: str, topic: str) -> tuple[Producer, Callable[[Key, bytes], None]]:
    """Sends to Kafka what no worker takes yet."""
    producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random"})

    def send(key: Key, value: bytes) -> None:
        producer.produce(topic, value, key[0].encode())
        producer.poll(0)

    return producer, send


async def _until_told(given: argparse.Namespace) -> None:
    keys = [(sku, location) for sku, location in json.loads(given.keys.read_text())]
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    producer, send = sender(given.kafka, f"{given.prefix}sales")
    with given.answers.open("w") as answers, given.posts.open("w") as posts:
        loop = OpenLoop(
            given.urls.split(","),
            keys,
            reads_per_s=given.reads,
            facts_per_s=given.facts,
            answered=answers,
            posted=posts,
            voided=send,
        )
        going = asyncio.create_task(loop.run())
        stop = asyncio.create_task(done.wait())
        await asyncio.wait((going, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        going.cancel()
        with suppress(asyncio.CancelledError):
            await going
    producer.flush(30)


def main() -> int:
    """Go on until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m dev.switches.load", description=__doc__)
    parser.add_argument("--urls", required=True, help="workers, joined by commas")
    parser.add_argument("--keys", type=Path, required=True, help="JSON list of [sku, location]")
    parser.add_argument("--kafka", required=True, help="bootstrap servers")
    parser.add_argument("--prefix", default="", help="goes before the names of the sources")
    parser.add_argument("--answers", type=Path, required=True, help="for reads")
    parser.add_argument("--posts", type=Path, required=True, help="for facts")
    parser.add_argument("--reads", type=float, default=500, help="a second")
    parser.add_argument("--facts", type=float, default=2_000, help="a second")
    asyncio.run(_until_told(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
