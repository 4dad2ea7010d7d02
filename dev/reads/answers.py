"""Reads stock all the time through every worker, and judges each answer afterwards.

Each answer says up to which position of the log it holds. So each can be held
against the oracle's row at exactly that position: not "soon right", but right.

`python -m dev.reads.answers` is the reader as a process of its own, so that what it
measures is not slowed by whoever kills the workers; it writes one JSON line for
each answer.
"""

import argparse
import asyncio
import itertools
import json
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import aiohttp

from dev.oracle.rows import NOTHING, Key, Row, row_from_json
from dev.oracle.stock import sku_in

PROBE_EVERY_S = 0.2


class Answer(NamedTuple):
    """One request and what came back.

    Attributes:
        began: wall clock when the request was sent, seconds since the epoch.
        ended: the same when the answer was complete.
        asked: URL of the worker that was asked.
        key: what was asked for.
        status: HTTP status; 0 if there was none.
        role: who answered (`active`, `former`, `standby`); empty if nobody.
        worker: URL of the worker that holds the row.
        position: how far the row holds.
        as_of: when a broker last answered that worker, as it wrote it.
        row: the row; NOTHING for anything but a 200.
        problem: the problem's name and detail, or why there was no answer.
        version: of the rules whose row it is; 0 where nothing said so.
        epoch: of the record of versions that it was answered by; 0 where nothing said so.
        asked_position: the position that the request named.
        due: when the request was to be sent, whatever became of those before it; 0: not planned.
    """

    began: float
    ended: float
    asked: str
    key: Key
    status: int
    role: str = ""
    worker: str = ""
    position: str = ""
    as_of: str = ""
    row: Row = NOTHING
    problem: str = ""
    version: int = 0
    epoch: int = 0
    asked_position: str = ""
    due: float = 0.0

    def to_json(self) -> str:
        """One line."""
        return json.dumps(self)

    @classmethod
    def from_json(cls, line: str) -> "Answer":
        """What `to_json` wrote."""
        fields = json.loads(line)
        fields[3], fields[9] = tuple(fields[3]), Row(*fields[9])
        return cls(*fields)


def row_url(url: str, key: Key) -> str:
    """Where a worker answers for a key."""
    return f"{url}/v1/inventory/{quote(key[0], safe='')}/{quote(key[1], safe='')}"


async def ask(http: aiohttp.ClientSession, url: str, key: Key, query: str = "") -> Answer:
    """Ask one worker for one row; never raises for what the network does."""
    began = time.time()
    try:
        async with http.get(row_url(url, key) + query) as response:
            body = await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        problem = "refused" if isinstance(error, aiohttp.ClientConnectorError) else "broken"
        problem = "timeout" if isinstance(error, TimeoutError) else problem
        return Answer(began, time.time(), url, key, 0, problem=problem)
    headers = response.headers
    answer = Answer(
        began,
        time.time(),
        url,
        key,
        response.status,
        headers.get("Onhand-Role", ""),
        headers.get("Onhand-Worker", ""),
        headers.get("Onhand-Position", ""),
        headers.get("Onhand-As-Of", ""),
        version=int(headers.get("Onhand-Version", 0)),
        epoch=int(headers.get("Onhand-Epoch", 0)),
    )
    try:
        return _with_body(answer, body)
    except (ValueError, KeyError) as error:
        return answer._replace(problem=f"unreadable: {error!r}")


def _with_body(answer: Answer, body: bytes) -> Answer:
    content = json.loads(body)
    if answer.status != 200:
        name = str(content["type"]).rpartition("/")[2]
        return answer._replace(problem=f"{name}: {content.get('detail', '')}")
    key, row = row_from_json(content)
    fresh = content["freshness"]
    told = (fresh["role"], fresh["worker"], fresh["position"], fresh["as_of"])
    if key != answer.key:
        return answer._replace(problem=f"unreadable: answered for {key}")
    if told != answer[5:9]:
        return answer._replace(problem=f"unreadable: headers {answer[5:9]}, body {told}")
    by = (fresh.get("version", 0), fresh.get("epoch", 0))
    if by != (answer.version, answer.epoch):
        return answer._replace(
            problem=f"unreadable: headers {answer.version, answer.epoch}, body {by}"
        )
    return answer._replace(row=row)


async def owners(http: aiohttp.ClientSession, url: str, partitions: int) -> list[str]:
    """Who answers through this worker as the owner, by partition; empty where nobody does."""
    skus = [sku_in(partition, partitions) for partition in range(partitions)]
    answers = await asyncio.gather(*(ask(http, url, (sku, "nowhere")) for sku in skus))
    return [answer.worker if answer.role == "active" else "" for answer in answers]


class NotWhole(Exception):
    """A list that is not what the contract promises: complete, in order, each row once."""


