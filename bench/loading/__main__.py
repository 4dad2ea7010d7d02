"""`python -m bench.loading`: lines and events a second of `onhand load`, to facts that Kafka keeps.

CSV, EPCIS in JSON-LD and in XML, each beside a straightforward script in the same turn: the same
client, such facts, one sent and awaited after the other. Each file is loaded at two sizes, which
says whether memory grows with it. What was loaded is counted by another client afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from app import topics
from app.config import Settings
from bench.harness.machine import REPO, describe
from bench.harness.targets import Judged, least, most
from bench.loading.shapes import TILL_COLUMNS, a_year, epcis_json, epcis_xml, places
from dev.kafka import start
from dev.oracle.log import LogReader
from dev.workers import environment

_MAP = f"""
delimiter = ";"
time_form = "%d.%m.%Y %H:%M"
zone = "Europe/Berlin"
{TILL_COLUMNS}"""
#: Of the straightforward script, which takes long.
_ONE_BY_ONE = 5_000
_MOST_MIB = 150
_LEAST_RATIO = 3


class Kind(NamedTuple):
    """A kind of files; words: for the command; wanted: lines or events a second."""

    what: str
    write: Callable[[Path, int, int], None]
    words: tuple[str, ...]
    wanted: int


_PLACES = ("--places", "places.csv")
KINDS = {
    "csv": Kind("CSV, lines", a_year, ("--map", "m.toml"), 50_000),
    "epcis-json": Kind("EPCIS JSON-LD, events", epcis_json, _PLACES, 20_000),
    "epcis-xml": Kind("EPCIS XML 1.2, events", epcis_xml, _PLACES, 20_000),
}


class Loaded(NamedTuple):
    """One run of the command: its seconds, its CPU seconds, and the most memory that it took."""

    lines: int
    seconds: float
    cpu_s: float
    mib: float


def loaded(settings: Settings, file: Path, kind: Kind, lines: int) -> Loaded:
    """Load a file by the command, and see that all of it was sent."""
    command = "import sys; from app.commands import main; sys.exit(main())"
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-c", command, "load", file.name, *kind.words, "--json"],
            cwd=file.parent,
            env=environment(
                {
                    "ONHAND_KAFKA": settings.kafka,
                    "ONHAND_NAME": settings.name,
                    "ONHAND_TOPIC_PREFIX": settings.topic_prefix,
                    "PYTHONPATH": str(REPO),
                }
            ),
            stdout=said,
        )
        # Of this child alone: those of all children would say the most that any ever took.
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        answer = json.loads(said.read())
    assert process.returncode == 0, answer
    assert answer["sent"] == lines, answer["sent"]
    return Loaded(lines, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


async def one_by_one(settings: Settings) -> float:
    """Facts/s of a producer that waits for each."""
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka, acks="all") as producer:
        began = time.monotonic()
        for n in range(_ONE_BY_ONE):
            data = {"sku": f"ART-{n % 5000:05d}", "location": "007", "quantity": 1}
            event = {
                "specversion": "1.0", "id": f"script-{n}", "source": "script",
                "type": "inventory.sale.completed.v1", "data": data,
            }  # fmt: skip
            await producer.send_and_wait(
                settings.source_topics["sales"], json.dumps(event).encode(), data["sku"].encode()
            )
        return _ONE_BY_ONE / (time.monotonic() - began)


async def measured(kafka: str, folder: Path, kind: Kind, lines: int, rounds: int) -> list[Judged]:
    """One kind of files: a line a round, and what to make of all."""
    name = f"n{uuid.uuid4().hex[:8]}"
    settings = Settings.from_env({}, kafka=kafka, name=name, topic_prefix=f"{name}.")
    await topics.create(settings)
    found: list[tuple[Loaded, float]] = []
    sent = 0
    for size in (max(lines // 5, 1), lines) * rounds:
        file = folder / f"after-{sent}"
        kind.write(file, size, sent)
        alone = await one_by_one(settings)
        one = await asyncio.to_thread(loaded, settings, file, kind, size)
        sent += size + _ONE_BY_ONE
        print(
            f"{kind.what}: {size:,} of {file.stat().st_size / 2**20:.0f} MiB in "
            f"{one.seconds:.1f} s: {size / one.seconds:,.0f}/s, "
            f"{1e6 * one.cpu_s / size:.1f} µs of CPU each, at most {one.mib:.0f} MiB; "
            f"one by one {alone:,.0f}/s"
        )
        found.append((one, alone))
        file.unlink()
    reader = LogReader(kafka, settings.source_topics.values())
    try:
        in_log = sum(len(batch) for batch in reader.until_end())
    finally:
        reader.close()
    assert in_log == sent, (in_log, sent)
    return list(judged(kind, found))


def judged(kind: Kind, found: list[tuple[Loaded, float]]) -> Iterator[Judged]:
    """What is wanted of one kind, held against its rounds: the larger size says how fast."""
    large = max(one.lines for one, _ in found)
    rounds = [(one, alone) for one, alone in found if one.lines == large]
    rate = median(one.lines / one.seconds for one, _ in rounds)
    ratio = median(one.lines / one.seconds / alone for one, alone in rounds)
    memory = max(one.mib for one, _ in rounds)
    small = max(one.mib for one, _ in found if one.lines != large)
    yield from least(kind.what, rate, kind.wanted, "/s")
    yield from least(f"{kind.what}: beside one by one", ratio, _LEAST_RATIO, " ×")
    yield from most(f"{kind.what}: memory", memory, _MOST_MIB, " MiB")
    yield from most(f"{kind.what}: memory, of a fifth of the file", memory / small, 1.25, " ×")


async def everything(kafka: str, options: argparse.Namespace) -> None:
    """All kinds, and their table."""
    rows: list[Judged] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "m.toml").write_text(_MAP)
        (folder / "places.csv").write_text(places())
        for name in options.only.split(","):
            lines = options.lines if name == "csv" else options.events
            rows += await measured(kafka, folder, KINDS[name], lines, options.rounds)
    print("\n" + ", ".join(f"{name}: {said}" for name, said in describe().items()))
    print("\n| | wanted | measured | |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.wanted} | {row.measured} | {row.word} |")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m bench.loading", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000, help="of the CSV file")
    parser.add_argument("--events", type=int, default=100_000, help="of the EPCIS files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(KINDS), help="some of these, with commas")
    options = parser.parse_args()
    with start() as kafka:
        asyncio.run(everything(kafka.bootstrap, options))


if __name__ == "__main__":
    main()
