"""A connection that administers Kafka, and the sentences for what goes wrong with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from app.config import Settings
from core.words import in_words
from wire import clients

REQUEST_TIMEOUT_MS = 10_000


class TopicsError(Exception):
    """Kafka did not answer, or refused to create; the message is one plain sentence."""


def kafka_failed(settings: Settings, error: BaseException) -> str:
    """The sentence for an error of Kafka's client, with what to do."""
    if isinstance(error, KafkaConnectionError):
        if settings.kafka_security_protocol != "PLAINTEXT":
            return (
                f"No Kafka answers at {settings.kafka} with this login: look whether it listens "
                f"there for {settings.kafka_security_protocol}, and at user, password, token and "
                "certificates in ONHAND_KAFKA_SASL_… and ONHAND_KAFKA_SSL_…."
            )
        return (
            f"No Kafka answers at {settings.kafka}: start it (`make kafka`, or `docker "
            "compose up -d kafka`), or set ONHAND_KAFKA to where it is."
        )
    return (
        f"Kafka at {settings.kafka} failed ({in_words(error)}): look at its log, "
        "and whether its advertised listeners can be reached from here."
    )


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client; whatever Kafka answers wrong becomes a TopicsError."""
    admin = AIOKafkaAdminClient(**settings.client_kwargs(), request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        async with clients.running(admin):
            yield admin
    except (KafkaError, TimeoutError, OSError) as error:
        raise TopicsError(kafka_failed(settings, error)) from error