async def read_list(
    http: aiohttp.ClientSession, url: str, query: str = "limit=1000"
) -> dict[Key, Row]:
    """Every row of the list, page by page, through one worker.

    Raises:
        NotWhole: a page was refused, out of order, or repeats a row.
    """
    rows: dict[Key, Row] = {}
    last, cursor = (b"", b""), ""
    while True:
        page = f"{url}/v1/inventory?{query}" + (cursor and f"&cursor={quote(cursor, safe='')}")
        async with http.get(page) as response:
            body = await response.json(content_type=None)
        if response.status != 200 or body["missing_partitions"]:
            raise NotWhole(f"{page}: {response.status} {json.dumps(body)[:500]}")
        for item in body["items"]:
            key, row = row_from_json(item)
            at = (key[0].encode(), key[1].encode())
            if at <= last:
                raise NotWhole(f"{page}: {key} comes after {last}")
            last, rows[key] = at, row
        cursor = body["next_cursor"]
        if not cursor:
            return rows


class Balancer:
    """Chooses a worker in turn, as a load balancer would: only those that say they are ready.

    A worker that refuses, breaks off or does not answer is left out until its
    `/ready` says 200 again. If none seems well, those that were so last are asked.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = list(urls)
        self._out: set[str] = set()
        self._last = self.urls
        self._turn = itertools.count()

    def next(self) -> str:
        """The next worker to ask."""
        well = self._last = [url for url in self.urls if url not in self._out] or self._last
        return well[next(self._turn) % len(well)]

    def saw(self, asked: str, status: int) -> None:
        """Learn from an answer: whom it came from, and its status (0: none came)."""
        if status == 0:
            self._out.add(asked)

    async def probe(self) -> None:
        """Ask every worker for its readiness, for ever."""
        timeout = aiohttp.ClientTimeout(total=1)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                await self._probe_all(http)
                await asyncio.sleep(PROBE_EVERY_S)

    async def probed(self) -> None:
        """Ask every worker once: before that each one counts as ready."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            await self._probe_all(http)

    async def _probe_all(self, http: aiohttp.ClientSession) -> None:
        await asyncio.gather(*(self._probe(http, url) for url in self.urls))

    async def _probe(self, http: aiohttp.ClientSession, url: str) -> None:
        try:
            async with http.get(f"{url}/ready") as response:
                ready = response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            ready = False
        (self._out.discard if ready else self._out.add)(url)


class Reader:
    """Asks for random keys at a steady rate, whatever the answers' speed."""

    def __init__(
        self,
        urls: Sequence[str],
        keys: Sequence[Key],
        rate: float,
        took: Callable[[Answer], None],
        *,
        seed: int = 1,
        timeout_s: float = 5.0,
        most_in_flight: int = 500,
    ) -> None:
        self.balancer = Balancer(urls)
        self.keys = list(keys)
        self.rate = rate
        self._took = took
        self._random = random.Random(seed)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._free = asyncio.Semaphore(most_in_flight)

    async def run(self) -> None:
        """Ask until cancelled."""
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(timeout=self._timeout, connector=connector) as http,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self.balancer.probe())
            due = time.monotonic()
            while True:
                await self._free.acquire()
                tasks.create_task(self._one(http))
                due += 1 / self.rate
                # A reader that fell behind by a second gives up the rest, not the pace.
                due = max(due, time.monotonic() - 1)
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _one(self, http: aiohttp.ClientSession) -> None:
        try:
            answer = await ask(http, self.balancer.next(), self._random.choice(self.keys))
            self.balancer.saw(answer.asked, answer.status)
            self._took(answer)
        finally:
            self._free.release()


@asynccontextmanager
async def reading(reader: Reader) -> AsyncIterator[Reader]:
    """A reader at work in the background."""
    task = asyncio.create_task(reader.run())
    try:
        yield reader
        if task.done():
            task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _write_answers(arguments: argparse.Namespace) -> None:
    keys = [(sku, location) for sku, location in json.loads(arguments.keys.read_text())]
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    with arguments.out.open("w") as out:
        reader = Reader(
            arguments.urls.split(","),
            keys,
            arguments.rate,
            lambda answer: print(answer.to_json(), file=out),
            timeout_s=arguments.timeout,
        )
        async with reading(reader):
            await done.wait()


def main() -> int:
    """Ask until SIGTERM; one line of JSON for each answer."""
    parser = argparse.ArgumentParser(prog="python -m dev.reads.answers", description=main.__doc__)
    parser.add_argument("--urls", required=True, help="workers, joined by commas")
    parser.add_argument("--keys", type=Path, required=True, help="JSON list of [sku, location]")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=500, help="requests a second")
    parser.add_argument("--timeout", type=float, default=5, help="seconds for one request")
    asyncio.run(_write_answers(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
