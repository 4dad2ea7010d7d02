"""The record of versions on a real Kafka: one writer, whatever happens to it on the way."""

import asyncio
import json
import re
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from app import topics
from app.admin import TopicsError, connected
from app.config import Settings
from app.upgrades import beginning, record, retiring
from app.upgrades.record import recorded
from core import versions
from core.versions import VersionBegun, VersionHistory, Versions
from dev.kafka import Kafka
from dev.workers import ROOT, environment, onhand, until
from tests.support.topics.logs import Put, plain_writer
from wire import control
from wire.control import OutcomeUnknown, compare_and_set
from wire.transactions import TransactionalProducer

PARTITIONS = 2


@pytest.fixture
def settings(kafka: Kafka) -> Settings:
    """A deployment of its own on the shared broker."""
    name = f"u{uuid.uuid4().hex[:8]}"
    return Settings.from_env(
        {}, kafka=kafka.bootstrap, name=name, topic_prefix=f"{name}.", partitions=PARTITIONS
    )


def variables(settings: Settings) -> dict[str, str]:
    return {
        "ONHAND_KAFKA": settings.kafka,
        "ONHAND_NAME": settings.name,
        "ONHAND_TOPIC_PREFIX": settings.topic_prefix,
        "ONHAND_PARTITIONS": str(settings.partitions),
    }


async def upgrade(settings: Settings, *arguments: str) -> tuple[int, str]:
    return await onhand("upgrade", *arguments, settings=variables(settings))


