"""The official CloudEvents SDKs as producers and readers, in each mode, with a real worker."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from cloudevents.core.bindings import kafka as binding
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.http import CloudEvent as OldEvent
from cloudevents.v1.kafka import to_binary, to_structured
from confluent_kafka import Producer

from dev.kafka import Kafka
from dev.kafka.java import KafkaUnavailable, java
from dev.oracle.log import read_topics
from tests.support.cluster.workers import Cluster
from tests.support.deploying.installing import installed, run

SDKS = Path(__file__).parents[1] / "sdks"
SKU = "SKU-000042"
DATA = {"sku": SKU, "location": "store-007", "quantity": 2}
SALE = "inventory.sale.completed.v1"
RUN_S = 300


@pytest.fixture(scope="module")
def shop(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One worker, and a log that begins with two facts that came by HTTP."""
    cluster = Cluster(kafka.bootstrap, tmp_path_factory.mktemp("sdks"), partitions=3)

    async def begin() -> None:
        await cluster.create_topics()
        await cluster.start("a")
        assert await post(cluster, "http-1") == "applied"
        assert await post(cluster, "shared") == "applied"

    try:
        asyncio.run(begin())
        yield cluster
    finally:
        cluster.close()


async def post(cluster: Cluster, event_id: str) -> str:
    """Sell by HTTP; what became of it."""
    url = f"{cluster.worker('a').url}/v1/sales?outcome=true&wait_ms=10000"
    # With a time: JavaScript's SDK 10.0.0 reads no structured event without one.
    line = {"source": "till-17", "id": event_id, "time": "2026-11-23T10:00:00Z", **DATA}
    async with aiohttp.request("POST", url, json=line) as response:
        (told,) = (await response.json())["events"]
        return str(told["outcome"])


async def must_hold(cluster: Cluster, sent: set[str]) -> None:
    """Each of these was applied once, and the shared fact never again, by HTTP neither."""
    assert await post(cluster, "shared") == "repeated"
    oracle = await cluster.assert_exact()

    assert oracle.refused == {}
    records = [json.loads(value) for value in (cluster.folder / "sent").read_text().splitlines()]
    assert {*records} >= sent
    assert oracle.row((SKU, DATA["location"])).events == 2 + len(records)  # type: ignore[arg-type]


def remember(cluster: Cluster, sent: set[str]) -> None:
    """Tests of one log, in any order: what was sent to it so far."""
    with (cluster.folder / "sent").open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in sorted(sent))


# ---- Python


def event(event_id: str, data: object = DATA, **attributes: str) -> CloudEvent:
    named = {"id": event_id, "source": "till-17", "type": SALE, "partitionkey": SKU}
    return CloudEvent({**named, "datacontenttype": "application/json", **attributes}, data)  # type: ignore[arg-type]


def old_event(event_id: str, kind: str = SALE) -> OldEvent:
    named = {"id": event_id, "source": "till-17", "type": kind, "partitionkey": SKU}
    # Its to_binary raises a KeyError without.
    return OldEvent(named | {"datacontenttype": "application/json"}, DATA)


PACKED = json.dumps(DATA).encode()
PYTHON: Mapping[str, Callable[[str], object]] = {
    "binary": lambda name: binding.to_binary_event(event(name)),
    "structured": lambda name: binding.to_structured_event(event(name)),
    "bytes": lambda name: binding.to_structured_event(event(name, PACKED)),
    "vendor": lambda name: binding.to_binary_event(
        event(name, PACKED, datacontenttype="application/vnd.shop+json")
    ),
    "old binary": lambda name: to_binary(old_event(name)),
}


async def test_python_s_sdk_is_understood_in_each_mode_and_reads_what_is_there(
    shop: Cluster,
) -> None:
    producer = Producer({"bootstrap.servers": shop.kafka, "partitioner": "murmur2_random"})
    for mode, of in PYTHON.items():
        for event_id in (f"python-{mode}", "shared"):
            message = of(event_id)
            key = message.key  # type: ignore[attr-defined]
            value, headers = message.value, message.headers  # type: ignore[attr-defined]
            producer.produce(f"{shop.prefix}sales", value, key, headers=dict(headers))
    # The old one says `application/json` in structured mode, which other SDKs cannot read.
    unnamed = to_structured(old_event("python-old", "inventory.shipment.received.v1"))
    headers = dict(unnamed.headers)
    assert headers == {"content-type": b"application/json"}
    producer.produce(f"{shop.prefix}shipments", unnamed.value, unnamed.key, headers=headers)
    assert producer.flush(RUN_S) == 0
    remember(shop, (sent := {f"python-{mode}" for mode in PYTHON}) | {"python-old"})

    await must_hold(shop, sent)
    read = set()
    for record in read_topics(shop.kafka, [f"{shop.prefix}sales"]):
        headers = {name: content or b"" for name, content in record.headers}
        message = binding.KafkaMessage(headers, record.key, record.value or b"")
        read.add(binding.from_kafka_event(message).get_id())
    assert read >= {*sent, "http-1", "shared"}


# ---- JavaScript and Java


async def sold_by(shop: Cluster, what: str, *command: object, cwd: Path) -> set[str]:
    """Run a program that sells and then reads; ids of what it read."""
    args = (*command, shop.kafka, f"{shop.prefix}sales", SKU)
    said = await asyncio.to_thread(run, what, *args, cwd=cwd, timeout_s=RUN_S)
    return {json.loads(line)["id"] for line in said.splitlines()}


async def test_javascript_s_sdk_is_understood_in_each_mode_and_reads_what_is_there(
    shop: Cluster,
) -> None:
    if shutil.which("node") is None:
        pytest.skip("There is no node here to run the SDK with.")
    folder = installed(
        SDKS, "sdk-js", ("package.json", "package-lock.json"), "npm", "ci", "--no-audit"
    )
    shutil.copy(SDKS / "shop.js", folder)

    remember(shop, sent := {f"js-{mode}" for mode in ("binary", "structured", "buffer")})
    read = await sold_by(shop, "shop.js", "node", "shop.js", cwd=folder)

    await must_hold(shop, sent)
    assert read >= {*sent, "http-1", "shared"}


async def test_java_s_sdk_is_understood_in_each_mode_and_reads_what_is_there(
    shop: Cluster,
) -> None:
    try:
        runtime = java()
    except KafkaUnavailable as none:
        pytest.skip(str(none))
    if "jdk.compiler" not in run("java", runtime, "--list-modules", cwd=SDKS, timeout_s=RUN_S):
        pytest.skip("This Java has no compiler to run the SDK's program with.")
    copy = ("-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars")
    folder = installed(SDKS, "sdk-java", ("pom.xml",), "mvn", *copy)

    program = (runtime, "-cp", "jars/*", SDKS / "Shop.java")
    remember(shop, sent := {f"java-{m}" for m in ("default", "binary", "structured", "vendor")})
    read = await sold_by(shop, "Shop.java", *program, cwd=folder)

    await must_hold(shop, sent)
    assert read >= {*sent, "http-1", "shared"}
