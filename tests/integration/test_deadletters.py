import asyncio
import base64
import gc
import json
import logging
import random
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

from app import deadletters, replay, topics
from app.config import Settings
from dev.kafka import Kafka, start
from domain.columns import DeadLetter
from domain.events import Refusal
from domain.partitioning import partition_for
from tables import letters
from tables.changelog import MAX_DEAD_LETTER_BYTES, _letter_record

HEADERS = [("trace", b"\x00\xff"), ("trace", None), ("onhand-reason", b"not ours")]


@pytest.fixture
async def settings(kafka: Kafka) -> Settings:
    """A deployment of its own on the shared broker, with topics."""
    name = f"n{uuid.uuid4().hex[:8]}"
    made = Settings.from_env({}, kafka=kafka.bootstrap, name=name, topic_prefix=f"{name}.")
    await topics.create(made)
    return made


def an_event(sku: str, number: int = 1) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"{sku}-{number}",
            "source": "till-17",
            "type": "inventory.sale.completed.v1",
            "time": "2026-11-23T10:00:00.123Z",
            "data": {"sku": sku, "location": "store-007", "quantity": 2},
        }
    ).encode()


def a_letter(settings: Settings, offset: int = 7, **changes: Any) -> DeadLetter:
    fields: dict[str, Any] = {
        "topic": settings.source_topics["sales"],
        "partition": 3,
        "offset": offset,
        "timestamp_ms": 1_795_000_000_123,
        "key": b"wrong",
        "value": an_event("SKU-1", offset),
        "headers": HEADERS,
        "reason": Refusal.MISROUTED,
        "detail": "it is in partition 3",
    }
    return DeadLetter(**{**fields, **changes})


def refuse(settings: Settings, letters: Sequence[DeadLetter], *, commit: bool = True) -> None:
    """Write dead letters as the service does: its own records, in a transaction."""
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka,
            "transactional.id": uuid.uuid4().hex,
            "message.max.bytes": 4 * 2**20,
            "log_level": 0,
        }
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    for letter in letters:
        key, value, headers = _letter_record(letter)
        producer.produce(
            settings.dlq_topic, value, key, partition=letter.partition, headers=headers
        )
    if commit:
        producer.commit_transaction(20)
    else:
        producer.flush(20)
        producer.abort_transaction(20)


