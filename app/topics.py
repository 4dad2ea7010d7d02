"""The topics Onhand lives on: create them, check them, refuse what would lose stock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from app.admin import TopicsError, connected
from app.config import Settings
from app.upgrades import beginning
from core.words import in_words

MIB = 2**20
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SOURCE_MAX_BYTES = 1 * MIB
#: A refused record goes there with our headers beside its own.
DLQ_MAX_BYTES = 2 * SOURCE_MAX_BYTES
#: tables/home/changelog.py, MAX_BATCH_BYTES; not imported, for it brings numpy and `onhand topics`
#: should start in 0.3 s. A unit test holds the two together.
LARGEST_BATCH_BYTES = 4 * MIB
CHANGELOG_MAX_BYTES = 2 * LARGEST_BATCH_BYTES
CREATE_TIMEOUT_S = 30.0


class Need(msgspec.Struct, frozen=True):
    """A setting that a topic must have for our promises to hold.

    `value` is what to set, `holds` judges what is set, `lest` ends "…, which …".
    """

    name: str
    value: str
    lest: str
    holds: Callable[[str], bool]


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One topic as it should be: `config` is what `create` sets, `needs` what `check` refuses."""

    name: str
    partitions: int
    config: dict[str, str]
    needs: tuple[Need, ...]


class Misfit(msgspec.Struct, frozen=True):
    """One plain sentence that says what is wrong and what to do; `topic` is "" for Kafka itself."""

    topic: str
    text: str
    kind: str = "settings"

    def __str__(self) -> str:
        return self.text


class Created(msgspec.Struct, frozen=True):
    """What `create` did for one topic: `created`, or it `exists` and was left as it is."""

    topic: str
    outcome: str
    partitions: int


#: Says what is wrong with the partition counts of topics, by name.
CountCheck: TypeAlias = Callable[[Settings, Mapping[str, int]], Iterable[Misfit]]


class _Actual(msgspec.Struct):
    partitions: int
    replicas: int
    led: bool
    config: dict[str, str]


def _exactly(name: str, value: str, lest: str) -> Need:
    return Need(name, value, lest, lambda actual: actual == value)


def _at_least(name: str, value: int, lest: str) -> Need:
    return Need(name, str(value), lest, lambda actual: int(actual) >= value)


_FOREVER = "which would lose stock: an idle SKU's history is its stock"
_OWN_CLOCK = "which leaves recorded times to the clocks of tills"
_UNCLEAN = _exactly(
    "unclean.leader.election.enable", "false", "which lets a broker lose acknowledged facts"
)
_SOURCE = (
    _exactly("cleanup.policy", "delete", _FOREVER),
    _exactly("retention.ms", "-1", _FOREVER),
    _exactly("retention.bytes", "-1", _FOREVER),
    _exactly("message.timestamp.type", "LogAppendTime", _OWN_CLOCK),
    _UNCLEAN,
)
_BY_THE_BROKER = _exactly(
    "message.timestamp.type", "LogAppendTime", "which leaves times to the clocks of workers"
)
_CHANGELOG = (
    _BY_THE_BROKER,
    _exactly("cleanup.policy", "compact", "which would lose rows that a restore needs"),
    _at_least("max.message.bytes", LARGEST_BATCH_BYTES, "which is too small for our commits"),
    _UNCLEAN,
)
_DLQ = (
    _BY_THE_BROKER,
    _exactly("cleanup.policy", "delete", "which refuses records without a key"),
    _at_least("max.message.bytes", DLQ_MAX_BYTES, "which is too small for a record refused"),
)
_REPLAYED = (
    _exactly("cleanup.policy", "compact", "which would forget what was re-sent, and send it twice"),
)
_MEMBERS = (_BY_THE_BROKER,)
_CONTROL = (
    _exactly("cleanup.policy", "delete", "which would forget who was active"),
    _exactly("retention.ms", "-1", "which would forget who is active"),
    _BY_THE_BROKER,
)
_DOCUMENTS = (
    _exactly("cleanup.policy", "compact", "which would forget documents and count them twice"),
)

_ALERTS = (
    _exactly("cleanup.policy", "compact", "which would forget what was told, and tell it again"),
    _UNCLEAN,
)


def log_of(settings: Settings, name: str) -> Topic:
    """A topic that is counted, kept for ever."""
    return _topic(settings, name, settings.partitions, _SOURCE, max_message_bytes=SOURCE_MAX_BYTES)


def changelog_of(settings: Settings, name: str) -> Topic:
    """A table's."""
    return _topic(
        settings,
        name,
        settings.partitions,
        _CHANGELOG,
        segment_bytes=64 * MIB,
        min_cleanable_dirty_ratio="0.2",
        max_compaction_lag_ms=HOUR_MS,
        max_message_bytes=CHANGELOG_MAX_BYTES,
    )


