"""`onhand bridge` against a real Kafka, its workers as processes."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced

from app import deadletters
from dev.kafka import Kafka
from dev.workers import onhand, until
from tests.support.breaking.kafka_tools import forget_group, mislead_group, recreate, transactional
from tests.support.cluster.bridges import MAP, Bridges, a_record
from tests.support.judges.oracle import own_headers
from tests.support.topics.logs import cut
from tests.support.topics.registries import Registry, serving
from tests.support.topics.serialized import serialized
from wire.filling import BatchFiller
from wire.transactions import Brokers, TransactionalProducer

SOLD = {
    "type": "record",
    "name": "Sold",
    "fields": [
        {"name": "article", "type": "string"},
        {"name": "shop", "type": "string"},
        {"name": "count", "type": "int"},
    ],
}


@pytest.fixture
def bridges(kafka: Kafka, tmp_path: Path) -> Iterator[Bridges]:
    running = Bridges(kafka.bootstrap, tmp_path)
    yield running
    running.close()


async def test_each_record_becomes_one_fact_or_one_dead_letter(bridges: Bridges) -> None:
    await bridges.create_topics()
    bridges.send(map(a_record, range(500)))

    bridges.start("a")
    await bridges.ready("a")
    await bridges.carried()
    bridges.send(map(a_record, range(500, 700)))
    await bridges.carried()

    bridges.assert_each_once()
    assert await bridges.workers["a"].stop() == 0
    assert "Caught up." in bridges.logs()


async def test_a_command_shows_what_a_map_makes_and_writes_nothing(bridges: Bridges) -> None:
    await bridges.create_topics()
    bridges.send([*map(a_record, range(12)), None])
    topic, file = bridges.topic, str(bridges.map_file)

    code, said = await onhand(
        "bridge", topic, "--map", file, "--dry-run", settings=bridges.variables
    )
    assert code == 1
    assert f"{topic}-0@0  sale.completed  A-0" in said
    assert "13 records would become 11 facts; 1 are left out by the map, 1 would be refused" in said
    assert f"{topic}-3@1 is refused, not_mapped: The value is not JSON" in said
    code, said = await onhand(
        "bridge", topic, "--map", file, "--dry-run", "--limit", "2", "--json",
        settings=bridges.variables,
    )  # fmt: skip
    assert code == 0
    shown = json.loads(said)["records"]
    assert [one["position"] for one in shown] == [f"{topic}-0@0", f"{topic}-1@0"]

    bridges.write_map(MAP.replace("value.shop", "shop"))
    code, said = await onhand("bridge", topic, "--map", file, settings=bridges.variables)
    assert code == 2
    assert said == (
        f"{file}: Line 7: [paths] location is 'shop': use a path that begins with value, key, "
        "headers or each.\n"
    )
    assert (bridges.facts(), bridges.letters(), bridges.positions()) == ([], [], {})


async def test_nothing_is_lost_or_doubled_by_kills_and_by_workers_that_come_and_go(
    bridges: Bridges,
) -> None:
    bridges.settings["ONHAND_COMMIT_INTERVAL_MS"] = "1"
    await bridges.create_topics()
    bridges.send(map(a_record, range(6_000)))

    await bridges.dies("a", "open 3")
    assert bridges.has_an_open_transaction()
    await bridges.dies("a", "done 2")
    bridges.start("a", "b")
    for victim in ("b", "a"):
        seen = bridges.facts_seen()
        bridges.send(map(a_record, range(2_000)))
        await bridges.has_written(seen + 1)
        bridges.workers[victim].kill()
        bridges.start(victim)
    bridges.start("c")
    await bridges.ready("c")
    assert await bridges.workers["b"].stop() == 0
    bridges.send(map(a_record, range(1_000)))
    await bridges.carried()

    bridges.assert_each_once()


@pytest.mark.torture  # half a minute or more: processes start again and again
async def test_who_slept_through_the_loss_of_a_partition_writes_nothing_when_it_wakes(
    bridges: Bridges,
) -> None:
    await bridges.create_topics()
    bridges.send(map(a_record, range(20_000)))
    bridges.start("a")
    await bridges.has_written(1)

    bridges.workers["a"].freeze()
    bridges.start("b")
    await bridges.ready("b")
    await bridges.carried()
    bridges.workers["a"].thaw()
    await bridges.ready("a")
    bridges.send(map(a_record, range(3_000)))
    await bridges.carried()

    bridges.assert_each_once()
    assert bridges.workers["a"].alive


async def test_who_had_a_partition_before_cannot_write_once_it_is_taken_over(
    bridges: Bridges,
) -> None:
    await bridges.create_topics()
    settings = bridges.onhand()
    ours = settings.bridge_transactional_id(bridges.topic, 0)
    brokers = Brokers(settings.client_kwargs(), [settings.source_topics["sales"]])
    await brokers.start()
    before = await TransactionalProducer.open(brokers, ours, 60_000, lane=0)

    bridges.start("a")
    await bridges.ready("a")

    late = BatchFiller()
    late.add(TopicPartition(settings.source_topics["sales"], 0), b"A", b"{}", ())
    with pytest.raises(ProducerFenced):
        await before.commit(late.all())
    await brokers.stop()
    assert bridges.facts() == []


async def test_aborted_foreign_records_are_none(bridges: Bridges) -> None:
    await bridges.create_topics()
    producer = transactional(bridges.kafka, uuid.uuid4().hex)
    producer.init_transactions(60)
    for ends in (producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        producer.produce(bridges.topic, a_record(len(bridges.topic)), partition=0)
        producer.flush(60)
        ends(60)

    bridges.start("a")
    bridges.send([a_record(1)])
    await bridges.made(2)

    bridges.assert_each_once()


@pytest.mark.torture  # half a minute or more: processes start again and again
async def test_a_group_that_kafka_forgot_and_moved_offsets_change_nothing(
    bridges: Bridges,
) -> None:
    await bridges.create_topics()
    bridges.send(map(a_record, range(600)))
    bridges.start("a")
    await bridges.carried()
    assert await bridges.workers["a"].stop() == 0

    await mislead_group(bridges.kafka, bridges.group, [bridges.topic], bridges.partitions)
    bridges.send(map(a_record, range(60)))
    bridges.start("a")
    await bridges.carried()
    assert await bridges.workers["a"].stop() == 0
    await forget_group(bridges.kafka, bridges.group)
    bridges.send(map(a_record, range(60)))
    bridges.start("a")
    await bridges.carried()

    bridges.assert_each_once()


@pytest.mark.torture  # half a minute or more: processes start again and again
async def test_another_topic_under_the_name_and_records_that_are_gone_wait_for_a_person(
    bridges: Bridges,
) -> None:
    bridges.partitions = 1
    await bridges.create_topics()
    bridges.send(map(a_record, range(40)))
    bridges.start("a")
    await bridges.carried()
    assert await bridges.workers["a"].stop() == 0

    bridges.send(map(a_record, range(40)))
    cut(bridges.kafka, bridges.topic, 60)
    bridges.start("a")
    told = await bridges.stands_still("a")
    assert told == (
        f"{bridges.topic} no longer holds its records 40 to 59: Kafka deleted them before the "
        "bridge read them. Keep records for longer (retention.ms); `accept_gaps = true` in the "
        "map goes on without them."
    )
    assert await bridges.workers["a"].stop() == 0
    bridges.write_map(f"accept_gaps = true\n{MAP}")
    bridges.start("a")
    await bridges.carried()
    assert len(bridges.facts()) + len(bridges.letters()) == 60
    assert await bridges.workers["a"].stop() == 0

    await recreate(bridges.kafka, bridges.topic, 1, {})
    bridges.start("a")
    told = await bridges.stands_still("a")
    assert told.startswith(f"{bridges.topic} was deleted and created again, so its offsets name")
    assert await bridges.workers["a"].stop() == 0
    bridges.write_map(f'name = "{bridges.topic}.2"\n{MAP}')
    bridges.sent = 0
    bridges.send(map(a_record, range(10)))
    bridges.start("a")
    await bridges.made(60 + 10)


@pytest.mark.torture  # half a minute or more: processes start again and again
async def test_a_bridge_that_begins_with_the_latest_decides_that_once(bridges: Bridges) -> None:
    bridges.map_text = f'begin = "latest"\n{MAP}'
    await bridges.create_topics()
    bridges.send(map(a_record, range(100)))
    bridges.start("a")
    await bridges.ready("a")
    bridges.workers["a"].kill()
    bridges.send([a_record(1)] * 12)
    bridges.start("a")
    await bridges.made(12)

    assert len(bridges.facts()) == 12


async def test_what_cannot_work_is_one_sentence(bridges: Bridges) -> None:
    await bridges.create_topics()
    name = bridges.name

    for topic, told in (
        (f"{name}.sales", f"ONHAND_BRIDGE_TOPIC is {name}.sales, a topic of Onhand itself"),
        (f"{name}.none", f"There is no topic {name}.none: create it, or name another"),
    ):
        bridges.start(topic, ONHAND_BRIDGE_TOPIC=topic)
        assert await bridges.workers[topic].ended(180) == 2
        assert f"onhand: {told}" in bridges.workers[topic].log.read_text()


async def test_metrics_say_what_became_of_the_records(bridges: Bridges) -> None:
    await bridges.create_topics()
    bridges.send([*map(a_record, range(100)), None])
    bridges.start("a")
    await bridges.carried()

    async def all_counted() -> dict[str, float]:  # a moment behind the commit
        found = await bridges.metrics("a")
        return found if found["onhand_bridge_records_total"] >= 101 else {}

    said = await until(all_counted, "counted: 101 records", 60)

    assert said["onhand_bridge_records_total"] == 101
    assert said["onhand_bridge_left_out_total"] == 1
    assert said['onhand_bridge_facts_total{topic="sales"}'] == 90
    assert said['onhand_bridge_dead_letters_total{reason="not_mapped"}'] == 10
    assert said["onhand_bridge_stopped_partitions"] == 0
    letter = bridges.letters()[0]
    told = own_headers(letter)
    found = await deadletters.found(
        bridges.onhand(), f"{told['topic']}-{told['partition']}@{told['offset']}"
    )
    assert found is not None
    assert found.value == letter.value


async def test_avro_waits_for_a_registry_that_is_away_and_refuses_nothing_for_it(
    bridges: Bridges,
) -> None:
    bridges.map_text = f'encoding = "avro"\n{MAP}'.replace('"json"', '"confluent"')
    registry = Registry()
    with serving(registry):
        bridges.settings["ONHAND_BRIDGE_REGISTRY"] = registry.url
        await bridges.create_topics()
        values = [{"article": f"A-{n}", "shop": "s", "count": 1} for n in range(50)]
        written = [serialized(registry, SOLD, value)[0] for value in values]
    bridges.send(written)

    bridges.start("a")
    told = await bridges.waits("a")
    assert told.startswith(f"The schema registry does not answer at {registry.url}/schemas/ids/")
    assert (await bridges.metrics("a"))["onhand_bridge_registry_away"] == 1
    assert (bridges.facts(), bridges.letters()) == ([], [])
    with serving(registry):
        await bridges.carried()
    assert len(bridges.facts()) == 50
    assert (await bridges.metrics("a"))["onhand_bridge_registry_away"] == 0
    # What it answered is kept: nobody is asked after a restart.
    assert await bridges.workers["a"].stop() == 0
    bridges.start("a")
    bridges.send(written)
    await bridges.carried()
    assert (len(bridges.facts()), bridges.letters()) == (100, [])
