"""Kafka's own id of a topic, and how many partitions it has now: one request of ours.

A topic that is deleted and created again has its old name and another id. aiokafka 0.14.0
speaks Metadata up to version 5, which tells no ids; version 10 does (KIP-516, Kafka 2.8). So
here is that request, over aiokafka's connections, in the words of Kafka's
`MetadataRequest.json` and `MetadataResponse.json`.

`tests/integration/wire/test_topicids.py` says what broke after an upgrade.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NoError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)


class TopicNow(NamedTuple):
    """id: 32 hex digits. partitions: how many."""

    id: str
    partitions: int


#: Tells what Kafka says of these topics now; leaves out what does not exist.
Describe: TypeAlias = Callable[[Iterable[str]], Awaitable[Mapping[str, TopicNow]]]


class TooOldKafka(Exception):
    """The broker gives topics no ids; the message is one sentence."""


class _Uuid(AbstractType[uuid.UUID]):  # type: ignore[misc]  # untyped
    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: Any) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


_NO_ID = uuid.UUID(int=0)
_NODES = CompactArray(Int32)


class _MetadataResponse_v10(Response):  # type: ignore[misc]  # named as aiokafka's
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", _NODES),
                        ("isr", _NODES),
                        ("offline", _NODES),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequest_v10(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse_v10
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequest_v10]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)

    def build(self, request_struct_class: type[_MetadataRequest_v10]) -> _MetadataRequest_v10:
        topics: list[Any] = [(_NO_ID, name, {}) for name in self._names]
        # Asking must not create: a topic made by accident has other settings.
        return request_struct_class(topics, False, False, False, {})


async def topics_now(client: AIOKafkaClient, names: Iterable[str]) -> dict[str, TopicNow]:
    """What a broker says of these topics now; one that does not exist is left out.

    Raises:
        TooOldKafka: no broker before 2.8 knows topic ids.
        KafkaError: no broker answers, or one of the topics may not be described.
    """
    request = _MetadataRequest(names)
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    random.shuffle(nodes)
    last: KafkaError = KafkaConnectionError("no broker is known")
    for node in nodes:
        try:
            answer = await client.send(node, request)
        except NotImplementedError as error:  # aiokafka's word for a version it cannot agree on
            raise TooOldKafka(
                "This Kafka gives topics no ids, so a topic that was deleted and created again "
                "could not be told from the old one: run Kafka 2.8 or newer."
            ) from error
        except KafkaError as error:
            last = error
            continue
        return dict(_read(answer.topics))
    raise last


def _read(topics: Iterable[Any]) -> Iterable[tuple[str, TopicNow]]:
    for code, name, topic_id, _, partitions, *_ in topics:
        error = for_code(code)
        if error is UnknownTopicOrPartitionError:
            continue
        if error is not NoError:
            raise error(name)
        yield name, TopicNow(topic_id.hex, len(partitions))
