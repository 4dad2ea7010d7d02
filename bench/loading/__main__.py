"""`python -m bench.loading`: CSV lines/s of `onhand load`, to facts that Kafka acknowledged.

Beside a straightforward script: the same client, the same facts, one sent and awaited after the
other. What was loaded is counted by another client afterwards.
"""

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from aiokafka import AIOKafkaProducer

from app import topics
from app.config import Settings
from bench.harness.machine import REPO
from bench.harness.progress import say
from bench.loading.shapes import TILL_COLUMNS
from dev.kafka import start
from dev.oracle.log import read_topics
from dev.workers import environment

_MAP = f"""
delimiter = ";"
time_form = "%d.%m.%Y %H:%M"
zone = "Europe/Berlin"
{TILL_COLUMNS}"""
#: Of the straightforward script, which takes long.
_ONE_BY_ONE = 5_000


def a_year(path: Path, lines: int) -> None:
    """Sales of a chain: 5,000 articles, 50 shops, five lines a receipt, returns."""
    chance = random.Random(1)
    with path.open("w") as file:
        file.write("Artikel;Filiale;Menge;Zeit;Vorgang;Bon\n")
        for n in range(lines):
            minute = n * 525_600 // lines
            day, minute = divmod(minute, 1440)
            quantity = -1 if chance.random() < 0.01 else chance.choice((1, 1, 1, 2, 3))
            file.write(
                f"ART-{chance.randrange(5_000):05d};{chance.randrange(50):03d};{quantity};"
                f"{1 + day % 28:02d}.{1 + day // 31:02d}.2026 {minute // 60:02d}:{minute % 60:02d};"
                f"Verkauf;{n // 5}\n"
            )


def loaded(settings: Settings, folder: Path, lines: int, document: str) -> tuple[float, float, int]:
    """Seconds of the whole command, its CPU seconds, and the most memory that it took, in MiB."""
    command = "import sys; from app.commands import main; sys.exit(main())"
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [
            *(sys.executable, "-c", command, "load", "sales.csv", "--map", "m.toml"),
            *("--document", document, "--json"),
        ],
        cwd=folder,
        env=environment(
            {
                "ONHAND_KAFKA": settings.kafka,
                "ONHAND_NAME": settings.name,
                "ONHAND_TOPIC_PREFIX": settings.topic_prefix,
                "PYTHONPATH": str(REPO),
            }
        ),
        check=True,
        capture_output=True,
    )
    seconds = time.monotonic() - began
    sent = json.loads(done.stdout)["sent"]
    assert sent == lines, sent
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu_s, after.ru_maxrss // 1024


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


async def measured(kafka: str, lines: int, rounds: int) -> None:
    """All of it, on one broker."""
    name = f"n{uuid.uuid4().hex[:8]}"
    settings = Settings.from_env({}, kafka=kafka, name=name, topic_prefix=f"{name}.")
    await topics.create(settings)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "m.toml").write_text(_MAP)
        say(f"writing {lines:,} lines")
        a_year(folder / "sales.csv", lines)
        for number in range(rounds):
            seconds, cpu_s, mib = loaded(settings, folder, lines, f"round {number}")
            print(
                f"{lines:,} lines in {seconds:.1f} s: {lines / seconds:,.0f} lines/s, "
                f"{1e6 * cpu_s / lines:.1f} µs of CPU each, at most {mib} MiB"
            )
        found = len(read_topics(kafka, settings.source_topics.values()))
        assert found == lines * rounds, found
    print(f"one by one {await one_by_one(settings):,.0f} facts/s")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m bench.loading", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with start() as kafka:
        asyncio.run(measured(kafka.bootstrap, options.lines, options.rounds))


if __name__ == "__main__":
    main()
