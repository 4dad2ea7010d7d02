"""`make wordcount`: poems, two workers, a `kill -9` in the middle, and every count compared.

What is compared with is `collections.Counter` over the same lines, by the rule itself and not by
the program's own function. Everything runs in processes and folders of its own.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import regex
from confluent_kafka import Producer

from dev.kafka import Kafka, KafkaUnavailable, start
from dev.oracle.log import LogReader
from dev.workers import ROOT, Late, Worker, start_process, until

POEMS = ROOT / "examples/wordcount/poems.txt"
PROGRAM = ("-m", "examples.wordcount")
PARTITIONS = 6
#: How often the poems are said, and in how many pieces; between them a moment passes.
TIMES, PIECES, MOMENT_S = 300, 100, 0.08
KILL_AT, RESTART_AT = 0.4, 0.7
SETTLED_S = 60.0
BAR = 40


class WordsDiffer(Exception):
    """A count is not what the lines say."""


def words_by_the_rule(line: str) -> list[str]:
    r"""Java's `Pattern.compile("\\W+", UNICODE_CHARACTER_CLASS).split(line.toLowerCase())`."""
    separator = r"[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+"
    words: list[str] = regex.split(separator, line.lower())
    if len(words) > 1:  # Java leaves empty ones out at the end, unless nothing was split
        while words and not words[-1]:
            words.pop()
    return words


def counted_by_the_rule(lines: Iterable[str]) -> Counter[str]:
    """How often each word is in these lines."""
    times = Counter(lines)
    found: Counter[str] = Counter()
    for line, often in times.items():
        for word in words_by_the_rule(line):
            found[word] += often
    return found


class Words:
    """WordCount on a Kafka: its workers, and what to say to it and ask of it.

    Args:
        kafka: bootstrap servers.
        folder: for disks and logs.
        name: ONHAND_NAME, so that several can be on one Kafka.
        settings: ONHAND_… variables more.
        program: what to give to Python before `worker`.
    """

    def __init__(
        self,
        kafka: str,
        folder: Path,
        name: str = "wordcount",
        settings: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.kafka, self.folder, self.name = kafka, folder, name
        self._program = program
        self.settings = {
            "ONHAND_KAFKA": kafka,
            "ONHAND_NAME": name,
            "ONHAND_TOPIC_PREFIX": f"{name}.",
            "ONHAND_PARTITIONS": str(PARTITIONS),
            "ONHAND_SESSION_TIMEOUT_MS": "6000",
            **(settings or {}),
        }
        self.lines_topic, self.words_topic = f"{name}.lines", f"{name}-v1-words"
        self.counts_topic = f"{name}-v1-counts"
        self.workers: dict[str, Worker] = {}
        self.said: list[str] = []
        self._producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5, "log_level": 0})

    def create_topics(self) -> None:
        """By the program's own command; raises WordsDiffer with what it said."""
        log = self.folder / "topics.log"
        self.folder.mkdir(parents=True, exist_ok=True)
        process = start_process([*self._program, "topics"], self.settings, log)
        if process.wait(60):
            raise WordsDiffer(log.read_text())

    def worker(self, name: str) -> Worker:
        """The worker of this name; it runs only once it is started."""
        if name not in self.workers:
            command = (*self._program, "worker")
            self.workers[name] = Worker(name, self.folder, self.settings, command=command)
        return self.workers[name]

    async def start(self, *names: str) -> None:
        """Start these; returns when they are ready."""
        for name in names:
            self.worker(name).start()
        for name in names:
            await self.worker(name).ready()

    def say(self, lines: Iterable[str]) -> None:
        """Append them; no key, so that each partition has some."""
        for line in lines:
            self._producer.produce(self.lines_topic, line.encode(), partition=-1)
            self._producer.poll(0)
            self.said.append(line)
        self._producer.flush(30)

    async def top(self, worker: Worker, limit: int = 10) -> list[tuple[str, int]] | None:
        """The most frequent words, as it says; None where it cannot tell now."""
        with suppress(aiohttp.ClientError, TimeoutError):
            timeout = aiohttp.ClientTimeout(total=10)
            url = f"{worker.url}/counts?limit={limit}"
            async with aiohttp.request("GET", url, timeout=timeout) as response:
                body: Any = await response.json(content_type=None)
                if response.status == 200:
                    return [(item["word"], item["count"]) for item in body["items"]]
        return None

    async def settled(self, timeout_s: float = SETTLED_S) -> Counter[str]:
        """Wait until every line that was said is counted; what must be counted."""
        wanted = counted_by_the_rule(self.said)
        total = min(1000, len(wanted))
        most = sorted(wanted.values(), reverse=True)[:total]
        seen: Any = None

        async def equal() -> bool:
            nonlocal seen
            for worker in self.workers.values():
                if worker.alive:
                    found = await self.top(worker, total)
                    seen = found and found[:5]
                    if found is None or [count for _, count in found] != most:
                        return False
            return True

        try:
            await until(equal, "counted: every line", timeout_s, every_s=0.2)
        except Late as late:
            tails = "\n".join(worker.tail() for worker in self.workers.values())
            raise WordsDiffer(f"{late}; {seen} and not {wanted.most_common(5)}\n{tails}") from None
        return wanted

    async def check(self, wanted: Mapping[str, int]) -> int:
        """Ask each worker for every word, and read the output topic; how many answers.

        Raises:
            WordsDiffer: something is not what the lines say.
        """
        asked = 0
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for worker in self.workers.values():
                if not worker.alive:
                    continue
                for word, count in wanted.items():
                    found = await self._count(http, worker, word)
                    asked += 1
                    if found != count:
                        raise WordsDiffer(f"{word!r} through {worker.name}: {found}, not {count}")
        last = self.last_told()
        if last != dict(wanted):
            wrong = {w: (last.get(w), c) for w, c in wanted.items() if last.get(w) != c}
            more = last.keys() - wanted.keys()
            raise WordsDiffer(f"in {self.counts_topic}: {wrong} differ, {more} are too many")
        return asked

    async def _count(self, http: aiohttp.ClientSession, worker: Worker, word: str) -> int | None:
        async with http.get(f"{worker.url}/counts/{quote(word, safe='')}") as response:
            body: Any = await response.json(content_type=None)
            return body["count"] if response.status == 200 else None

    def told(self) -> Iterator[tuple[str, int]]:
        """Word and count of each committed record of the output topic, each word in order."""
        reader = LogReader(self.kafka, [self.counts_topic])
        try:
            for batch in reader.until_end():
                for record in batch:
                    yield (record.key or b"").decode(), int.from_bytes(record.value or b"", "big")
        finally:
            reader.close()

    def last_told(self) -> dict[str, int]:
        """The last count of each word; raises WordsDiffer where one did not grow."""
        last: dict[str, int] = {}
        for word, count in self.told():
            if count <= last.get(word, 0):
                raise WordsDiffer(f"{word!r} was {last[word]}, and then {count}")
            last[word] = count
        return last

    def close(self) -> None:
        """End the workers, each by its process id."""
        for worker in self.workers.values():
            worker.kill()


