"""What Kafka refuses of a member of the group for good, in sentences that say what to do."""

from __future__ import annotations

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from app.config import Settings
from core.words import in_words
from tables.home.rights import MAY_NOT_READ
from tables.tasks import Final


class GroupRefused(Final):
    """Kafka does not take this worker into the group, now or later; says what to do."""


def advice(error: KafkaError, settings: Settings, group: str) -> str:
    """Why Kafka refuses a member for good, and the remedy."""
    match error:
        case InvalidSessionTimeoutError():
            return (
                f"Kafka refuses ONHAND_SESSION_TIMEOUT_MS = {settings.session_timeout_ms}: set it "
                "to a value between the brokers' group.min.session.timeout.ms and "
                "group.max.session.timeout.ms, by default 6000 and 1800000."
            )
        case InconsistentGroupProtocolError():
            return (
                f"The group {group} has a member that is no worker of ours: another program uses "
                "its name. End it (kafka-consumer-groups.sh --describe --members names it), or "
                "set another ONHAND_NAME."
            )
        case GroupAuthorizationFailedError():
            return (
                f"Kafka does not let this worker join the group {group}: grant its user READ on "
                "that group."
            )
        case TopicAuthorizationFailedError():
            return MAY_NOT_READ
    return f"Kafka does not take this worker into the group {group}: {in_words(error)}."
