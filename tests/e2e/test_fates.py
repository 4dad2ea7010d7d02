"""What became of each fact: by its sender, through any worker, over kills and moves."""

import asyncio
import json
from collections.abc import Iterator, Sequence

import aiohttp
import pytest

from dev.kafka import Kafka
from dev.oracle.stock import partition_of, sku_in
from dev.workers import onhand
from tests.support.cluster.workers import Cluster
from tests.support.http.fates import (
    Json,
    a_sale,
    an_id,
    found,
    get,
    in_each_form,
    outcomes,
    pages_of,
    post,
)
from tests.support.judges.openapi_check import Contract
from tests.support.topics.logs import Put, plain_writer

PARTITIONS = 4


@pytest.fixture(scope="module")
def shops(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers that share the partitions."""
    cluster = Cluster(kafka.bootstrap, tmp_path_factory.mktemp("fates"), partitions=PARTITIONS)

    async def begin() -> None:
        await cluster.create_topics()
        await cluster.start("a", "b")
        await cluster.settled()

    try:
        asyncio.run(begin())
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
async def contract(shops: Cluster) -> Contract:
    """What the service says of itself; every answer is held against it."""
    async with aiohttp.request("GET", f"{shops.alive[0].url}/openapi.json") as response:
        return Contract(await response.json())


async def test_a_sender_is_told_of_a_retry_and_of_a_lost_fact_through_any_worker(
    shops: Cluster, contract: Contract
) -> None:
    for worker in shops.alive:
        for sku in (sku_in(p, PARTITIONS) for p in range(PARTITIONS)):
            name = an_id()
            first, again, other = await post(
                contract,
                worker.url,
                [a_sale(name, sku), a_sale(name, sku), a_sale(an_id(), sku)],
            )
            (late,) = await post(contract, worker.url, [a_sale(name, sku)])
            (lost,) = await post(contract, worker.url, [a_sale(name, sku, quantity=3)])

            assert outcomes([first, again, other, late, lost]) == [
                "applied", "repeated", "applied", "repeated", "refused",
            ]  # fmt: skip
            assert again["of"] == late["of"] == first["position"]
            assert lost["reason"] == "id_conflict"
            assert "same id" in lost["detail"]


async def test_of_a_thousand_lines_each_outcome_is_what_the_log_says(
    shops: Cluster, contract: Contract
) -> None:
    names = [an_id() for _ in range(300)]
    lines = [a_sale(names[n % 300], f"SKU-{n % 300 % 40}") for n in range(700)]
    sent = [await post(contract, worker.url, lines) for worker in shops.alive]

    oracle = await shops.assert_exact()

    for event in (event for events in sent for event in events):
        head, _, offset = event["position"].rpartition("@")
        topic, _, partition = head.rpartition("-")
        place = (topic, int(partition), int(offset))
        expected = "repeated" if place in oracle.repeated else "applied"
        assert place not in oracle.refused
        assert event["outcome"] == expected, event
    assert outcomes(sent[0]).count("applied") == 300
    assert outcomes(sent[1]).count("repeated") == 700


async def test_one_id_for_two_facts_is_seen_only_where_both_lie_in_one_partition(
    shops: Cluster, contract: Contract
) -> None:
    """What README says of one id for several facts."""
    near = [s for n in range(100) if partition_of(s := f"NEAR-{n}", PARTITIONS) == 0][:2]
    far = sku_in(1, PARTITIONS)
    name = an_id()

    seen = []
    for sku in (*near, far):
        seen += await post(contract, shops.alive[0].url, [a_sale(name, sku)])

    assert outcomes(seen) == ["applied", "refused", "applied"]


async def test_without_being_asked_for_there_is_no_outcome(shops: Cluster) -> None:
    url = f"{shops.alive[0].url}/v1/sales"
    async with aiohttp.request("POST", url, json=a_sale(an_id())) as response:
        assert (await response.json())["events"][0].keys() == {"id", "position"}
    for query in ("outcom=true", "outcome=yes", "wait_ms=5", "outcome=true&wait_ms=10001"):
        async with aiohttp.request("POST", f"{url}?{query}", json=a_sale(an_id())) as response:
            assert response.status == 400, query


async def test_an_owner_that_dies_between_append_and_commit_makes_no_wrong_outcome(
    shops: Cluster, contract: Contract
) -> None:
    owners = await shops.settled()
    owner, other = shops.worker("a"), shops.worker("b")
    its = [p for p, url in enumerate(owners) if url == owner.url]
    skus = [sku_in(p, PARTITIONS) for p in its]
    assert skus
    names = [an_id() for _ in skus]
    lines = [a_sale(name, sku) for name, sku in zip(names, skus, strict=True)]
    known = await post(contract, other.url, lines)
    fresh = [a_sale(an_id(), sku) for sku in skus]
    conflicts = [line | {"quantity": 9} for line in lines]

    async def send(wait_ms: int) -> list[Json]:
        """New facts and retries; and other facts under known ids, in a request of their own."""
        requests = ([*fresh, *lines], conflicts)
        sent = await asyncio.gather(*(post(contract, other.url, r, wait_ms) for r in requests))
        return sent[0] + sent[1]

    owner.freeze()  # what is appended from here on is not committed by it
    early = await send(300)
    waiting = asyncio.create_task(send(10_000))
    await asyncio.sleep(0)
    owner.kill()
    late = await waiting
    await shops.owned_by({other.url}, timeout_s=120)
    await shops.caught_up(120)  # what comes now waits for its own commit alone
    after = await send(10_000)
    await shops.start("a")
    await shops.settled()

    count = len(skus)
    assert outcomes(known) == ["applied"] * count
    assert outcomes(early) == ["unknown"] * 3 * count
    assert all(event["detail"] for event in early)
    final = ["repeated"] * 2 * count + ["refused"] * count
    # The new owner may take longer than this wait; then it says so, and no more.
    for event, expected in zip(late, final, strict=True):
        assert event["outcome"] in (expected, "unknown"), event
    assert outcomes(after) == final
    repeats = after[: 2 * count]
    originals = early[:count] + known
    assert [event["of"] for event in repeats] == [event["position"] for event in originals]


# ---- dead letters


async def test_every_dead_letter_is_on_one_page_newest_first_through_any_worker(
    shops: Cluster, contract: Contract
) -> None:
    junk = [
        Put(b"TEA-1", f'{{"broken": {n}, "source": "till-x", "id": "1"'.encode()) for n in range(9)
    ]
    named = json.dumps({"source": "till-9", "id": "9", "specversion": "1.0"}).encode()
    large = json.dumps({"source": "till-9", "id": "9", "pad": "x" * 20_000}).encode()
    odd = [
        Put(b"\xff\xfe", named, (("a", None), ("b", b"\xff"))),
        Put(None, None),
        Put(b"k", large),
    ]
    for p in range(PARTITIONS):
        plain_writer(shops.kafka).write(shops.prefix + "sales", junk, p)
    plain_writer(shops.kafka).write(shops.prefix + "shipments", odd, 2)
    await shops.caught_up()
    urls = [worker.url for worker in shops.alive]
    oracle = shops.oracle()

    for limit in ("1000", "7"):
        items = await pages_of(contract, urls, limit=limit)

        assert {item["position"]: item["reason"] for item in items} == {
            f"{topic}-{p}@{offset}": why for (topic, p, offset), why in oracle.refused.items()
        }
        assert len(items) == len(oracle.refused)
        times = [item["refused_ms"] for item in items]
        assert times == sorted(times, reverse=True)
    some = await pages_of(contract, urls, limit="1000", topic=f"{shops.prefix}shipments")
    assert len(some) == 3
    (big, first) = await pages_of(contract, urls, source="till-9")
    assert (big["key"], big["value"], big["size"]) == (None, None, len(large) + 1)
    assert (first["key_base64"], first["value"]) == ("//4=", named.decode())
    assert first["headers"] == [{"name": "a", "value": None}, {"name": "b", "value_base64": "/w=="}]
    assert [i["reason"] for i in await pages_of(contract, urls, reason="null_value")] == [
        "null_value"
    ]
    assert await pages_of(contract, urls, topic="none", limit="1") == []


async def test_what_is_no_question_is_a_400(shops: Cluster, contract: Contract) -> None:
    url = shops.alive[0].url
    page = await get(contract, url, "/v1/dead-letters", {"limit": "1"})
    letters: list[dict[str, str]] = [
        {"limit": "0"}, {"limit": "1001"}, {"reason": "bad"}, {"source": ""}, {"cursor": "x"},
        {"cursor": page["next_cursor"], "topic": "sales"}, {"what": "1"},
    ]  # fmt: skip
    facts = [{}, {"source": "a"}, {"source": "", "id": "1"}, {"source": "a", "id": "1", "x": "1"}]
    for path, queries in (("/v1/dead-letters", letters), ("/v1/facts", facts)):
        for query in queries:
            await get(contract, url, path, query, 400)


async def test_each_time_that_a_fact_came_is_found_through_any_worker(
    shops: Cluster, contract: Contract
) -> None:
    name, sku, far = an_id(), sku_in(2, PARTITIONS), sku_in(3, PARTITIONS)
    url = shops.alive[0].url
    first, again = await post(contract, url, [a_sale(name, sku), a_sale(name, sku)])
    (lost,) = await post(contract, url, [a_sale(name, sku, quantity=3)])
    (other,) = await post(contract, url, [a_sale(name, far)])
    broken = json.dumps({"source": "till-1", "id": name, "type": "x", "specversion": "1.0"})
    junk = [Put(b"TEA-1", broken.encode())]
    plain_writer(shops.kafka).write(shops.prefix + "adjustments", junk, 1)
    await shops.caught_up()

    for worker in shops.alive:
        times = await found(contract, worker.url, "till-1", name)

        assert [(t["position"], t["outcome"]) for t in times[:4]] == [
            (first["position"], "applied"),
            (again["position"], "repeated"),
            (lost["position"], "refused"),
            (other["position"], "applied"),
        ]
        assert times[1]["of"] == first["position"]
        assert times[2]["reason"] == "id_conflict"
        assert [t["quantity"] for t in times[:4]] == [2, 2, 3, 2]
        assert (times[3]["sku"], times[3]["type"]) == (far, "inventory.sale.completed.v1")
        (refused,) = times[4:]
        assert refused["position"].startswith(f"{shops.prefix}adjustments-1@")
        assert refused["reason"] == "bad_envelope"
        assert "sku" not in refused
        assert await found(contract, worker.url, "till-1", an_id()) == []


async def test_many_facts_are_found_at_once_in_the_order_of_the_question(
    shops: Cluster, contract: Contract
) -> None:
    names = [an_id() for _ in range(50)]
    url = shops.alive[0].url
    sent = await post(contract, url, [a_sale(n, f"SKU-{n}") for n in names])
    asked = [{"source": "till-1", "id": n} for n in reversed([*names, "never"])]

    for worker in shops.alive:
        path = "/v1/facts/lookup"
        async with aiohttp.request("POST", worker.url + path, json={"facts": asked}) as response:
            body = await response.read()
            contract.check("POST", path, response.status, response.headers, body)
            items = json.loads(body)["items"]

        assert [item["id"] for item in items] == [fact["id"] for fact in asked]
        assert items[0]["times"] == []
        positions = [item["times"][0]["position"] for item in reversed(items[1:])]
        assert positions == [event["position"] for event in sent]


async def test_a_fact_by_http_and_by_kafka_in_any_form_is_counted_once(
    shops: Cluster, contract: Contract
) -> None:
    sku, url = sku_in(1, PARTITIONS), shops.alive[0].url
    forms = len(in_each_form("", sku))
    http_first, kafka_first = ([an_id() for _ in range(forms)] for _ in range(2))

    def told_to_kafka(names: Sequence[str]) -> None:
        records = [in_each_form(name, sku)[form] for form, name in enumerate(names)]
        plain_writer(shops.kafka).write(f"{shops.prefix}sales", records, 1)

    posted = await post(contract, url, [a_sale(name, sku) for name in http_first])
    told_to_kafka(http_first)
    told_to_kafka(kafka_first)
    await shops.caught_up()
    later = await post(contract, url, [a_sale(name, sku) for name in kafka_first])

    assert outcomes(posted) == ["applied"] * forms
    assert outcomes(later) == ["repeated"] * forms
    for name in (*http_first, *kafka_first):
        times = await found(contract, url, "till-1", name)
        assert outcomes(times) == ["applied", "repeated"], name
        assert times[1]["of"] == times[0]["position"]
        assert [(t["sku"], t["quantity"]) for t in times] == [(sku, 2)] * 2


async def test_onhand_fact_says_it_to_people_and_programs(
    shops: Cluster, contract: Contract
) -> None:
    name = an_id()
    await post(contract, shops.alive[0].url, [a_sale(name), a_sale(name)])
    url = ["--url", shops.alive[0].url]

    code, said = await onhand("fact", "till-1", name, *url, settings=shops.settings)
    json_code, document = await onhand(
        "fact", "till-1", name, *url, "--json", settings=shops.settings
    )
    none_code, none = await onhand("fact", "till-1", "never", *url, settings=shops.settings)

    assert (code, json_code, none_code) == (0, 0, 1)
    assert "applied" in said
    assert "repeats " in said
    assert outcomes(json.loads(document)["items"][0]["times"]) == ["applied", "repeated"]
    assert none.startswith("Nothing was found. Looked for ")
