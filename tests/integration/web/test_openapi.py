"""What workers say of themselves, held against real ones: calls, answers, and records of topics."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dev.kafka import Kafka
from dev.oracle.log import read_topics
from tests.support.cluster.examples import Answers, schemathesis, two_workers
from tests.support.cluster.workers import Cluster
from tests.support.judges.asyncapi_check import TopicContract
from web.openapi.calls import ANSWERS, CALLS

#: However long that takes; tests/torture asks more, and each border of each schema.
OF_EACH_CALL = 3


@pytest.fixture
async def workers(kafka: Kafka, tmp_path: Path) -> AsyncIterator[tuple[Cluster, Answers]]:
    async with two_workers(kafka.bootstrap, tmp_path) as both:
        yield both


def shape(value: Any) -> Any:
    """Names and kinds, without values; of a list its first item."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value[:1]]
    return type(value).__name__


async def test_answers_in_the_document_are_those_of_a_worker(
    workers: tuple[Cluster, Answers],
) -> None:
    cluster, worker = workers
    answers = await worker.of_every_call()

    assert answers.keys() == {call.id for call in CALLS.values()}
    for name, answer in answers.items():
        if isinstance(answer, str):
            shown = {line.split("{")[0].split(" ")[0] for line in ANSWERS[name].splitlines()}
            assert shown <= {line.split("{")[0].split(" ")[0] for line in answer.splitlines()}
        else:
            assert shape(answer) == shape(ANSWERS[name]), name
    await each_record_is_told(cluster, worker)


async def each_record_is_told(cluster: Cluster, worker: Answers) -> None:
    """Of all topics, by /asyncapi.json; here, where something is in most of them."""
    _, document = await worker.to("GET", "/asyncapi.json")
    contract = TopicContract(document)
    channels = document["channels"].items()  # the feed is one too, and no topic
    topics = {one["address"]: name for name, one in channels if "kafka" in one.get("bindings", {})}

    records = await asyncio.to_thread(read_topics, cluster.kafka, topics)

    found: dict[str, set[str | None]] = {name: set() for name in topics.values()}
    for record in records:
        message = contract.message_of(record.topic, record.key, record.value, record.headers)
        is_letter = record.topic == cluster.sources[0] and record.value == b"<sale/>"
        assert (message is None) is is_letter, record
        found[topics[record.topic]].add(message)
    empty = {"replayed"}
    assert {name for name, messages in found.items() if not messages - {None}} == empty
    assert found["rows"] == {"row", "own"}


async def test_whatever_the_document_allows_or_forbids_is_answered_as_it_says(
    workers: tuple[Cluster, Answers], tmp_path: Path
) -> None:
    cluster, worker = workers
    await worker.of_every_call()

    # The same requests in every run; new ones are tried in tests/torture.
    few = ("--phases", "examples,fuzzing", "--max-examples", str(OF_EACH_CALL))
    passed = await schemathesis(cluster, worker, tmp_path, "--generation-deterministic", *few)

    assert passed > 2 * len(CALLS)
