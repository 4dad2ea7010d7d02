"""Where the demo plays: on a Kafka of its own, or on one that runs already."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from app.config import Settings
from app.topics import desired
from dev.kafka import KafkaUnavailable, start
from dev.traffic.sending import run_tag

PARTITIONS = 12
ANSWER_S = 20.0
#: What of the caller's settings holds on a Kafka that runs already.
TAKEN = ("ONHAND_KAFKA", "ONHAND_REPLICATION")


class Stage(NamedTuple):
    """A Kafka, and settings of which nothing is there yet.

    Attributes:
        settings: of the demo's workers, but port and data folder.
        variables: the same for processes and for people, as ONHAND_… variables.
        kafka: one line on what this is.
    """

    settings: Settings
    variables: dict[str, str]
    kafka: str


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Set up, and take away at the end what was set up.

    On a Kafka that runs already (`ONHAND_KAFKA`), topics and group have names of their own, so that
    nobody else's facts are touched, and are deleted.

    Raises:
        KafkaUnavailable: neither the one nor the other is to be had.
    """
    if os.environ.get("ONHAND_KAFKA"):
        variables = {name: os.environ[name] for name in TAKEN if os.environ.get(name)}
        tag = f"demo-{run_tag()}"
        variables |= {"ONHAND_NAME": tag, "ONHAND_TOPIC_PREFIX": f"{tag}."}
        stage = _stage(variables, f"at {variables['ONHAND_KAFKA']}, which ran already")
        if os.environ.get("ONHAND_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT") != "PLAINTEXT":
            raise KafkaUnavailable(
                "The demo compares through clients that know neither TLS nor passwords: unset "
                "ONHAND_KAFKA, and it starts a Kafka of its own."
            )
        try:
            yield stage
        finally:
            _clear(stage.settings)
        return
    # In this thread, though it blocks: what it starts dies with the thread.
    with start(folder / "kafka") as kafka:
        said = f"Apache Kafka at {kafka.bootstrap}, pid {kafka.pid}"
        yield _stage({"ONHAND_KAFKA": kafka.bootstrap}, said)


def _stage(variables: dict[str, str], kafka: str) -> Stage:
    variables = variables | {"ONHAND_PARTITIONS": str(PARTITIONS)}
    return Stage(Settings.from_env(variables), variables, kafka)


def _clear(settings: Settings) -> None:
    """Delete the demo's own topics and groups of both versions, as far as they are there."""
    both = [replace(settings, version=version) for version in (1, 2)]
    admin = AdminClient({"bootstrap.servers": settings.kafka, "log_level": 0})
    topics = admin.delete_topics(list({topic.name for one in both for topic in desired(one)}))
    names = [name for one in both for name in (one.group, one.ledger_group)]
    groups = admin.delete_consumer_groups(names, request_timeout=ANSWER_S)
    for answer in (*topics.values(), *groups.values()):
        with suppress(KafkaException):  # it was never made, or Kafka is gone
            answer.result(ANSWER_S)
