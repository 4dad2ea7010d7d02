import time
import uuid

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from app import topics
from app.admin import TopicsError
from app.config import Settings
from dev.kafka import Kafka


@pytest.fixture
def settings(kafka: Kafka) -> Settings:
    """A deployment of its own on the shared broker."""
    name = f"n{uuid.uuid4().hex[:8]}"
    return Settings.from_env({}, kafka=kafka.bootstrap, name=name, topic_prefix=f"{name}.")


def admin_of(settings: Settings) -> AdminClient:
    """Keep it in a variable until the result is there: its end cancels what is under way."""
    return AdminClient({"bootstrap.servers": settings.kafka, "log_level": 0})


def config_of(settings: Settings, topic: str) -> dict[str, str]:
    admin = admin_of(settings)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = admin.describe_configs([resource])[resource].result(60)
    return {name: entry.value for name, entry in entries.items()}


def alter(settings: Settings, topic: str, name: str, value: str) -> None:
    admin = admin_of(settings)
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(60)
    # The controller took it; the broker that is asked next learns it a moment later.
    deadline = time.monotonic() + 60
    while config_of(settings, topic)[name] != value:
        assert time.monotonic() < deadline, f"{name} of {topic} is not {value} yet"
        time.sleep(0.02)


def make(settings: Settings, topic: str, partitions: int) -> None:
    admin = admin_of(settings)
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(60)


async def told(settings: Settings) -> list[str]:
    return [str(problem) for problem in await topics.check(settings)]


async def test_what_create_makes_check_accepts_and_a_second_create_leaves_alone(
    settings: Settings,
) -> None:
    first = await topics.create(settings)

    assert {(outcome.topic, outcome.outcome, outcome.partitions) for outcome in first} == {
        *((name, "created", 12) for name in settings.source_topics.values()),
        (settings.changelog_topic, "created", 12),
        (settings.dlq_topic, "created", 12),
        (settings.replayed_topic, "created", 1),
        (settings.members_topic, "created", 1),
        (settings.control_topic, "created", 1),
        (settings.documents_topic, "created", 1),
    }
    assert await told(settings) == []
    assert {outcome.outcome for outcome in await topics.create(settings)} == {"exists"}


async def test_topics_are_made_with_the_settings_of_the_contract(settings: Settings) -> None:
    await topics.create(settings)
    expected: dict[str, dict[str, str]] = {
        "shipments": {
            "cleanup.policy": "delete",
            "retention.ms": "-1",
            "retention.bytes": "-1",
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(2**20),
        },
        "changelog": {
            "cleanup.policy": "compact",
            "message.timestamp.type": "LogAppendTime",
            "segment.bytes": str(64 * 2**20),
            "min.cleanable.dirty.ratio": "0.2",
            "max.compaction.lag.ms": "3600000",
            "max.message.bytes": str(8 * 2**20),
        },
        "dlq": {
            "cleanup.policy": "delete",
            "retention.ms": str(30 * 24 * 3600 * 1000),
            "max.message.bytes": str(2 * 2**20),
        },
        "replayed": {"cleanup.policy": "compact"},
        "control": {
            "cleanup.policy": "delete",
            "retention.ms": "-1",
            "message.timestamp.type": "LogAppendTime",
        },
        "documents": {"cleanup.policy": "compact"},
        "members": {
            "cleanup.policy": "delete",
            "retention.ms": "3600000",
            "message.timestamp.type": "LogAppendTime",
        },
    }
    for topic, wanted in (
        *((source, expected["shipments"]) for source in settings.source_topics.values()),
        (settings.changelog_topic, expected["changelog"]),
        (settings.dlq_topic, expected["dlq"]),
        (settings.replayed_topic, expected["replayed"]),
        (settings.members_topic, expected["members"]),
        (settings.control_topic, expected["control"]),
        (settings.documents_topic, expected["documents"]),
    ):
        actual = config_of(settings, topic)
        assert {name: actual[name] for name in wanted} == wanted, topic


async def test_missing_topics_are_named_with_the_command_that_makes_them(
    settings: Settings,
) -> None:
    sources = ", ".join(settings.source_topics.values())

    (problem,) = await told(settings)

    assert problem.startswith(f"No topic {sources}, ")
    assert problem.endswith(": run `onhand topics create`.")


