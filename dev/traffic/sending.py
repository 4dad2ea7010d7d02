"""`onhand traffic`: believable retail facts at a steady rate, to Kafka or through the POST API."""

import asyncio
import json
import logging
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

import aiohttp
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from core.words import in_words
from dev.oracle.reading import ROLES
from dev.traffic.shop import Sent, Shop

TICK_S = 0.02
REPORT_EVERY_S = 10.0
MOST_IN_FLIGHT = 20_000
FINISH_WITHIN_S = 30.0
LINES_A_POST = 500
POSTS_AT_ONCE = 4
HTTP_TIMEOUT_S = 10.0
RETRY_S = 1.0
#: After Ctrl-C nobody waits as long as for the end of a run.
LEAVE_WITHIN_S = 2.0
START_WITHIN_S = 15.0


class Sink(Protocol):
    """Where the facts go.

    Attributes:
        partitions: of each source topic, as far as known; 1 if not.
        in_flight: handed over and not answered yet.
    """

    partitions: int

    @property
    def in_flight(self) -> int: ...  # noqa: D102

    async def start(self) -> None: ...  # noqa: D102

    async def send(self, sent: Sequence[Sent]) -> None: ...  # noqa: D102

    async def stop(self) -> None: ...  # noqa: D102


class KafkaSink:
    """Appends to the topics, acknowledged by all in-sync replicas."""

    def __init__(
        self,
        kafka: str,
        topic_prefix: str,
        acked: Callable[[Sent], None],
        placed: Callable[[str, int, int], None] = lambda topic, partition, offset: None,
    ) -> None:
        """`acked`, `placed`: called for each record that Kafka took, with what it is and where."""
        self.partitions = 1
        self._prefix = topic_prefix
        self._acked = acked
        self._placed = placed
        self._waiting: set[asyncio.Future[RecordMetadata]] = set()
        self._failed: BaseException | None = None
        self._producer = AIOKafkaProducer(
            bootstrap_servers=kafka, enable_idempotence=True, linger_ms=10
        )

    @property
    def in_flight(self) -> int:
        """Records that Kafka has not answered yet."""
        return len(self._waiting)

    async def start(self) -> None:
        """Connect, and learn how many partitions there are."""
        try:
            async with asyncio.timeout(START_WITHIN_S):
                await self._producer.start()
                for role in ROLES:
                    topic = self._prefix + role
                    self.partitions = len(await self._producer.partitions_for(topic))
        except (KafkaError, TimeoutError, OSError) as error:
            await self.stop()
            raise Unreachable(
                f"Kafka does not answer, or has no topics {', '.join(ROLES)} "
                f"({in_words(error)}): start it, and run `onhand topics create`."
            ) from error

    async def send(self, sent: Sequence[Sent]) -> None:
        """Hand over; returns when Kafka's client has taken them."""
        if self._failed is not None:
            raise self._failed
        for one in sent:
            answered = await self._producer.send(
                self._prefix + one.role, one.value, one.key, one.partition
            )
            self._waiting.add(answered)
            answered.add_done_callback(lambda future, one=one: self._answered(future, one))

    async def answered(self) -> None:
        """Wait until Kafka has answered for all that was handed over before."""
        if self._waiting:
            await asyncio.wait(set(self._waiting))

    def _answered(self, future: asyncio.Future[RecordMetadata], one: Sent) -> None:
        self._waiting.discard(future)
        if future.cancelled():
            return
        if error := future.exception():
            self._failed = error
        else:
            self._acked(one)
            told = future.result()
            self._placed(told.topic, told.partition, told.offset)

    async def stop(self) -> None:
        """Wait for the answers still due, then disconnect."""
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=FINISH_WITHIN_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._producer.stop(), FINISH_WITHIN_S)