def dead_letters_of(settings: Settings, name: str) -> Topic:
    """What a table refused."""
    return _topic(settings, name, settings.partitions, _DLQ, retention_ms=30 * DAY_MS)


def members_of(settings: Settings) -> Topic:
    """Heartbeats. Only closed segments age out: they are closed often."""
    return _topic(
        settings,
        settings.members_topic,
        1,
        _MEMBERS,
        cleanup_policy="delete",
        retention_ms=HOUR_MS,
        segment_ms=HOUR_MS // 6,
    )


def _topic(
    settings: Settings, name: str, partitions: int, needs: tuple[Need, ...], **config: int | str
) -> Topic:
    copies = {"min.insync.replicas": "2"} if settings.replication >= 3 else {}
    dotted = {key.replace("_", "."): str(value) for key, value in config.items()}
    # A Need asks for the least; `config` may set more.
    needed = {need.name: need.value for need in needs}
    return Topic(name=name, partitions=partitions, config=copies | needed | dotted, needs=needs)


def desired(settings: Settings) -> list[Topic]:
    """Every topic of these settings, sources first; docs/architecture.md says what is in each."""
    by_the_broker = {"message_timestamp_type": "LogAppendTime"}
    # Written often, and read whole at starts and take-overs.
    short = by_the_broker | {
        "segment_bytes": str(16 * MIB),
        "min_cleanable_dirty_ratio": "0.2",
        "max_compaction_lag_ms": str(HOUR_MS),
        "delete_retention_ms": str(HOUR_MS),
    }
    wanted = [
        *(log_of(settings, source) for source in settings.source_topics.values()),
        changelog_of(settings, settings.changelog_topic),
        dead_letters_of(settings, settings.dlq_topic),
        _topic(settings, settings.replayed_topic, 1, _REPLAYED, **by_the_broker),
        _topic(settings, settings.control_topic, 1, _CONTROL, retention_bytes=-1),
        _topic(settings, settings.documents_topic, 1, _DOCUMENTS, **short),
        members_of(settings),
    ]
    if settings.alerts:
        told, count = settings.alerts_topic, settings.partitions
        wanted.append(_topic(settings, told, count, _ALERTS, **short))
    return wanted


async def create(settings: Settings) -> list[Created]:
    """Create what is missing, and the record of versions; leave the rest alone.

    Raises:
        TopicsError: Kafka does not answer or refuses.
    """
    created = await make(settings, desired(settings))
    await beginning.begin_record(settings)
    return created


async def make(settings: Settings, wanted: Sequence[Topic]) -> list[Created]:
    """Create what is missing of these; returns when all partitions are led.

    Raises:
        TopicsError: Kafka does not answer or refuses.
    """
    async with connected(settings) as admin:
        present = await _describe(admin, [topic.name for topic in wanted])
        missing = [topic for topic in wanted if topic.name not in present]
        created = await _create(admin, missing, settings.replication) if missing else set()
        deadline = time.monotonic() + CREATE_TIMEOUT_S
        while True:
            present = await _describe(admin, [topic.name for topic in wanted])
            if len(present) == len(wanted) and all(actual.led for actual in present.values()):
                break
            if time.monotonic() > deadline:
                raise TopicsError("Kafka created the topics but elected no leaders: see its log.")
            await asyncio.sleep(0.1)
    return [
        Created(name, "created" if name in created else "exists", actual.partitions)
        for name, actual in ((topic.name, present[topic.name]) for topic in wanted)
    ]


async def check(settings: Settings) -> list[Misfit]:
    """Everything about Kafka and the topics that a worker must not start on; [] is good."""
    return await misfits(settings, desired(settings), _wrong_counts, "onhand topics create")


async def misfits(
    settings: Settings, wanted: Sequence[Topic], counts: CountCheck, create_by: str
) -> list[Misfit]:
    """As `check`, of these topics.

    Args:
        settings: of the worker.
        wanted: what has to be there.
        counts: says which of those that are there have a wrong number of partitions.
        create_by: the command that creates what is missing.
    """
    try:
        async with connected(settings) as admin:
            present = await _describe(admin, [topic.name for topic in wanted])
    except TopicsError as error:
        return [Misfit("", str(error))]
    problems = []
    if missing := [topic.name for topic in wanted if topic.name not in present]:
        # Of a version last: where the first is of one, no other is missing.
        missing.sort(key=settings.is_of_version)
        problems.append(
            Misfit(missing[0], f"No topic {', '.join(missing)}: run `{create_by}`.", "missing")
        )
    problems += counts(settings, {name: actual.partitions for name, actual in present.items()})
    problems += _too_few_copies(settings, present)
    for topic in wanted:
        if topic.name in present:
            problems += _wrong_config(topic, present[topic.name], settings)
    return problems