async def killed_at(settings: Settings, step: str, *arguments: str) -> int:
    """Run the command until it is killed at this step; its exit code."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.breaking.failing", "upgrade", *arguments),
        cwd=ROOT,
        env=environment(variables(settings) | {"ONHAND_FAIL_AT": step}),
    )
    return await asyncio.wait_for(process.wait(), 60)


async def log_of(settings: Settings) -> list[tuple[int, str, int]]:
    history = await recorded(settings)
    return [(e.versions.epoch, e.versions.change, e.versions.active) for e in history.entries]


async def reads(settings: Settings, *expected: tuple[int, str, int]) -> None:
    """The log holds this; the markers of the last commit may be written behind its answer."""

    async def so() -> bool:
        return await log_of(settings) == list(expected)

    await until(so, f"in the record: {expected}", 60)


BEGUN, STAGED = (1, "begin", 1), (2, "stage", 1)


async def test_creating_the_topics_records_the_active_version_once(settings: Settings) -> None:
    await asyncio.gather(*(topics.create(settings) for _ in range(4)))
    await topics.create(settings)

    await reads(settings, BEGUN)
    assert await beginning.problems(settings) == []


async def test_a_control_topic_without_a_record_is_told_and_gets_one(settings: Settings) -> None:
    await topics.create(settings)
    # As made by a build that wrote none.
    fresh = Settings.from_env(variables(settings), name=f"{settings.name}x")
    one = [t for t in topics.desired(fresh) if t.name == fresh.control_topic]
    async with connected(fresh) as admin:
        await topics._create(admin, one, 1)

    assert (await onhand("topics", "check", settings=variables(fresh)))[0] == 1
    assert await beginning.problems(fresh) == [
        f"No record in {fresh.control_topic} says which version is active: run `onhand topics "
        "create` with the ONHAND_VERSION that answers now."
    ]
    assert (await upgrade(fresh, "status"))[0] == 1
    await topics.create(fresh)
    assert await beginning.problems(fresh) == []


async def test_the_second_version_does_not_begin_the_record_of_a_table_that_has_none(
    settings: Settings,
) -> None:
    first = [t for t in topics.desired(settings) if t.name != settings.control_topic]
    async with connected(settings) as admin:
        await topics._create(admin, first, 1)
    two = Settings.from_env(variables(settings), version=2)

    with pytest.raises(TopicsError, match="with ONHAND_VERSION=1 first"):
        await topics.create(two)

    await reads(settings)
    await topics.create(settings)
    await topics.create(two)
    await reads(settings, BEGUN)


async def test_of_two_commands_at_once_one_wins_and_the_other_changes_nothing(
    settings: Settings,
) -> None:
    await topics.create(settings)
    seen = (await recorded(settings)).last
    assert seen is not None
    kept = record.kept(settings)
    staged = versions.stage(seen, 2, kept)
    ends: list[Any] = await asyncio.gather(
        *(
            # One user on one machine in one moment: what they write is the same to the byte.
            compare_and_set(
                settings.client_kwargs(),
                settings.control_topic,
                f"{settings.name}-control",
                record.following(seen, lambda last: staged),
            )
            for _ in range(3)
        ),
        return_exceptions=True,
    )

    wins = sum(isinstance(end, Versions) for end in ends)
    assert wins <= 1
    await reads(settings, BEGUN, *([STAGED] * wins))
    log = await log_of(settings)

    codes = [
        code
        for code, _ in await asyncio.gather(
            *(upgrade(settings, "stage", "3", "--note", str(n)) for n in range(2))
        )
    ]
    assert len(await log_of(settings)) <= len(log) + 1
    assert sorted(codes) in ([0, 0], [0, 1], [1, 1])


@pytest.mark.parametrize("is_fenced", [True, False], ids=["", "without the fence"])
async def test_of_writers_that_have_read_the_same_one_writes_and_without_the_fence_all_would(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, is_fenced: bool
) -> None:
    await topics.create(settings)
    seen = (await recorded(settings)).last
    assert seen is not None
    staged = versions.stage(seen, 2, record.kept(settings))
    have_read, read = asyncio.Barrier(3), control.read_control

    async def read_together(*args: Any, **more: Any) -> VersionHistory:
        history = await read(*args, **more)
        # Later reads are about what became of it.
        if len(history.entries) == 1 and not have_read.broken:
            with suppress(asyncio.BrokenBarrierError):
                await have_read.wait()
                await have_read.abort()
        return history

    monkeypatch.setattr(control, "read_control", read_together)
    ends: list[Any] = await asyncio.gather(
        *(
            compare_and_set(
                settings.client_kwargs(),
                settings.control_topic,
                f"{settings.name}-control{'' if is_fenced else n}",
                record.following(seen, lambda last: staged),
            )
            for n in range(3)
        ),
        return_exceptions=True,
    )

    wins = sum(isinstance(end, Versions) for end in ends)
    assert wins == (1 if is_fenced else 3), ends


#: Of those before `written`, which leave nothing, the last one.
STEPS = ["checked", "written", "committed"]


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_the_record_is_the_old_or_the_new_one_and_a_rerun_completes_it(
    settings: Settings, step: str
) -> None:
    await topics.create(settings)

    assert await killed_at(settings, step, "stage", "2") == -9

    await reads(settings, BEGUN, *([STAGED] if step == "committed" else []))
    code, said = await upgrade(settings, "stage", "2")
    assert code == 0, said
    await reads(settings, BEGUN, STAGED)


async def test_a_lost_answer_is_looked_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topics.create(settings)
    seen = (await recorded(settings)).last
    assert seen is not None
    commit = TransactionalProducer.commit

    async def unanswered(*args: Any) -> list[int]:
        await commit(*args)
        raise KafkaConnectionError("the answer was lost")

    async def unsent(*args: Any) -> list[int]:
        raise KafkaConnectionError("nobody was reached")

    def stage(number: int, before: Versions) -> Callable[[VersionHistory], Versions]:
        return record.following(
            before, lambda last: versions.stage(last, number, VersionBegun(2, 1))
        )

    monkeypatch.setattr(TransactionalProducer, "commit", unsent)
    with pytest.raises(Exception, match="it was not written"):
        await record.written(settings, stage(2, seen))
    assert len(await log_of(settings)) == 1

    monkeypatch.setattr(TransactionalProducer, "commit", unanswered)
    assert (await record.written(settings, stage(2, seen))).staged == 2
    assert len(await log_of(settings)) == 2

    async def gone(*args: Any, **more: Any) -> TransactionalProducer:
        raise KafkaConnectionError("Kafka is away")

    async def answered_by_nobody(*args: Any) -> list[int]:
        monkeypatch.setattr(TransactionalProducer, "open", gone)
        raise KafkaConnectionError("the answer was lost")

    monkeypatch.setattr(TransactionalProducer, "commit", answered_by_nobody)
    last = (await recorded(settings)).last
    assert last is not None
    with pytest.raises(OutcomeUnknown):
        await record.written(settings, record.following(last, lambda v: versions.promote(v, 2)))


async def test_what_strangers_write_there_is_passed_over(settings: Settings) -> None:
    await topics.create(settings)
    strange = [b"hello", versions.to_bytes(versions.first_record(9, VersionBegun(1, 1)))]
    plain_writer(settings.kafka).write(settings.control_topic, [Put(None, v) for v in strange])

    await reads(settings, BEGUN)
    assert (await upgrade(settings, "stage", "2"))[0] == 0
    await reads(settings, BEGUN, STAGED)


async def test_promote_rollback_and_retire_say_what_they_did_and_the_log_keeps_it(
    settings: Settings,
) -> None:
    await topics.create(settings)
    assert (await upgrade(settings, "stage", "2", "--note", "damaged returns"))[0] == 0

    code, said = await upgrade(settings, "promote", "2")
    assert code == 1
    assert said.startswith("refused: Version 2 is waiting: partition 0 has no owner")
    force = ("--force", "not-caught-up", "--force", "not-compared")
    assert await killed_at(settings, "written", "promote", "2", *force) == -9
    assert (await recorded(settings)).last.active == 1  # type: ignore[union-attr]
    assert await killed_at(settings, "committed", "promote", "2", *force) == -9
    code, said = await upgrade(settings, "promote", "2", "--json")
    assert (code, json.loads(said)["said"]) == (0, "Version 2 is active (epoch 3).")

    code, said = await upgrade(settings, "rollback", *force)
    assert code == 0
    assert "Rolled back: version 1 is active (epoch 4), 0 of 0 workers" in said
    assert "Not compared: which rows the two versions have differently." in said
    assert (await upgrade(settings, "rollback"))[0] == 0  # already so
    # Forward again is waited for as any version is.
    assert (await upgrade(settings, "status", "--wait", "0s"))[0] == 3
    code, said = await upgrade(settings, "retire", "2")
    assert code == 1
    assert re.search(r"the previous one for only \d+ min", said), said
    two = Settings.from_env(variables(settings), version=2)
    for group in (two.group, two.ledger_group, settings.ledger_group):
        await was_used(settings, group)
    code, said = await upgrade(settings, "retire", "2", "--yes")
    assert code == 0, said
    assert "remains" not in said
    await groups_are(settings, settings.ledger_group)
    assert (await upgrade(settings, "retire", "2"))[0] == 0  # already so

    assert {p.topic for p in await topics.check(two)} == {two.changelog_topic}
    assert await topics.check(settings) == []
    records = json.loads((await upgrade(settings, "log", "--json"))[1])["records"]
    assert [one["change"] for one in records] == [
        *("begin", "stage", "promote", "rollback", "retire", "retired")
    ]
    assert records[1]["note"] == "damaged returns"
    assert records[2]["forced"] == ["not-caught-up", "not-compared"]
    assert (await upgrade(settings, "stage", "2"))[0] == 1  # numbers are never used again


async def was_used(settings: Settings, group: str) -> None:
    """Somebody was in this group, and left it."""
    place = TopicPartition(settings.source_topics["sales"], 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, group_id=group)
    await consumer.start()
    try:
        consumer.assign([place])
        await consumer.commit({place: 0})
    finally:
        await consumer.stop()


async def groups_are(settings: Settings, *expected: str) -> None:
    """These are the groups of this deployment."""

    async def so() -> bool:
        async with connected(settings) as admin:
            groups = [name for name, *_ in await admin.list_consumer_groups()]
        return sorted(g for g in groups if g.startswith(settings.name)) == sorted(expected)

    await until(so, f"the groups: {expected}", 60)


async def test_the_group_of_a_ledger_that_still_runs_remains_and_is_named(
    settings: Settings,
) -> None:
    await topics.create(settings)
    two = Settings.from_env(variables(settings), version=2)
    await was_used(settings, two.group)
    ledger = AIOKafkaConsumer(
        settings.source_topics["sales"],
        bootstrap_servers=settings.kafka,
        group_id=two.ledger_group,
    )

    async def is_in() -> bool:
        return bool(ledger.assignment())

    await ledger.start()
    try:
        await until(is_in, "in its group", 60)
        assert await retiring.fence_version(two) == two.ledger_group
        await groups_are(settings, two.ledger_group)
    finally:
        await ledger.stop()
    assert await retiring.fence_version(two) is None
    await groups_are(settings)


async def test_without_kafka_nothing_is_asked_and_nothing_changed(settings: Settings) -> None:
    away = Settings.from_env(variables(settings), kafka="127.0.0.1:9")

    code, said = await onhand("upgrade", "promote", "2", settings=variables(away))

    assert code == 2
    assert said.startswith("No Kafka answers at 127.0.0.1:9")