class HttpSink:
    """Posts CloudEvents in batches; what gets no 202 is sent again as it was.

    An unreadable record goes alone, so that its 400 takes no good one along;
    what HTTP cannot say (no key, no value, another topic) is left out.
    """

    def __init__(self, url: str, acked: Callable[[Sent], None]) -> None:
        self.partitions = 1
        self.in_flight = 0
        self._url = url.rstrip("/") + "/v1/events"
        self._acked = acked
        self._queue: asyncio.Queue[list[Sent]] = asyncio.Queue(POSTS_AT_ONCE)
        self._http: aiohttp.ClientSession | None = None
        self._posting: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the connections.

        Raises:
            Unreachable: nobody answers there now. A worker that goes later is waited for.
        """
        timeout = aiohttp.ClientTimeout(total=HTTP_TIMEOUT_S)
        self._http = aiohttp.ClientSession(timeout=timeout)
        try:
            async with self._http.get(self._url.removesuffix("/v1/events") + "/live"):
                pass
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            await self._http.close()
            where = self._url.removesuffix("/v1/events")
            told = f"No worker answers at {where} ({in_words(error)}): start one with "
            raise Unreachable(told + "`onhand worker`, or name another by --url.") from error
        self._posting = [asyncio.create_task(self._post(self._http)) for _ in range(POSTS_AT_ONCE)]

    async def send(self, sent: Sequence[Sent]) -> None:
        """Hand over; returns when they are queued."""
        for poster in self._posting:
            if poster.done():
                poster.result()
        good = [one for one in sent if not one.refusal]
        posts = [good[at : at + LINES_A_POST] for at in range(0, len(good), LINES_A_POST)]
        sayable = {"not_json", "bad_envelope", "bad_data", "bad_time", "unknown_type"}
        posts += [[one] for one in sent if one.refusal in sayable]
        for post in posts:
            self.in_flight += len(post)
            await self._queue.put(post)

    async def _post(self, http: aiohttp.ClientSession) -> None:
        while True:
            lines = await self._queue.get()
            try:
                while True:
                    if await self._posted(http, lines):
                        break
                    await asyncio.sleep(RETRY_S)
                self.in_flight -= len(lines)
            finally:
                self._queue.task_done()

    async def _posted(self, http: aiohttp.ClientSession, lines: list[Sent]) -> bool:
        body = b",".join(line.value or b"" for line in lines)
        kind = {"Content-Type": "application/cloudevents-batch+json"}
        try:
            async with http.post(self._url, data=b"[" + body + b"]", headers=kind) as answer:
                status, said = answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return False
        if status >= 500:
            return False
        expected = 400 if lines[0].refusal else 202
        if status != expected:
            raise UnexpectedAnswer(f"{self._url} answered {status} instead of {expected}: {said}")
        for line in lines:
            self._acked(line)
        return True

    async def stop(self) -> None:
        """Wait for the answers still due, then disconnect."""
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._queue.join(), HTTP_TIMEOUT_S)
        finally:
            for poster in self._posting:
                poster.cancel()
            await asyncio.gather(*self._posting, return_exceptions=True)
            if self._http is not None:
                await self._http.close()


class Unreachable(Exception):
    """Nobody takes the facts; the message is one plain sentence."""


class UnexpectedAnswer(Exception):
    """The service answered something that the contract does not allow."""


class Traffic:
    """A shop's records at a steady rate into a sink; can be paused.

    Attributes:
        counts: acknowledged records by kind.
        sent: all of them.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.counts: Counter[str] = Counter()
        self.running, self._halted = asyncio.Event(), asyncio.Event()
        self.running.set()

    def acked(self, one: Sent) -> None:
        """A record is in the log (or, if it is unreadable and was posted, was refused)."""
        self.counts[one.kind] += 1

    @property
    def sent(self) -> int:
        """Acknowledged records."""
        return sum(self.counts.values())

    async def pause(self) -> None:
        """While it runs: returns when nothing more is handed over until `running` is set."""
        self.running.clear()
        await self._halted.wait()

    async def run(self, shop: Shop, sink: Sink, seconds: float | None = None) -> None:
        """Send until the time is over, or for ever."""
        started = before = time.monotonic()
        owed = 0.0
        while seconds is None or before < started + seconds:
            await asyncio.sleep(TICK_S)
            if not self.running.is_set():
                self._halted.set()
                await self.running.wait()
                self._halted.clear()
                before = time.monotonic()
            now = time.monotonic()
            # After a halt it goes on at the same rate, and does not make up for it at once.
            owed += min(now - before, 1.0) * self.rate
            before = now
            if sink.in_flight < MOST_IN_FLIGHT:
                count, owed = int(owed), owed % 1
                await sink.send([shop.next(datetime.now(UTC)) for _ in range(count)])
            else:
                owed = 0.0