async def exists(settings: Settings, name: str) -> bool:
    """Whether there is a topic of this name; makes none.

    Raises:
        TopicsError: Kafka does not answer.
    """
    async with connected(settings) as admin:
        return name in await _describe(admin, [name])


def _wrong_counts(settings: Settings, present: Mapping[str, int]) -> Iterable[Misfit]:
    sources = {n: present[n] for n in settings.source_topics.values() if n in present}
    if len(set(sources.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in sources.items())
        yield Misfit(
            next(iter(sources)),
            f"Partition counts differ ({counts}), so a SKU's facts would not meet: create the "
            f"odd one anew with as many as the others, and send its facts again.",
            "partitions",
        )
    elif sources and set(sources.values()) != {settings.partitions}:
        count = next(iter(sources.values()))
        yield Misfit(
            next(iter(sources)),
            f"Topics {', '.join(sources)} have {count} partitions and ONHAND_PARTITIONS is "
            f"{settings.partitions}: set it to {count}, for a log's count never changes.",
            "partitions",
        )
    anew = "set that back, or build a new table with the next ONHAND_VERSION"
    again = "delete it and run `onhand topics create`; what is low is told once more then"
    for name, remedy in (
        (settings.changelog_topic, anew),
        (settings.dlq_topic, anew),
        (settings.alerts_topic, again),
    ):
        if name in present and present[name] != settings.partitions:
            yield Misfit(
                name,
                f"Topic {name} has {present[name]} partitions and ONHAND_PARTITIONS is "
                f"{settings.partitions}: {remedy}.",
                "partitions",
            )
    for name in (settings.replayed_topic, settings.members_topic, settings.control_topic):
        if name in present and present[name] != 1:
            yield Misfit(
                name,
                f"Topic {name} has {present[name]} partitions and must have 1: delete "
                "it and run `onhand topics create`.",
                "partitions",
            )


def _wrong_config(topic: Topic, actual: _Actual, settings: Settings) -> Iterable[Misfit]:
    for need in topic.needs:
        value = actual.config.get(need.name)
        if value is None or need.holds(value):
            continue
        yield Misfit(
            topic.name,
            f"Topic {topic.name} has {need.name}={value}, {need.lest}: run `kafka-configs.sh "
            f"--bootstrap-server {settings.kafka} --alter --topic {topic.name} "
            f"--add-config {need.name}={need.value}`.",
        )


def _too_few_copies(settings: Settings, present: dict[str, _Actual]) -> Iterable[Misfit]:
    few = [name for name, actual in present.items() if actual.replicas < settings.replication]
    if few:
        yield Misfit(
            few[0],
            f"ONHAND_REPLICATION is {settings.replication} and there are fewer copies of "
            f"{', '.join(few)}: add them by `kafka-reassign-partitions.sh`, or lower it.",
            "copies",
        )
    for name, actual in present.items():
        if actual.replicas < (least := int(actual.config.get("min.insync.replicas", "1"))):
            yield Misfit(
                name,
                f"Topic {name} has min.insync.replicas={least} and fewer copies, so Kafka refuses "
                "every write: lower it by `kafka-configs.sh`.",
                "copies",
            )


async def _create(admin: AIOKafkaAdminClient, topics: list[Topic], replication: int) -> set[str]:
    """Names really created; another process may have been faster with the others."""
    new = [NewTopic(t.name, t.partitions, replication, topic_configs=t.config) for t in topics]
    response = await admin.create_topics(new)
    created = set()
    for name, code, message in response.topic_errors:
        if code == 0:
            created.add(name)
        elif for_code(code) is not TopicAlreadyExistsError:
            raise TopicsError(
                f"Kafka refuses to create {name}: {message or in_words(for_code(code)())} "
                f"(ONHAND_REPLICATION is {replication}: there must be as many brokers)."
            )
    return created


async def _describe(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, _Actual]:
    """CountCheck and settings of those that exist."""
    found: dict[str, _Actual] = {}
    # All topics, not `names`: asking for a name may create it where the broker allows that.
    for topic in await admin.describe_topics():
        partitions: list[dict[str, Any]] = topic["partitions"]
        if topic["topic"] in names and topic["error_code"] == 0:
            copies = min((len(partition["replicas"]) for partition in partitions), default=0)
            led = bool(partitions) and all(partition["leader"] >= 0 for partition in partitions)
            found[topic["topic"]] = _Actual(len(partitions), copies, led, {})
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in found]
    for response in await admin.describe_configs(resources) if resources else ():
        for code, message, _, name, entries in response.resources:
            if code:
                raise TopicsError(f"Kafka does not show the settings of {name}: {message}.")
            found[name].config = {entry[0]: entry[1] for entry in entries}
    return found