def committed(settings: Settings, topic: str) -> list[Message]:
    """Every record there for a reader of committed ones, by an independent client."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka,
            "group.id": "unused",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    count = len(consumer.list_topics(topic, 20).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(count)])
    found: list[Message] = []
    ended = 0
    while ended < count:
        message = consumer.poll(20)
        assert message is not None, "Kafka stopped sending"
        if message.error() is None:
            found.append(message)
        else:
            ended += 1
    consumer.close()
    return found


async def listed(settings: Settings, limit: int = 20) -> deadletters.Listed:
    return await deadletters.listed(settings, limit, None, lambda _: None)


async def replayed(settings: Settings, *, dry_run: bool = False) -> replay.Replayed:
    return await replay.replay(settings, dry_run=dry_run, said=lambda _: None)


async def test_list_counts_by_topic_and_reason_and_shows_the_newest(settings: Settings) -> None:
    sales, adjustments = (settings.source_topics[role] for role in ("sales", "adjustments"))
    refuse(settings, [a_letter(settings, n) for n in range(30)])
    refuse(settings, [a_letter(settings, 99, topic=adjustments, reason=Refusal.NOT_JSON)])

    found = await listed(settings, limit=5)

    assert found.total == 31
    assert found.counts == {(sales, "misrouted"): 30, (adjustments, "not_json"): 1}
    assert found.recent[0].position == f"{adjustments}-3@99"
    assert len(found.recent) == 5


async def test_a_letter_is_read_back_exactly_as_its_record_came(settings: Settings) -> None:
    letter = a_letter(settings, key=None, value=b"\xff\x00 not json", reason=Refusal.NOT_JSON)
    refuse(settings, [letter])

    found = await deadletters.found(settings, f"{letter.topic}-3@7")

    assert found is not None
    assert (found.key, found.value, found.headers) == (None, letter.value, HEADERS)
    assert (found.reason, found.detail) == ("not_json", letter.detail)
    assert found.recorded_ms == letter.timestamp_ms
    shown = letters.described(found)
    assert shown["value_base64"] == "/wAgbm90IGpzb24="
    assert json.loads(json.dumps(shown))["headers"][1] == {"name": "trace", "value": None}


async def test_a_letter_too_large_to_keep_is_known_by_size_and_hash(settings: Settings) -> None:
    refuse(settings, [a_letter(settings, value=b"x" * MAX_DEAD_LETTER_BYTES)])

    (letter,) = (await listed(settings)).recent

    assert letter.value is None
    assert letter.size == MAX_DEAD_LETTER_BYTES + len(b"wrong")
    assert len(letter.sha256) == 64
    assert letter.position == f"{settings.source_topics['sales']}-3@7"


async def test_letters_of_an_aborted_commit_do_not_exist(settings: Settings) -> None:
    refuse(settings, [a_letter(settings, 1)], commit=False)
    refuse(settings, [a_letter(settings, 2)])
    refuse(settings, [a_letter(settings, 3)], commit=False)

    assert [letter.offset for letter in (await listed(settings)).recent] == [2]
    assert await deadletters.found(settings, f"{settings.source_topics['sales']}-3@1") is None


@pytest.mark.parametrize("position", ["sales", "sales-3", "sales@7", "-3@7", "sales-x@7", "s-3@"])
async def test_what_is_no_position_is_refused(settings: Settings, position: str) -> None:
    with pytest.raises(letters.DeadLettersError, match="is no position"):
        await deadletters.found(settings, position)


async def test_a_missing_topic_and_a_missing_kafka_are_one_sentence_each(kafka: Kafka) -> None:
    with pytest.raises(letters.DeadLettersError, match=r"There is no topic none-v1-dlq: run"):
        await listed(Settings.from_env({}, kafka=kafka.bootstrap, name="none"))
    with pytest.raises(letters.DeadLettersError, match=r"No Kafka answers at 127\.0\.0\.1:1"):
        await listed(Settings.from_env({}, kafka="127.0.0.1:1"))


async def test_only_wrong_addresses_are_sent_again_and_under_the_right_key(
    settings: Settings,
) -> None:
    for offset, reason in enumerate(Refusal):
        key = None if reason is Refusal.MISSING_KEY else b"wrong"
        event = an_event(f"SKU-{offset}")
        refuse(settings, [a_letter(settings, offset, reason=reason, key=key, value=event)])

    done = await replayed(settings)

    assert done.sent == {"misrouted": 1, "key_mismatch": 1, "missing_key": 1}
    assert done.other_reasons == len(Refusal) - 3
    resent = committed(settings, settings.source_topics["sales"])
    assert len(resent) == 3
    for message in resent:
        value = message.value()
        assert value is not None
        sku = json.loads(value)["data"]["sku"].encode()
        assert message.key() == sku
        assert message.partition() == partition_for(sku, settings.partitions)
        assert message.headers() == HEADERS
        assert value == an_event(sku.decode())


async def test_none_is_ever_sent_twice_not_even_by_the_next_version(settings: Settings) -> None:
    letters = [a_letter(settings, n) for n in range(3)]
    refuse(settings, letters)
    assert (await replayed(settings)).sent == {"misrouted": 3}

    again = await replayed(settings)
    two = Settings.from_env(
        {},
        kafka=settings.kafka,
        name=settings.name,
        topic_prefix=settings.topic_prefix,
        version=2,
    )
    await topics.create(two)
    refuse(two, letters)
    by_next_version = await replayed(two)

    assert (again.sent, again.sent_before) == ({}, 3)
    assert (by_next_version.sent, by_next_version.sent_before) == ({}, 3)
    assert len(committed(settings, settings.source_topics["sales"])) == 3


@pytest.mark.parametrize("before_commit", [True, False])
async def test_a_crash_on_the_way_leaves_each_sent_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, before_commit: bool
) -> None:
    refuse(settings, [a_letter(settings, n) for n in range(5)])
    commit = AIOKafkaProducer.commit_transaction

    async def crash(producer: AIOKafkaProducer) -> None:
        if not before_commit:
            await commit(producer)
        raise asyncio.CancelledError

    async def nothing(producer: AIOKafkaProducer) -> None:
        """A dead process aborts nothing."""

    with monkeypatch.context() as patch:
        patch.setattr(AIOKafkaProducer, "commit_transaction", crash)
        patch.setattr(AIOKafkaProducer, "abort_transaction", nothing)
        with pytest.raises(asyncio.CancelledError):
            await replayed(settings)

    after = await replayed(settings)

    assert (after.sent, after.sent_before) == (({"misrouted": 5}, 0) if before_commit else ({}, 5))
    assert len(committed(settings, settings.source_topics["sales"])) == 5


async def test_replays_at_the_same_time_send_each_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # aiokafka leaves failed futures of its own behind; asyncio complains when they are freed.
    caplog.set_level(logging.CRITICAL, "asyncio")
    monkeypatch.setattr(replay, "_GROUP", 7)
    refuse(settings, [a_letter(settings, n, value=an_event(f"SKU-{n}")) for n in range(300)])

    ends = await asyncio.gather(*(replayed(settings) for _ in range(3)), return_exceptions=True)
    gc.collect()

    fenced = [end for end in ends if isinstance(end, BaseException)]
    assert all("Another `onhand dlq replay` took over" in str(end) for end in fenced), fenced
    assert len(fenced) < 3
    counts = Counter(m.value() for m in committed(settings, settings.source_topics["sales"]))
    assert len(counts) == 300
    assert set(counts.values()) == {1}


async def test_a_dry_run_sends_nothing_and_disturbs_nobody(settings: Settings) -> None:
    refuse(settings, [a_letter(settings)])

    assert (await replayed(settings, dry_run=True)).sent == {"misrouted": 1}
    assert committed(settings, settings.source_topics["sales"]) == []
    assert committed(settings, settings.replayed_topic) == []
    assert (await replayed(settings)).sent == {"misrouted": 1}


async def test_what_cannot_be_sent_is_told_and_holds_up_no_other(settings: Settings) -> None:
    event = json.loads(an_event("SKU-2"))
    # Random text of 1.5 MB, 1.1 MB compressed: its topic took more when it came.
    event["pad"] = base64.b64encode(random.randbytes(1_100_000)).decode()
    letters = [
        a_letter(settings, 1, value=b"x" * MAX_DEAD_LETTER_BYTES),
        a_letter(settings, 2, topic="another-prefix.sales"),
        a_letter(settings, 3),
        a_letter(settings, 4, value=b"{}"),
        a_letter(settings, 5, value=json.dumps(event).encode()),
        a_letter(settings, 6),
    ]
    for letter in letters:
        refuse(settings, [letter])

    done = await replayed(settings)

    sales = settings.source_topics["sales"]
    assert {position: why.split(":")[0] for position, why in done.impossible.items()} == {
        f"{sales}-3@1": "too large to have been kept",
        "another-prefix.sales-3@2": "not from a topic of this ONHAND_TOPIC_PREFIX",
        f"{sales}-3@4": "bad_envelope",
        f"{sales}-3@5": "larger than its topic takes today",
    }
    assert done.sent == {"misrouted": 2}
    assert len(committed(settings, sales)) == 2
    assert (await replayed(settings)).sent_before == 2


@pytest.mark.torture  # 20 s: aiokafka's own deadlines
async def test_a_kafka_that_falls_silent_ends_a_replay_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "asyncio")
    monkeypatch.setattr(replay, "_PATIENCE_S", 1.0)
    monkeypatch.setattr(replay, "_GOODBYE_S", 0.5)
    commit = AIOKafkaProducer.commit_transaction
    with start() as own:
        settings = Settings.from_env({}, kafka=own.bootstrap)
        await topics.create(settings)
        refuse(settings, [a_letter(settings)])

        async def pause(producer: AIOKafkaProducer) -> None:
            own.pause()
            await commit(producer)

        with monkeypatch.context() as patch:
            patch.setattr(AIOKafkaProducer, "commit_transaction", pause)
            with pytest.raises(letters.DeadLettersError, match="failed"):
                await replayed(settings)
        own.resume()

        await replayed(settings)

        assert len(committed(settings, "sales")) == 1
        gc.collect()