def run_tag() -> str:
    """Makes the ids of this run differ from every other's, also with the same seed."""
    return f"{time.time_ns() // 1_000_000:x}"


def main(
    kafka: str,
    topic_prefix: str,
    rate: float,
    seconds: float | None,
    seed: int,
    skus: int,
    stores: int,
    url: str | None,
    json_output: bool,
) -> int:
    """Send traffic until the time is over or Ctrl-C; exit code.

    Args:
        kafka: bootstrap servers; not used with `url`.
        topic_prefix: before the names of the three source topics.
        rate: records a second.
        seconds: None sends until Ctrl-C.
        seed: the same seed tells the same story, under new ids.
        skus: how many SKUs the chain sells.
        stores: how many stores it has.
        url: a worker to post to, instead of Kafka.
        json_output: print the summary as one JSON object and nothing else.
    """
    for name in ("aiokafka", "asyncio"):  # what they say meanwhile is in one sentence at the end
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return asyncio.run(
            _send(kafka, topic_prefix, rate, seconds, seed, skus, stores, url, json_output)
        )
    except Unreachable as error:
        print(error, file=sys.stderr)
        return 2
    except (KafkaError, UnexpectedAnswer) as error:
        why = in_words(error) if isinstance(error, KafkaError) else error
        print("Traffic ended:", why, file=sys.stderr)
        return 1


async def _send(
    kafka: str,
    topic_prefix: str,
    rate: float,
    seconds: float | None,
    seed: int,
    skus: int,
    stores: int,
    url: str | None,
    json_output: bool,
) -> int:
    traffic = Traffic(rate)
    sink: Sink = (
        HttpSink(url, traffic.acked) if url else KafkaSink(kafka, topic_prefix, traffic.acked)
    )
    await sink.start()
    shop = Shop(seed=seed, skus=skus, stores=stores, partitions=sink.partitions, run=run_tag())
    if not json_output:
        where = url or f"{topic_prefix}shipments, {topic_prefix}sales, {topic_prefix}adjustments"
        print(f"{rate:,g} events/s to {where} · {stores:,} stores · {skus:,} SKUs · seed {seed}")
    began = time.monotonic()
    sending = asyncio.create_task(traffic.run(shop, sink, seconds))
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        sending.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        while (left := _left(began, seconds)) > 0:
            if (await asyncio.wait([sending], timeout=min(REPORT_EVERY_S, left)))[0]:
                break
            if not json_output and _left(began, seconds) > 0:
                print(_progress(traffic, sink, began), flush=True)
        if sending.done() and not sending.cancelled():
            sending.result()
    finally:
        sending.cancel()  # it may wait for a sink that takes nothing
        await asyncio.gather(sending, return_exceptions=True)
        with suppress(TimeoutError):
            await asyncio.wait_for(sink.stop(), LEAVE_WITHIN_S if stopped.is_set() else None)
    _summary(traffic, sink, time.monotonic() - began, json_output)
    return 0 if sink.in_flight == 0 else 1


def _left(began: float, seconds: float | None) -> float:
    return math.inf if seconds is None else began + seconds - time.monotonic()


def _progress(traffic: Traffic, sink: Sink, began: float) -> str:
    elapsed = time.monotonic() - began
    kinds = " · ".join(f"{count:,} {kind}" for kind, count in traffic.counts.most_common())
    waiting = f" · {sink.in_flight:,} in flight" if sink.in_flight else ""
    return f"{elapsed // 60:02.0f}:{elapsed % 60:02.0f}  {traffic.sent:,} sent: {kinds}{waiting}"


def _summary(traffic: Traffic, sink: Sink, seconds: float, json_output: bool) -> None:
    if json_output:
        summary = {
            "sent": traffic.sent,
            "kinds": dict(traffic.counts.most_common()),
            "unanswered": sink.in_flight,
            "seconds": round(seconds, 3),
            "events_per_second": round(traffic.sent / seconds, 1),
        }
        print(json.dumps(summary))
        return
    print(f"{traffic.sent:,} sent in {seconds:,.1f} s, {traffic.sent / seconds:,.0f} a second:")
    for kind, count in traffic.counts.most_common():
        print(f"  {count:>10,}  {kind}")
    if sink.in_flight:
        print(
            f"  {sink.in_flight:>10,}  without an answer: whether they were appended is not known"
        )