async def play(kafka: Kafka, folder: Path, times: int) -> None:
    """Say the poems, kill a worker meanwhile, compare."""
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {what}", flush=True)

    words = Words(kafka.bootstrap, folder)
    words.create_topics()
    try:
        await words.start("a", "b")
        a, b = words.worker("a"), words.worker("b")
        tell(f"workers: a {a.url} (pid {a.pid}), b {b.url} (pid {b.pid})")
        lines = POEMS.read_text().splitlines() * times
        size = len(lines) // PIECES + 1
        for n in range(PIECES):
            words.say(lines[n * size : (n + 1) * size])
            await asyncio.sleep(MOMENT_S)
            if n == int(PIECES * KILL_AT):
                b.kill()
                tell(f"kill -9 of worker b, after {len(words.said):,} lines")
            elif n == int(PIECES * RESTART_AT):
                b.start()
        tell(f"{len(words.said):,} lines said; worker b is started again (pid {b.pid})")
        await b.ready()
        wanted = await words.settled()
        tell(f"{wanted.total():,} words are counted")
        found = await words.top(a)
        show(found or [])
        asked = await words.check(wanted)
        tell(
            f"{len(wanted):,} counts are what collections.Counter says: {asked:,} answers of both "
            f"workers, and the last of each in {words.counts_topic}"
        )
    finally:
        words.close()


def show(found: Sequence[tuple[str, int]]) -> None:
    """Each word and its count as a bar."""
    most = max((count for _, count in found), default=1)
    print()
    for word, count in found:
        shown = word or "(empty)"
        print(f"  {shown:>10} {count:>8,}  {'█' * max(1, round(BAR * count / most))}")
    print(flush=True)


def main() -> int:
    """Exit code 0 only if every count is right."""
    times = int(sys.argv[1]) if sys.argv[1:] else TIMES
    with tempfile.TemporaryDirectory(prefix="onhand-wordcount-") as folder:
        try:
            with start(Path(folder) / "kafka") as kafka:
                asyncio.run(play(kafka, Path(folder), times))
        except (KafkaUnavailable, WordsDiffer, Late) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