async def test_create_adds_only_what_is_missing(settings: Settings) -> None:
    make(settings, settings.source_topics["sales"], 12)

    outcomes = {outcome.topic: outcome.outcome for outcome in await topics.create(settings)}

    assert outcomes.pop(settings.source_topics["sales"]) == "exists"
    assert set(outcomes.values()) == {"created"}
    # Made by other means, it keeps Kafka's week of retention: refused, not repaired in silence.
    assert any("retention.ms=604800000" in problem for problem in await told(settings))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retention.ms", "604800000"),
        ("retention.bytes", "1000000000"),
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("message.timestamp.type", "CreateTime"),
    ],
)
async def test_a_source_that_would_lose_stock_is_refused_with_the_command_that_heals_it(
    settings: Settings, name: str, value: str
) -> None:
    await topics.create(settings)
    sales = settings.source_topics["sales"]
    alter(settings, sales, name, value)

    (problem,) = await told(settings)

    assert problem.startswith(f"Topic {sales} has {name}={value}, which ")
    healing = next(need.value for need in topics.desired(settings)[1].needs if need.name == name)
    assert f"--alter --topic {sales} --add-config {name}={healing}`." in problem
    alter(settings, sales, name, healing)
    assert await told(settings) == []


async def test_a_changelog_that_is_not_compacted_or_too_narrow_is_refused(
    settings: Settings,
) -> None:
    await topics.create(settings)
    alter(settings, settings.changelog_topic, "cleanup.policy", "compact,delete")
    alter(settings, settings.changelog_topic, "max.message.bytes", "1048588")
    alter(settings, settings.replayed_topic, "cleanup.policy", "delete")
    alter(settings, settings.dlq_topic, "cleanup.policy", "compact")

    problems = "\n".join(await told(settings))

    assert "cleanup.policy=compact,delete, which would lose rows" in problems
    assert "max.message.bytes=1048588, which is too small for our commits" in problems
    assert f"{settings.replayed_topic} has cleanup.policy=delete, which would forget" in problems
    assert f"{settings.dlq_topic} has cleanup.policy=compact, which refuses" in problems


async def test_unequal_counts_of_the_sources_are_refused(settings: Settings) -> None:
    make(settings, settings.source_topics["sales"], 8)
    await topics.create(settings)

    problems = await told(settings)

    counts = (
        f"{topic} {8 if role == 'sales' else 12}" for role, topic in settings.source_topics.items()
    )
    assert problems[0].startswith(f"Partition counts differ ({', '.join(counts)}), so a SKU's")


async def test_a_count_other_than_the_tables_is_refused(settings: Settings) -> None:
    await topics.create(settings)
    other = Settings.from_env(
        {},
        kafka=settings.kafka,
        name=settings.name,
        topic_prefix=settings.topic_prefix,
        partitions=8,
    )

    problems = await told(other)

    assert "have 12 partitions and ONHAND_PARTITIONS is 8: set it to 12" in problems[0]
    assert {problem.split(" ")[1] for problem in problems[1:]} == {
        settings.changelog_topic,
        settings.dlq_topic,
    }


async def test_fewer_copies_than_asked_for_are_refused(settings: Settings) -> None:
    await topics.create(settings)
    alter(settings, settings.dlq_topic, "min.insync.replicas", "2")
    other = Settings.from_env(
        {},
        kafka=settings.kafka,
        name=settings.name,
        topic_prefix=settings.topic_prefix,
        replication=3,
    )

    few, unwritable = await told(other)

    assert few.startswith("ONHAND_REPLICATION is 3 and there are fewer copies of ")
    assert unwritable.startswith(f"Topic {settings.dlq_topic} has min.insync.replicas=2 and fewer")


async def test_more_copies_than_brokers_cannot_be_created(settings: Settings) -> None:
    other = Settings.from_env({}, kafka=settings.kafka, name=settings.name, replication=3)

    with pytest.raises(TopicsError, match=r"refuses to create .*ONHAND_REPLICATION is 3"):
        await topics.create(other)


async def test_no_kafka_is_one_sentence_with_both_remedies() -> None:
    nowhere = Settings.from_env({}, kafka="127.0.0.1:1")

    (problem,) = await told(nowhere)

    assert problem.startswith("No Kafka answers at 127.0.0.1:1: start it (`make kafka`")
    with pytest.raises(TopicsError, match="No Kafka answers"):
        await topics.create(nowhere)
