"""Whatever a broker takes is counted, or refused by itself, or its partition alone stands still."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import aiohttp

from app import deadletters
from app.config import Settings
from dev.kafka import Kafka
from dev.oracle.stock import partition_of
from dev.reads.answers import Answer, ask
from dev.workers import until
from tests.support.breaking.kafka_tools import transactional
from tests.support.cluster.workers import Cluster
from tests.support.judges.oracle import reasons
from tests.support.topics.logs import Put, Writer
from tests.support.topics.rawlog import GZIP, LZ4, NONE, SNAPPY, ZSTD, Raw, a_batch, send

PARTITIONS = 2
CODECS = (NONE, GZIP, SNAPPY, LZ4, ZSTD)
STRANGE = b"\xff\xfe na\xefve"
SOON_S = 120.0


def skus(partition: int) -> Iterator[str]:
    return (s for n in range(10_000) if partition_of(s := f"S-{n:05}", PARTITIONS) == partition)


def a_sale(sku: str, number: int, **more: Any) -> Raw:
    event = {
        "specversion": "1.0", "id": f"{number}", "source": "till", **more,
        "type": "inventory.sale.completed.v1",
        "data": {"sku": sku, "location": "here", "quantity": 1},
    }  # fmt: skip
    return Raw(sku.encode(), json.dumps(event).encode())


async def test_all_that_a_broker_takes_is_counted_or_refused_and_ends_nobody(
    cluster: Cluster,
) -> None:
    await cluster.create_topics()
    await cluster.start("a")
    sales = f"{cluster.prefix}sales"
    names = skus(1)
    numbers = iter(range(1, 10_000))
    for codec in CODECS:
        sent = [a_sale(next(names), next(numbers)) for _ in range(20)]
        sent[9] = Raw(sent[9].key, b"{%d" % codec, [(b"trace", None)])
        await send(cluster.kafka, sales, a_batch(sent, codec, time_ms=-1), 1)
    large = [a_sale(next(names), next(numbers), pad="x" * size) for size in (10**6, 2**20)]
    for few in ([large[1]], large, [a_sale(next(names), next(numbers)), *large]):
        again = [raw._replace(value=(raw.value or b"") + b" " * n) for n, raw in enumerate(few)]
        await send(cluster.kafka, sales, a_batch(again, ZSTD), 1)
    much = [a_sale(next(names), next(numbers), pad="x" * 500_000) for _ in range(128)]
    batch = a_batch(much, ZSTD)
    assert len(batch) < 2**19
    await send(cluster.kafka, sales, batch, 1)

    oracle = await cluster.assert_exact()

    assert cluster.worker("a").alive
    assert reasons(oracle) == {"not_json": 5, "too_large": 3}


async def test_headers_with_names_of_any_bytes_are_kept_and_end_nobody(cluster: Cluster) -> None:
    await cluster.create_topics()
    await cluster.start("a")
    worker, sales = cluster.worker("a"), f"{cluster.prefix}sales"
    named = [(STRANGE, b"\xff"), (b"trace", None)]
    names, sold = skus(1), list[str]()
    for number, codec in enumerate(CODECS):
        sold += [next(names), next(names)]
        sent = [a_sale(sold[-2], 2 * number), a_sale(sold[-1], 2 * number + 1)]
        sent[0] = sent[0]._replace(headers=named)
        sent.insert(1, Raw(b"k", b"{%d" % codec, named))
        await send(cluster.kafka, sales, a_batch(sent, codec), 1)
    await cluster.assert_exact()  # the other readers of the log get over them, too
    strange = a_batch([Raw(b"k", b"not ours", named)])
    await send(cluster.kafka, f"{cluster.name}-v1-dlq", strange)
    await send(cluster.kafka, f"{cluster.name}-members", strange)
    await cluster.caught_up()

    rows = await cluster.rows(worker)
    assert {sku: row.sold for (sku, _), row in rows.items()} == dict.fromkeys(sold, 1)
    settings = Settings.from_env(cluster.settings)
    listed = await deadletters.listed(settings, 20, None, lambda _: None)
    assert (listed.total, listed.strange) == (5, 1)
    as_shown = STRANGE.decode(errors="surrogateescape")
    for letter in listed.recent:
        assert (letter.reason, letter.key) == ("not_json", b"k")
        assert letter.headers == [(as_shown, b"\xff"), ("trace", None)]
        assert await deadletters.found(settings, letter.position) == letter
    async with aiohttp.ClientSession() as http:
        page = json.loads(await text(http, f"{worker.url}/v1/dead-letters"))
    assert [item["headers"][0] for item in page["items"]] == [
        {"name_base64": base64.b64encode(STRANGE).decode(), "value_base64": "/w=="}
    ] * 5
    # Another owner, a restart and an empty disk read the same log.
    await worker.stop()
    worker.wipe()
    await cluster.start("a")
    await cluster.caught_up()
    assert await cluster.rows(worker) == rows
    assert worker.starts == 2


async def test_behind_an_open_transaction_no_answer_says_that_it_knows_all(
    cluster: Cluster,
) -> None:
    await cluster.create_topics()
    await cluster.start("a", "b")
    await cluster.settled()
    sku, *_ = skus(0)
    sales = f"{cluster.prefix}sales"
    stranger = transactional(cluster.kafka, f"{cluster.name}-stranger")
    stranger.init_transactions(60)
    stranger.begin_transaction()
    held = a_sale(sku, 1)
    stranger.produce(sales, held.value, held.key, partition=0)
    stranger.flush(60)
    ours = a_sale(sku, 2)
    Writer(cluster.kafka).write(sales, [Put(ours.key, ours.value)])

    async with aiohttp.ClientSession(headers={"Onhand-Hop": "1"}) as http:

        async def everywhere(query: str = "") -> list[Answer]:
            return [await ask(http, w.url, (sku, "here"), query) for w in cluster.alive]

        async def all_are_behind() -> bool:
            return [a.status for a in await everywhere("?max_lag_events=0")] == [503, 503]

        async def all_stand() -> list[Answer]:
            answers = await everywhere()
            return answers if sorted(a.role for a in answers) == ["active", "standby"] else []

        found = await until(all_stand, "one owner and one standby", SOON_S)
        await until(all_are_behind, "behind, each worker", SOON_S)
        # Another worker than the owner hears of it with the next heartbeat.
        a = cluster.worker("a").url
        up = await until(lambda: held_up(http, a), "said what holds it up", SOON_S)
        assert [(one["position"], one["cause"]) for one in up] == [(f"{sales}-0@0", "transaction")]
        label = f'onhand_held_up_seconds{{cause="transaction",partition="0",topic="{sales}"}}'
        assert label in "".join([await text(http, f"{w.url}/metrics") for w in cluster.alive])

        # A new owner knows of it before its first answer.
        owner = next(w for w, a in zip(cluster.alive, found, strict=True) if a.role == "active")
        await owner.stop()
        [other] = cluster.alive

        async def is_owner() -> bool:
            [answer] = await everywhere()
            assert answer.role != "active" or answer.status in (404, 503)
            return answer.role == "active"

        await until(is_owner, "the owner", SOON_S)
        assert (await ask(http, other.url, (sku, "here"), "?max_lag_events=0")).status == 503

        stranger.commit_transaction(60)

        async def knows_all() -> bool:
            answer = await ask(http, other.url, (sku, "here"), "?max_lag_events=0")
            return answer.status == 200 and answer.row is not None and answer.row.sold == 2

        await until(knows_all, "level again", SOON_S)
        await until(lambda: is_free(http, other.url), "held up by nothing", SOON_S)
    await cluster.assert_exact()


async def text(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url) as response:
        return await response.text()


async def held_up(http: aiohttp.ClientSession, url: str) -> list[dict[str, str]]:
    """Of partition 0, as its owner says."""
    active = json.loads(await text(http, f"{url}/v1/cluster"))["partitions"][0]["active"]
    return list(active.get("held_up", []))


async def is_free(http: aiohttp.ClientSession, url: str) -> bool:
    """As the next heartbeat says."""
    return await held_up(http, url) == []


async def test_a_batch_that_is_damaged_on_disk_stops_its_partition_alone_until_it_is_sound(
    kafka: Kafka, cluster: Cluster
) -> None:
    await cluster.create_topics()
    sales = f"{cluster.prefix}sales"
    for partition in range(PARTITIONS):
        for number, sku in zip(range(1, 4), skus(partition), strict=False):
            await send(cluster.kafka, sales, a_batch([a_sale(sku, number)]), partition)
    sku = list(skus(0))[1]
    flip(kafka, sales, f'"sku": "{sku}"'.encode(), b'"sku": "S-XXXXX"')
    await cluster.start("a")
    url = cluster.worker("a").url

    async with aiohttp.ClientSession() as http:
        seen: dict[str, Any] = {}

        async def stands_still() -> bool:
            held = json.loads(await text(http, f"{url}/ready"))["partitions"]
            seen.update({str(each["partition"]): each for each in held})
            return "fails its checksum" in seen["0"].get("stopped_because", "")

        await until(stands_still, "standing still", SOON_S)
        first, last = next(skus(0)), list(skus(1))[2]

        async def what_lies_before_is_counted() -> bool:
            answer = await ask(http, url, (first, "here"))
            return (answer.status, answer.role) == (200, "active")

        async def the_other_is_level() -> bool:
            return (await ask(http, url, (last, "here"), "?max_lag_events=0")).status == 200

        await until(what_lies_before_is_counted, "counted: what lies before it", SOON_S)
        assert seen["0"]["lag_events"] > 0
        await until(the_other_is_level, "level: the other partition", SOON_S)
        [up] = await held_up(http, url)
        assert (up["position"], up["cause"]) == (f"{sales}-0@1", "unreadable")

        flip(kafka, sales, b'"sku": "S-XXXXX"', f'"sku": "{sku}"'.encode())
        await cluster.assert_exact()
        await until(lambda: is_free(http, url), "held up by nothing", SOON_S)
    assert cluster.worker("a").alive


def flip(kafka: Kafka, topic: str, found: bytes, instead: bytes) -> None:
    """Change bytes of partition 0 on the broker's disk, as a bad disk would."""
    [path] = kafka.nodes[0].folder.glob(f"data/{topic}-0/*.log")
    with path.open("r+b") as file:
        at = file.read().index(found)
        file.seek(at)
        file.write(instead)
