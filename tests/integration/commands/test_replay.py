"""`onhand dlq replay`: each wrong address is healed once, whatever happens on the way."""

import asyncio
import base64
import gc
import json
import logging
import random
import signal
import sys
from collections import Counter
from typing import Any

import msgspec
import pytest

from app import replay, resending, topics
from app.config import Settings
from core.partitioning import partition_for
from core.records import too_large
from dev.kafka import start
from dev.workers import ROOT, environment
from domain.events import Refusal
from tables.home.changelog import MAX_DEAD_LETTER_BYTES
from tests.support.inputs.builders import in_binary_mode
from tests.support.topics.letters import HEADERS, a_letter, an_event, committed, refuse
from tests.support.topics.logs import Put, plain_writer
from wire.transactions import TransactionalProducer
from wire.whole import RecordsError


async def replayed(settings: Settings, *, dry_run: bool = False) -> replay.Replayed:
    return await replay.replay(settings, dry_run=dry_run, said=lambda _: None)


async def test_only_wrong_addresses_are_sent_again_and_under_the_right_key(
    settings: Settings,
) -> None:
    for offset, reason in enumerate(Refusal):
        key = None if reason is Refusal.MISSING_KEY else b"wrong"
        event = an_event(f"SKU-{offset}")
        if reason is Refusal.TOO_LARGE:
            event = too_large(2**30, "00")
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


async def test_a_letter_in_binary_mode_is_judged_and_sent_with_its_headers(
    settings: Settings,
) -> None:
    value, headers = in_binary_mode(an_event("SKU-1"))
    refuse(settings, [a_letter(settings, value=value, headers=headers)])

    assert (await replayed(settings)).sent == {"misrouted": 1}

    (resent,) = committed(settings, settings.source_topics["sales"])
    assert (resent.key(), resent.value(), resent.headers()) == (b"SKU-1", value, headers)


def _of_a_version(settings: Settings) -> str:
    return f"{settings.name}-v{settings.version}-replayed"


@pytest.mark.parametrize("is_forgetful", [False, True], ids=["", "remembered by each version"])
async def test_none_is_ever_sent_twice_not_even_by_the_next_version(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, is_forgetful: bool
) -> None:
    if is_forgetful:  # the negative control
        monkeypatch.setattr(Settings, "replayed_topic", property(_of_a_version))
        await topics.create(settings)
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
    sent_twice = len(committed(settings, settings.source_topics["sales"])) - 3
    if is_forgetful:
        assert (by_next_version.sent, sent_twice) == ({"misrouted": 3}, 3)
    else:
        assert (by_next_version.sent, by_next_version.sent_before) == ({}, 3)
        assert sent_twice == 0


async def test_replays_at_the_same_time_send_each_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    monkeypatch.setattr(resending, "_PATIENCE_S", 1.0)
    monkeypatch.setattr(resending, "_GOODBYE_S", 0.5)
    commit = TransactionalProducer.commit
    with start() as own:
        settings = Settings.from_env({}, kafka=own.bootstrap)
        await topics.create(settings)
        refuse(settings, [a_letter(settings)])

        async def pause(producer: TransactionalProducer, batches: Any) -> list[int]:
            own.pause()
            return await commit(producer, batches)

        with monkeypatch.context() as patch:
            patch.setattr(TransactionalProducer, "commit", pause)
            with pytest.raises(RecordsError, match="failed"):
                await replayed(settings)
        own.resume()

        await replayed(settings)

        assert len(committed(settings, "sales")) == 1
        gc.collect()


# ---- the right topic, and nothing twice


async def test_a_fact_in_the_wrong_topic_goes_to_the_topic_of_its_type(settings: Settings) -> None:
    shipments, sales, adjustments = settings.source_topics.values()
    received = json.loads(an_event("SKU-1")) | {"type": "inventory.shipment.received.v1"}
    adjusted = json.loads(an_event("SKU-2")) | {"type": "inventory.stock.adjusted.v1"}
    adjusted["data"]["reason"] = "found"
    refuse(
        settings,
        [
            a_letter(settings, 1, value=json.dumps(received).encode()),
            a_letter(settings, 2, value=json.dumps(adjusted).encode()),
            a_letter(settings, 3, topic=shipments),
        ],
    )

    assert (await replayed(settings)).sent == {"misrouted": 3}

    for topic, sku in ((shipments, b"SKU-1"), (adjustments, b"SKU-2"), (sales, b"SKU-1")):
        (record,) = committed(settings, topic)
        assert record.key() == sku
        assert record.partition() == partition_for(sku, settings.partitions)


async def test_the_same_fact_is_sent_once_from_however_many_positions(settings: Settings) -> None:
    """A till's retry; or a restored log, in which all positions have moved."""
    letter = a_letter(settings, 7)
    refuse(settings, [letter, msgspec.structs.replace(letter, offset=8)])
    first = await replayed(settings)

    refuse(settings, [msgspec.structs.replace(letter, offset=700)])
    again = await replayed(settings)

    assert (first.sent, first.sent_before) == ({"misrouted": 1}, 1)
    assert (again.sent, again.sent_before) == ({}, 3)
    assert len(committed(settings, letter.topic)) == 1


