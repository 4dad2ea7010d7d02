"""`python -m bench.bridge`: records/s of a bridge beside a bare transactional copy loop.

The same records of the same topic, in turn, in one run; each bridge's facts are counted by
another client afterwards. `--encoding avro` frames the same rows by a schema's number.
"""

import argparse
import asyncio
import io
import json
import re
import statistics
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from confluent_kafka import Producer

from app import topics
from app.config import Settings
from bench.harness.machine import REPO
from bench.harness.measure import Process
from bench.harness.progress import say
from bench.peers.copy_loop import FINISHED
from dev.kafka import free_port, start
from dev.oracle.log import read_topics

PARTITIONS = 12
TIMEOUT_S = 300.0
MAP = """
frame = "debezium"
time_format = "us"
[constants]
type = "inventory.sale.completed.v1"
source = "erp"
[paths]
sku = "value.after.article"
location = "value.after.store"
quantity = "value.after.pieces"
time = "value.after.sold_at"
id = "value.after.id"
[only]
"value.op" = ["c"]
"""


def a_change(n: int) -> bytes:
    """A row of a table of sales, inserted."""
    after = {
        "id": n,
        "article": f"SKU-{n * 7919 % 10_000:06d}",
        "store": f"store-{n % 20:03d}",
        "pieces": 1 + n % 5,
        "sold_at": 1_795_000_000_000_000 + n,
    }
    return json.dumps({"before": None, "after": after, "op": "c", "ts_ms": 1}).encode()


AVRO = {
    "type": "record",
    "name": "Change",
    "fields": [
        {"name": "op", "type": "string"},
        {
            "name": "after",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "Row",
                    "fields": [
                        {"name": "id", "type": "long"},
                        {"name": "article", "type": "string"},
                        {"name": "store", "type": "string"},
                        {"name": "pieces", "type": "int"},
                        {"name": "sold_at", "type": "long"},
                    ],
                },
            ],
        },
    ],
}


def in_avro(change: bytes) -> bytes:
    """The same row behind the number 7."""
    import fastavro

    raw = io.BytesIO(b"\0\0\0\0\x07")
    raw.seek(0, io.SEEK_END)
    fastavro.schemaless_writer(raw, AVRO, json.loads(change))
    return raw.getvalue()


def load(kafka: str, topic: str, count: int, made: Callable[[int], bytes]) -> None:
    """Write the foreign topic."""
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 20, "compression.type": "zstd"})
    for n in range(count):
        while True:
            try:
                producer.produce(topic, made(n), b"%d" % n, partition=n % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(60)


def copied(kafka: str, source: str, target: str, count: int, folder: Path) -> float:
    """Records/s of the copy loop."""
    argv = [sys.executable, "-m", "bench.peers.copy_loop", kafka, source, target, str(count)]
    with Process(argv, folder / "copy.log", cwd=REPO) as process:
        deadline = time.monotonic() + TIMEOUT_S
        while not process.said(FINISHED):
            assert time.monotonic() < deadline, process.log.read_text()
            time.sleep(0.05)
        (seconds,) = re.findall(rf"{FINISHED} ([\d.]+)", process.log.read_text())
        return count / float(seconds)


def carried(variables: dict[str, str], count: int, folder: Path) -> tuple[float, float]:
    """Records/s of the bridge, from the last look at none to the first at all; its CPU seconds."""
    argv = [sys.executable, "-m", "faust", "-A", "app.bridge", "worker", "-l", "info"]
    with Process(argv, folder / "bridge.log", env=variables, cwd=REPO) as process:
        url = f"http://127.0.0.1:{variables['ONHAND_BRIDGE_PORT']}/metrics"
        began, cpu_s = time.monotonic(), 0.0
        deadline = began + TIMEOUT_S
        while (done := _records(url)) < count:
            if not done:
                began, cpu_s = time.monotonic(), process.cpu_s()
            assert time.monotonic() < deadline, process.log.read_text()
            time.sleep(0.02)
        return count / (time.monotonic() - began), process.cpu_s() - cpu_s


def _records(url: str) -> float:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        found = re.search(r"^onhand_bridge_records_total (\S+)", answer.read().decode(), re.M)
        return float(found[1]) if found else 0.0
    return 0.0


def main() -> int:
    """Load, measure in turn, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.bridge", description=__doc__)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encoding", choices=("json", "avro"), default="json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, start() as kafka:
        folder, name = Path(temporary), f"b{uuid.uuid4().hex[:6]}"
        (folder / "map.toml").write_text(MAP)
        settings = Settings.from_env({}, kafka=kafka.bootstrap, name=name)
        asyncio.run(_make_topics(settings, "foreign", "copies"))
        say(f"loading {given.records:,} change events")
        is_avro = given.encoding == "avro"
        made = (lambda n: in_avro(a_change(n))) if is_avro else a_change
        load(kafka.bootstrap, "foreign", given.records, made)
        (folder / "7.avsc").write_text(json.dumps(AVRO))
        copies, bridges = [], []
        for number in range(given.rounds):
            copies.append(copied(kafka.bootstrap, "foreign", "copies", given.records, folder))
            (folder / "map.toml").write_text(
                f'name = "round-{number}"\nencoding = "{given.encoding}"\n{MAP}'
            )
            variables = {
                "ONHAND_KAFKA": kafka.bootstrap,
                "ONHAND_NAME": name,
                "ONHAND_DATA_DIR": str(folder / f"data-{number}"),
                "ONHAND_BRIDGE_TOPIC": "foreign",
                "ONHAND_BRIDGE_MAP": str(folder / "map.toml"),
                "ONHAND_BRIDGE_PORT": str(free_port()),
                "ONHAND_BRIDGE_SCHEMAS": str(folder),
            }
            rate, cpu_s = carried(variables, given.records, folder)
            bridges.append(rate)
            say(
                f"copy loop {copies[-1]:,.0f} records/s; bridge {rate:,.0f}, "
                f"{1e6 * cpu_s / given.records:.1f} µs of CPU each; ratio {rate / copies[-1]:.2f}"
            )
        facts = len(read_topics(kafka.bootstrap, ["sales"]))
    ratios = [bridge / copy for bridge, copy in zip(bridges, copies, strict=True)]
    print(
        f"copy loop {statistics.median(copies):,.0f} records/s, bridge "
        f"{statistics.median(bridges):,.0f}, ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}); facts {facts:,}"
    )
    return 0 if facts == given.records * given.rounds else 1


async def _make_topics(settings: Settings, *foreign: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    await topics.create(settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in foreign])
    await admin.close()


if __name__ == "__main__":
    sys.exit(main())
