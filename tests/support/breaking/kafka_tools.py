"""What an operator, or a mishap, does to Kafka behind the service's back."""

import asyncio
from collections.abc import Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from confluent_kafka.admin._acl import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
)
from confluent_kafka.admin._resource import ResourcePatternType

from dev.workers import until

ANSWER_S = 60
#: What the topics of facts must be: `onhand topics create` makes them so.
LOG_FOR_EVER = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
}


def admin(kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka, "log_level": 0})


async def set_topic(kafka: str, topic: str, settings: Mapping[str, str]) -> None:
    """Change settings of a topic."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    client = admin(kafka)  # lives until the answer is there
    changed = client.incremental_alter_configs([resource])
    await asyncio.to_thread(changed[resource].result, ANSWER_S)


async def create(kafka: str, topic: str, partitions: int) -> None:
    """A topic of its own, as the broker makes them by itself."""
    client = admin(kafka)  # lives until the answer is there
    made = client.create_topics([NewTopic(topic, partitions, 1)])
    await asyncio.to_thread(made[topic].result, ANSWER_S)


async def recreate(kafka: str, topic: str, partitions: int, settings: Mapping[str, str]) -> None:
    """Delete a topic and make it again: the same name, other records."""
    client = admin(kafka)
    await asyncio.to_thread(client.delete_topics([topic])[topic].result, ANSWER_S)

    async def gone() -> bool:
        return topic not in (await asyncio.to_thread(client.list_topics, timeout=ANSWER_S)).topics

    await until(gone, f"deleted: {topic}", ANSWER_S)
    made = client.create_topics([NewTopic(topic, partitions, 1, config=dict(settings))])
    await asyncio.to_thread(made[topic].result, ANSWER_S)


async def mislead_group(kafka: str, group: str, topics: list[str], partitions: int) -> None:
    """Set every committed offset of a stopped group to 7."""
    places = [
        TopicPartition(topic, partition, 7) for topic in topics for partition in range(partitions)
    ]
    client = admin(kafka)
    wrong = client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
    await asyncio.to_thread(wrong[group].result, ANSWER_S)


async def forget_group(kafka: str, group: str) -> None:
    """Delete a stopped group with all its offsets."""
    client = admin(kafka)
    deleted = client.delete_consumer_groups([group])
    await asyncio.to_thread(deleted[group].result, ANSWER_S)


def transactional(kafka: str, transactional_id: str) -> Producer:
    """A stranger's transactional producer."""
    settings = {
        "bootstrap.servers": kafka,
        "transactional.id": transactional_id,
        # Kafka ends what is open for longer, and a slow machine may take more than its minute.
        "transaction.timeout.ms": 600_000,
        "log_level": 0,
    }
    return Producer(settings)


async def allow_only(kafka: str, kind: ResourceType, name: str, *may: AclOperation) -> None:
    """Everybody may do this, and nothing else, with a topic, group or transactional id."""
    who = (kind, name, ResourcePatternType.LITERAL, "User:*", "*")
    client = admin(kafka)  # lives until the answers are there
    rules = [AclBinding(*who, operation, AclPermissionType.ALLOW) for operation in may]
    for done in client.create_acls(rules).values():
        await asyncio.to_thread(done.result, ANSWER_S)

    async def known() -> bool:
        """By the broker, which hears it from the controller."""
        anybody: Any = None  # not in its stub
        one = (AclOperation.ANY, AclPermissionType.ANY)
        wanted = AclBindingFilter(*who[:3], anybody, anybody, *one)
        found = await asyncio.to_thread(client.describe_acls(wanted).result, ANSWER_S)
        return len(found) == len(may)

    await until(known, f"known to the broker: the rules of {name}", ANSWER_S)