async def test_another_fact_at_a_position_that_was_sent_is_sent_too(settings: Settings) -> None:
    """After a restore, the position of an old mark belongs to another record."""
    refuse(settings, [a_letter(settings, 7)])
    await replayed(settings)

    refuse(settings, [a_letter(settings, 7, value=an_event("SKU-2", 99))])
    again = await replayed(settings)

    assert (again.sent, again.sent_before) == ({"misrouted": 1}, 1)
    assert len(committed(settings, settings.source_topics["sales"])) == 2


async def test_headers_and_key_tell_facts_apart(settings: Settings) -> None:
    """In binary mode the identity of an event is in its headers."""
    letter = a_letter(settings, 7, headers=[("ce_id", b"1")])
    others = [
        msgspec.structs.replace(letter, offset=8, headers=[("ce_id", b"2")]),
        msgspec.structs.replace(letter, offset=9, headers=[("ce_id", None)]),
        msgspec.structs.replace(letter, offset=10, headers=[("ce_id", b"1"), ("a", b"")]),
    ]
    refuse(settings, [letter, *others])

    assert (await replayed(settings)).sent == {"misrouted": 4}


async def test_a_mark_of_an_older_build_still_counts(settings: Settings) -> None:
    letter = a_letter(settings, 7)
    refuse(settings, [letter, a_letter(settings, 8)])
    plain_writer(settings.kafka).write(
        settings.replayed_topic, [Put(f"{letter.topic}-3@7".encode(), b"{}")]
    )

    done = await replayed(settings)

    assert (done.sent, done.sent_before) == ({"misrouted": 1}, 1)


# ---- crashes

_DOOMED = """
import asyncio, os, signal, sys
from app import replay
from app.config import Settings
from wire.transactions import TransactionalProducer

fatal = sys.argv[1:]
replay._GROUP = 10

def around(name):
    call, count = getattr(TransactionalProducer, name), 0

    def step(when):
        if [name, str(count), when] == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    async def wrapped(self, *args):
        nonlocal count
        count += 1
        step("before")
        answer = await call(self, *args)
        step("after")
        return answer
    setattr(TransactionalProducer, name, wrapped)

around("_produce")
around("_ask_coordinator")
asyncio.run(replay.replay(Settings.from_env(), dry_run=False, said=lambda count: None))
"""


# Of each life of the command, the request to Kafka at which it ends. The coordinator is asked
# to initialise, then twice for each chunk: to begin a transaction and to end it; what is in it
# is sent once.
_KILLS = [
    ("_ask_coordinator", 1, "after"),
    ("_ask_coordinator", 2, "after"),
    ("_produce", 1, "after"),
    ("_produce", 2, "before"),
    ("_ask_coordinator", 3, "before"),
    ("_ask_coordinator", 3, "after"),
    ("_ask_coordinator", 5, "after"),
]
_MORE_KILLS = [
    *(("_ask_coordinator", n, when) for n in range(1, 8) for when in ("before", "after")),
    *(("_produce", n, when) for n in range(1, 9) for when in ("before", "after")),
]


@pytest.mark.parametrize("kills", [_KILLS, pytest.param(_MORE_KILLS, marks=pytest.mark.torture)])
async def test_a_kill_at_any_step_leaves_each_sent_once(
    settings: Settings, kills: list[tuple[str, int, str]]
) -> None:
    count = 45 if kills is _KILLS else 1005
    events = {an_event(f"SKU-{n % 3}", n) for n in range(count)}
    refuse(settings, [a_letter(settings, n, value=value) for n, value in enumerate(events)])
    variables = environment(
        {
            "ONHAND_KAFKA": settings.kafka,
            "ONHAND_NAME": settings.name,
            "ONHAND_TOPIC_PREFIX": settings.topic_prefix,
        }
    )
    for name, nth, when in kills:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _DOOMED, name, str(nth), when, cwd=ROOT, env=variables
        )
        assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL, (name, nth, when)

    done = await replayed(settings)

    assert done.sent_before > 0
    assert sum(done.sent.values()) + done.sent_before == count
    resent = [message.value() for message in committed(settings, settings.source_topics["sales"])]
    assert len(resent) == count
    assert set(resent) == events
    assert (await replayed(settings)).sent == {}


@pytest.mark.torture
async def test_a_hundred_thousand_letters_are_sent_in_chunks_and_once(settings: Settings) -> None:
    count = 100_000
    for start_at in range(0, count, 5000):
        refuse(
            settings,
            [
                a_letter(settings, n, value=an_event(f"SKU-{n % 500}", n), partition=n % 12)
                for n in range(start_at, start_at + 5000)
            ],
        )
    asyncio.get_running_loop().call_later(
        3, (stopped := asyncio.create_task(replayed(settings))).cancel
    )
    await asyncio.wait([stopped])
    partly = len(committed(settings, settings.source_topics["sales"]))

    done = await replayed(settings)

    assert 0 < partly < count, "it was to be interrupted in the middle"
    assert done.sent_before == partly
    assert done.sent == {"misrouted": count - partly}
    assert len({m.value() for m in committed(settings, settings.source_topics["sales"])}) == count
